//! The probe at the start: how the cores will wait, and, where `io_uring` is demanded, whether this process may use it and
//! what would change that. It changes nothing but the soft limit on locked memory.

use crate::config::Io;
use crate::readiness::{Backend, URING_MEMLOCK_BYTES_MIN, URING_OPERATIONS};
use crate::sys::uring::{self, Memlock, Refusal};

/// What this executable was built to use and this CPU does not have: one sentence, or nothing.
#[must_use]
pub fn missing_cpu_feature() -> Option<String> {
    #[cfg(all(target_arch = "x86_64", target_feature = "avx2"))]
    {
        use std::arch::is_x86_feature_detected as has;
        let missing = !(has!("avx2")
            && has!("bmi1")
            && has!("bmi2")
            && has!("fma")
            && has!("lzcnt")
            && has!("movbe"));
        missing.then(|| {
            "seawall: this executable is built for x86-64-v3 and this CPU is older: build it with RUSTFLAGS=\"\" in the environment".to_owned()
        })
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "avx2")))]
    None
}

/// What was found, and what follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How the cores will wait.
    pub backend: Backend,
    /// One line for the operator: what was found, what follows, and what would change it.
    pub line: String,
}

/// Looks whether the choice of the configuration can be had.
///
/// # Errors
/// One sentence, where `io_uring` is demanded and can't be had.
pub fn probe(choice: Io) -> Result<Finding, String> {
    let facts = || {
        // Locked memory is what old kernels count rings against; what is within our rights is taken.
        let _ = uring::raise_memlock();
        Facts {
            refusal: uring::try_setup(URING_OPERATIONS).err(),
            memlock: uring::memlock().ok(),
            disabled: std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
        }
    };
    decide(choice, facts)
}

/// What the kernel said.
struct Facts {
    /// What stood in the way of a ring; `None` where it worked.
    refusal: Option<Refusal>,
    memlock: Option<Memlock>,
    /// The value of `kernel.io_uring_disabled`, which exists since Linux 6.6.
    disabled: Option<u32>,
}

fn decide(choice: Io, facts: impl FnOnce() -> Facts) -> Result<Finding, String> {
    let (backend, line) = match choice {
        Io::Auto => (
            Backend::Epoll,
            "io: epoll, which costs less than io_uring; [node] io = \"uring\" would take that",
        ),
        Io::Epoll => (Backend::Epoll, "io: epoll, as configured"),
        Io::Uring => {
            if let Some(obstacle) = facts().obstacle() {
                return Err(format!(
                    "[node] io = \"uring\" can't be had: {obstacle}, or set io = \"auto\""
                ));
            }
            (Backend::Uring, "io: io_uring, as configured; [node] io = \"auto\" would take epoll")
        }
    };
    Ok(Finding { backend, line: line.to_owned() })
}

impl Facts {
    /// Why `io_uring` can't be used and what would change that.
    fn obstacle(&self) -> Option<String> {
        const MEMORY: &str = "(LimitMEMLOCK= in the unit, ulimit -l in a shell)";
        match (&self.refusal, self.disabled) {
            (None, _) => {}
            (Some(Refusal::Forbidden), Some(1)) => {
                return Some(
                    "kernel.io_uring_disabled is 1: set it to 0 or run in the group kernel.io_uring_group".to_owned(),
                );
            }
            (Some(Refusal::Forbidden), Some(2)) => {
                return Some("kernel.io_uring_disabled is 2: set it to 0".to_owned());
            }
            (Some(Refusal::Forbidden), _) => {
                return Some(
                    "io_uring is forbidden here, as in containers with Docker's default profile: permit \
                     io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile"
                        .to_owned(),
                );
            }
            (Some(Refusal::TooOld), _) => {
                return Some("the kernel is too old: use 5.8 or newer".to_owned());
            }
            (Some(Refusal::Memory), _) => {
                return Some(format!("RLIMIT_MEMLOCK is too low for a ring: raise it {MEMORY}"));
            }
            (Some(Refusal::Other(error)), _) => {
                return Some(format!("io_uring can't be set up ({error}): see to that"));
            }
        }
        match self.memlock {
            Some(limit) if limit.soft < URING_MEMLOCK_BYTES_MIN => Some(format!(
                "RLIMIT_MEMLOCK is {} KiB: raise it to {} KiB {MEMORY}",
                limit.soft / 1024,
                URING_MEMLOCK_BYTES_MIN / 1024
            )),
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(
        choice: Io,
        refusal: Option<Refusal>,
        memlock_kib: u64,
        disabled: Option<u32>,
    ) -> Result<Finding, String> {
        let memlock = Some(Memlock { soft: memlock_kib * 1024, hard: memlock_kib * 1024 });
        decide(choice, || Facts { refusal, memlock, disabled })
    }

    #[test]
    fn what_is_demanded_is_had_or_refused_with_what_would_change_it() {
        assert_eq!(found(Io::Uring, None, 8192, Some(0)).unwrap().backend, Backend::Uring);
        for (refusal, memlock, disabled, hint) in [
            (Some(Refusal::Forbidden), 8192, Some(2), "set it to 0"),
            (Some(Refusal::Forbidden), 8192, Some(1), "kernel.io_uring_group"),
            (Some(Refusal::Forbidden), 8192, None, "seccomp"),
            (Some(Refusal::TooOld), 8192, None, "5.8"),
            (Some(Refusal::Memory), 64, None, "LimitMEMLOCK"),
            (None, 64, Some(0), "raise it to 512 KiB"),
        ] {
            let refused = found(Io::Uring, refusal, memlock, disabled).unwrap_err();
            assert!(
                refused.contains(hint)
                    && refused.contains("io = \"auto\"")
                    && !refused.contains('\n'),
                "{refused}"
            );
        }
    }

    #[test]
    fn epoll_needs_no_facts() {
        for choice in [Io::Auto, Io::Epoll] {
            let finding = decide(choice, || panic!("nothing is to be asked")).unwrap();
            assert_eq!(finding.backend, Backend::Epoll);
        }
    }

    #[test]
    fn this_machine_gives_one_of_the_two() {
        assert!(probe(Io::Auto).unwrap().line.starts_with("io: "));
    }
}
