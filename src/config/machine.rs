//! What a configuration has to know about the machine it is for. It never changes anything there.

use std::fs;

/// The facts that defaults and checks depend on; given as a value, so that a file can be read for another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The CPUs on which this process may run, ascending; never empty.
    pub cpus: Vec<usize>,
    /// The kernel's host name.
    pub hostname: String,
}

impl Machine {
    /// The machine this process runs on, as /proc describes it.
    #[must_use]
    pub fn this() -> Self {
        let cpus = fs::read_to_string("/proc/self/status").ok().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            cpu_list(line.trim())
        });
        let hostname = fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .unwrap_or_default();
        Machine {
            // Without /proc there is still the CPU we run on now.
            cpus: cpus.unwrap_or_else(|| vec![0]),
            hostname: if hostname.is_empty() { "localhost".to_owned() } else { hostname },
        }
    }
}

/// The memory of the machine in bytes, without swap; `None` where /proc does not tell.
#[must_use]
pub fn memory_bytes() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}

/// CPUs, ascending, in the kernel's own notation, as in `0-3,8`.
#[must_use]
pub fn cpu_ranges(cpus: &[usize]) -> String {
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for &cpu in cpus {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == cpu => *last = cpu,
            Some(_) | None => ranges.push((cpu, cpu)),
        }
    }
    let written: Vec<String> = ranges
        .iter()
        .map(
            |&(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        )
        .collect();
    written.join(",")
}

/// Reads the kernel's list format, cpuset(7): `0-3,8`.
fn cpu_list(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?);
    }
    (!cpus.is_empty()).then_some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lists_are_read_and_written() {
        for (list, cpus) in
            [("0", vec![0]), ("0-3,8", vec![0, 1, 2, 3, 8]), ("2,4-5", vec![2, 4, 5])]
        {
            assert_eq!(cpu_ranges(&cpus), list);
            assert_eq!(cpu_list(list), Some(cpus));
        }
        assert_eq!(cpu_list(""), None);
        assert_eq!(cpu_list("x-1"), None);
    }

    #[test]
    fn this_machine_has_a_cpu_a_name_and_memory() {
        let machine = Machine::this();
        assert!(!machine.cpus.is_empty());
        assert!(!machine.hostname.is_empty());
        assert!(memory_bytes().unwrap() > 1 << 24);
    }
}
