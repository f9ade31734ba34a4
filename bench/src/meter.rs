//! What is read at both ends of a measured time and subtracted: CPU times and drops as the kernel counts them, and how busy the
//! generator was; and from these, whether it was the limit. It knows nothing of requests.

use std::io;
use std::time::Duration;

use crate::report::Limit;
use crate::sockets::Port;
use crate::sys;
use crate::watch::{self, Processes};

/// Lateness of the 99th percentile beyond which an open loop was not one, in microseconds.
const LATENESS_P99_US_MAX: f64 = 1000.0;
/// Share of the asked rate that an open loop must have sent.
const OFFERED_SHARE_MIN: f64 = 0.99;
/// Share of time beyond which a closed loop has no reserve.
const BUSY_SHARE_MAX: f64 = 0.9;
/// Share of time that the generator may spend off its CPU.
const PREEMPTED_SHARE_MAX: f64 = 0.05;

/// What the generator's loop counts of itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effort {
    pub(crate) busy_ns: u64,
    pub(crate) rounds: u64,
    /// How often the kernel could not take a datagram at once.
    pub(crate) send_blocked: u64,
}

/// A reading, or the difference of two.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Metered {
    /// Since the start of the run, or between the two.
    pub(crate) time_ns: u64,
    /// Of the server's processes, where they are known.
    pub(crate) server_cpu_ns: Option<u64>,
    pub(crate) thread_cpu_ns: u64,
    pub(crate) server_drops: u64,
    pub(crate) own_drops: u64,
    pub(crate) effort: Effort,
}

impl Metered {
    /// Reads everything, `time_ns` after the start of the run.
    pub(crate) fn read(
        time_ns: u64,
        effort: Effort,
        ports: &[Port],
        server_port: u16,
        server: Option<&Processes>,
    ) -> io::Result<Metered> {
        Ok(Metered {
            time_ns,
            server_cpu_ns: server.map(Processes::cpu_ns).transpose()?,
            own_drops: ports.iter().map(|p| watch::udp_drops(p.number)).sum::<io::Result<u64>>()?,
            thread_cpu_ns: sys::thread_cpu_ns(),
            server_drops: watch::udp_drops(server_port)?,
            effort,
        })
    }

    /// What was added until a later reading.
    pub(crate) fn until(&self, later: &Metered) -> Metered {
        Metered {
            time_ns: later.time_ns.saturating_sub(self.time_ns),
            server_cpu_ns: match (self.server_cpu_ns, later.server_cpu_ns) {
                (Some(from), Some(until)) => Some(until.saturating_sub(from)),
                _ => None,
            },
            thread_cpu_ns: later.thread_cpu_ns.saturating_sub(self.thread_cpu_ns),
            server_drops: later.server_drops.saturating_sub(self.server_drops),
            own_drops: later.own_drops.saturating_sub(self.own_drops),
            effort: Effort {
                busy_ns: later.effort.busy_ns - self.effort.busy_ns,
                rounds: later.effort.rounds - self.effort.rounds,
                send_blocked: later.effort.send_blocked - self.effort.send_blocked,
            },
        }
    }

    /// The time in seconds, never 0.
    pub(crate) fn seconds(&self) -> f64 {
        (self.time_ns as f64 / 1e9).max(1e-9)
    }

    /// A part of the time in percent.
    pub(crate) fn percent(&self, part_ns: u64) -> f64 {
        part_ns as f64 / 1e7 / self.seconds()
    }

    /// CPU time of the server by `count` of what it did, in microseconds.
    pub(crate) fn server_cpu_us_by(&self, count: u64) -> Option<f64> {
        self.server_cpu_ns.map(|ns| ns as f64 / 1e3 / count.max(1) as f64)
    }

    /// Share of time in which the generator sent, received or checked, in percent.
    pub(crate) fn busy_percent(&self) -> f64 {
        self.percent(self.effort.busy_ns).min(100.0)
    }

    /// Share of time in which the generator's thread did not run although it wanted to, in percent; not known, and so 0, where it
    /// `sleeps` by itself.
    pub(crate) fn preempted_percent(&self, sleeps: bool) -> f64 {
        if sleeps { 0.0 } else { (100.0 - self.percent(self.thread_cpu_ns)).clamp(0.0, 100.0) }
    }
}

/// How hard it was for the generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strain {
    pub(crate) own_drops: u64,
    pub(crate) preempted_percent: f64,
    pub(crate) busy_percent: f64,
    pub(crate) received_per_round: f64,
    /// What was asked for a second, in the open loop.
    pub(crate) rate: Option<u32>,
    pub(crate) offered_per_second: f64,
    pub(crate) lateness_p99_us: f64,
    /// What was in flight, in the closed loop.
    pub(crate) window: Option<u32>,
}

impl Strain {
    /// Whether the generator was the limit.
    pub(crate) fn limit(&self) -> Limit {
        self.why().map_or(Limit::NotTheGenerator, Limit::Generator)
    }

    fn why(&self) -> Option<String> {
        if self.own_drops > 0 {
            return Some(format!("its own sockets dropped {} datagrams", self.own_drops));
        }
        if is_disturbed(self.preempted_percent) {
            let percent = self.preempted_percent;
            return Some(format!("it was without its CPU for {percent:.0} % of the time"));
        }
        if let Some(rate) = self.rate {
            if self.offered_per_second < f64::from(rate) * OFFERED_SHARE_MIN {
                return Some(format!("it sent {:.0}/s of {rate}/s", self.offered_per_second));
            }
            if self.lateness_p99_us > LATENESS_P99_US_MAX {
                let late = self.lateness_p99_us;
                return Some(format!("1 % of the requests left more than {late:.0} us late"));
            }
        }
        // A busy closed loop is no limit as long as what it waits for is mostly at the server.
        let window = f64::from(self.window?);
        (self.busy_percent > BUSY_SHARE_MAX * 100.0 && self.received_per_round > window / 8.0).then(
            || {
                let waiting = self.received_per_round / window * 100.0;
                format!("busy, and {waiting:.0} % of the window waited for it at each look")
            },
        )
    }
}

/// Whether something else took the generator's CPU, so that a run is worth repeating.
pub(crate) fn is_disturbed(preempted_percent: f64) -> bool {
    preempted_percent > PREEMPTED_SHARE_MAX * 100.0
}

/// Whole nanoseconds.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
