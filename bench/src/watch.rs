//! What the kernel knows of the server and of sockets, read from /proc: CPU time of a process
//! with all its children and threads, and datagrams dropped at a port.

use std::fs;
use std::io;

/// A process and its descendants as they were when looked up.
#[derive(Clone, Debug)]
pub struct Processes {
    pids: Vec<u32>,
}

impl Processes {
    /// `pid` and every process that descends from it.
    pub fn under(pid: u32) -> io::Result<Processes> {
        let mut parents = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(child) = name.to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            // A process that has ended meanwhile has no children to find.
            let Ok(stat) = fs::read_to_string(format!("/proc/{child}/stat")) else { continue };
            if let Some(parent) = parent_of(&stat) {
                parents.push((child, parent));
            }
        }
        if !parents.iter().any(|(child, _)| *child == pid) {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no process {pid}")));
        }
        let mut pids = vec![pid];
        let mut at = 0;
        while at < pids.len() {
            let parent = pids[at];
            pids.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(child, _)| *child));
            at += 1;
        }
        Ok(Processes { pids })
    }

    /// Their numbers.
    pub(crate) fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// CPU time in nanoseconds of all their threads that still run.
    pub fn cpu_ns(&self) -> io::Result<u64> {
        let mut total = 0;
        for (index, pid) in self.pids.iter().enumerate() {
            let tasks = match fs::read_dir(format!("/proc/{pid}/task")) {
                Ok(tasks) => tasks,
                // A child may end; without the first of them there is nothing to tell of.
                Err(_) if index > 0 => continue,
                Err(error) => return Err(error),
            };
            for task in tasks.flatten() {
                let path = task.path().join("schedstat");
                let Ok(text) = fs::read_to_string(&path) else { continue };
                total += text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
            }
        }
        Ok(total)
    }

    /// Resident memory in bytes (PSS): a page that several of them share counts once.
    pub fn resident_bytes(&self) -> io::Result<u64> {
        let mut total = 0;
        for pid in &self.pids {
            let sums = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            let kib = sums
                .lines()
                .find_map(|l| l.strip_prefix("Pss:"))
                .and_then(|v| v.trim().strip_suffix(" kB"))
                .and_then(|v| v.parse::<u64>().ok());
            total += kib.unwrap_or(0) * 1024;
        }
        Ok(total)
    }
}

/// Datagrams that the kernel dropped at UDP sockets bound to `port`, since these were opened.
pub fn udp_drops(port: u16) -> io::Result<u64> {
    Ok(drops_in(&fs::read_to_string("/proc/net/udp")?, port)
        + fs::read_to_string("/proc/net/udp6").map_or(0, |table| drops_in(&table, port)))
}

/// The same in the text of /proc/net/udp or udp6.
pub(crate) fn drops_in(table: &str, port: u16) -> u64 {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut columns = line.split_ascii_whitespace();
            let local = columns.nth(1)?;
            let drops = columns.last()?;
            local.ends_with(&suffix).then(|| drops.parse::<u64>().ok())?
        })
        .sum()
}

/// The parent in a line of /proc/PID/stat, whose second field may hold spaces and brackets.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_summed_for_a_port() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
             10: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 100 2 0 5\n\
             11: 0200007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 101 2 0 7\n\
             12: 0100007F:13C5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 102 2 0 9\n";
        assert_eq!(drops_in(table, 5060), 12);
        assert_eq!(drops_in(table, 5062), 0);
    }

    #[test]
    fn a_name_cannot_hide_the_parent() {
        assert_eq!(parent_of("12 (a) b (c) S 7 12 12 0"), Some(7));
    }

    #[test]
    fn this_process_uses_time_and_memory() {
        let processes = Processes::under(std::process::id()).unwrap();
        let before = processes.cpu_ns().unwrap();
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 30 {}
        assert!(processes.cpu_ns().unwrap() > before);
        assert!(processes.resident_bytes().unwrap() > 100_000);
        assert!(Processes::under(u32::MAX).is_err());
    }
}
