//! A node: binds everything, starts one worker a core, and ends them in good order. It knows no SIP; what the workers
//! think with is made by whoever starts the node.

mod bind;
#[cfg(test)]
mod tests;

use crate::config::Io;
use crate::mesh::{self, Switchboard, Wake};
use crate::probe;
use crate::readiness::{self, Backend, Executor};
use crate::sys;
use crate::worker::{self, Board, Clock, Handler, Parts, Phase, Port, Worker};
use shards::io::CoreId;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What a node is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One worker each.
    pub cores: Vec<Core>,
    /// How sockets are waited for.
    pub io: Io,
    /// How long an idle worker looks again and again before it sleeps.
    pub spin: Duration,
    /// Where SIP is served, by `ListenerId`. Port 0 takes any that is free.
    pub listeners: Vec<SocketAddr>,
    /// The listeners' sockets.
    pub sockets: Sockets,
    /// The rings between cores.
    pub rings: Rings,
    /// How the workers pace themselves.
    pub worker: worker::Settings,
}

/// One core of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Core {
    /// The CPU its worker is tied to; `None` lets the scheduler choose.
    pub cpu: Option<usize>,
    /// Whether the kernel delivers to it. A core that does not receive works for what others move to it, and sends: with
    /// receivers and homes apart, every datagram arrives on the wrong core.
    pub receives: bool,
}

/// The listeners' sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// Whether the kernel is asked to steer, which a socket of its own for REGISTER depends on.
    pub steer: bool,
    /// Receive buffer of a socket for everything but REGISTER.
    pub rest_buffer_bytes: usize,
    /// Receive buffer of a socket for REGISTER. A longer queue would only hold what its sender has given up on.
    pub register_buffer_bytes: usize,
    /// Send buffer of each socket.
    pub send_buffer_bytes: usize,
}

/// The rings between cores: one for each ordered pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Datagrams that one holds.
    pub hops: usize,
    /// Bytes of payload that one holds.
    pub bytes: usize,
}

/// Errands of the control side that may be on their way to a core and back.
pub const ERRANDS: usize = 8;

impl Plan {
    /// A node with the usual numbers.
    #[must_use]
    pub fn new(cores: Vec<Core>, listeners: Vec<SocketAddr>) -> Plan {
        Plan {
            cores,
            io: Io::Auto,
            spin: Duration::ZERO,
            listeners,
            sockets: Sockets {
                steer: true,
                rest_buffer_bytes: 4 << 20,
                register_buffer_bytes: 2 << 20,
                send_buffer_bytes: 4 << 20,
            },
            rings: Rings { hops: 1024, bytes: 512 << 10 },
            worker: worker::Settings::default(),
        }
    }
}

/// Workers for `cpus`, each on its own, as far as this process may use them; and a remark where it may not.
///
/// # Errors
/// One sentence, where it may use none of them.
pub fn cores_on(cpus: &[usize]) -> Result<(Vec<Core>, Option<String>), String> {
    let allowed =
        sys::cpu::allowed().map_err(|error| format!("the allowed CPUs can't be read: {error}"))?;
    let (usable, missing): (Vec<usize>, Vec<usize>) =
        cpus.iter().partition(|cpu| allowed.contains(cpu));
    if usable.is_empty() {
        return Err(format!(
            "none of the CPUs {missing:?} in [node] cpus may be used here, only {allowed:?}"
        ));
    }
    let remark = (!missing.is_empty()).then(|| {
        format!("CPUs {missing:?} in [node] cpus may not be used here: workers on {usable:?} only")
    });
    let cores = usable.into_iter().map(|cpu| Core { cpu: Some(cpu), receives: true }).collect();
    Ok((cores, remark))
}

/// A node at work. Dropping it leaves the workers running.
#[derive(Debug)]
pub struct Running<H: Handler> {
    /// Lines for the operator: what serves where, and what is not as it was asked for.
    pub remarks: Vec<String>,
    /// Where it serves, by `ListenerId`, with real ports.
    pub listeners: Vec<SocketAddr>,
    /// Each core's board, by [`CoreId`].
    pub boards: Vec<Arc<Board<H::Metrics>>>,
    /// The clock by which the boards' times count.
    pub clock: Clock,
    /// The lines by which the control side asks the cores, until somebody takes them.
    pub switchboard: Option<Switchboard<H::Errand>>,
    phase: Arc<Phase>,
    wakes: Vec<Wake>,
    threads: Vec<JoinHandle<()>>,
    drain_at_most: Duration,
}

/// Binds everything and starts the workers; `make` makes each core's handler on the core's own thread. Nothing is read
/// before every socket is bound, every ring is there and every worker is ready.
///
/// # Errors
/// One sentence about what the environment does not grant: a port in use, an address that is not there, a privilege that
/// is missing. No worker has served then.
///
/// # Panics
/// Where the plan has no core that receives, or more than 65,535 cores.
pub fn start<H, F>(plan: &Plan, make: F) -> Result<Running<H>, String>
where
    H: Handler + 'static,
    F: Fn(CoreId, &[SocketAddr]) -> H + Send + Sync + 'static,
{
    let count = u16::try_from(plan.cores.len())
        .unwrap_or_else(|_| panic!("a node has at most 65,535 cores"));
    let found = probe::probe(plan.io)?;
    let bound = bind::bind(plan)?;
    let mut remarks = vec![found.line];
    remarks.extend(bound.remarks);

    let clock = Clock::start();
    let phase = Arc::new(Phase::new(count));
    let Rings { hops, bytes } = plan.rings;
    let (ends, switchboard) = mesh::mesh(plan.cores.len(), hops, bytes, ERRANDS)
        .map_err(|error| format!("the cores' bells can't be made: {error}"))?;
    let boards: Vec<_> = plan.cores.iter().map(|_| Arc::new(Board::new(clock.now()))).collect();
    let wakes: Vec<Wake> = ends.iter().map(|end| end.inbox.wake_handle()).collect();
    let make = Arc::new(make);

    let mut threads = Vec::with_capacity(plan.cores.len());
    let mut ports_of_cores = bound.ports.into_iter();
    let mut ends = ends.into_iter();
    for (id, core) in (0..count).map(CoreId).zip(&plan.cores) {
        let (Some(ports), Some(end)) = (ports_of_cores.next(), ends.next()) else {
            unreachable!("ports and rings were made for every core")
        };
        let parts = Parts {
            settings: plan.worker,
            ports,
            end,
            board: boards[usize::from(id.0)].clone(),
            phase: phase.clone(),
            clock,
        };
        let start = Start {
            backend: found.backend,
            settings: readiness::Settings { cpu: core.cpu, spin: plan.spin },
        };
        let (make, listeners, phase) = (make.clone(), bound.listeners.clone(), phase.clone());
        let thread = std::thread::Builder::new().name(format!("core-{}", id.0)).spawn({
            let phase = phase.clone();
            move || {
                // Where making the handler panics, nobody has to wait for this core.
                let watch = Unstarted(&phase, id);
                let worker = move || Worker::new(parts, make(id, &listeners));
                if let Err(reason) = start.run(worker) {
                    phase.failed(format!("core {} can't start: {reason}", id.0));
                }
                drop(watch);
            }
        });
        match thread {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                phase.failed(format!("the thread of core {} can't be started: {error}", id.0));
            }
        }
    }
    let begun = phase.begin();
    if let Err(reason) = begun {
        for thread in threads {
            let _ = thread.join();
        }
        return Err(reason);
    }
    Ok(Running {
        remarks,
        listeners: bound.listeners,
        boards,
        clock,
        switchboard: Some(switchboard),
        phase,
        wakes,
        threads,
        drain_at_most: plan.worker.drain_at_most,
    })
}

/// Tells the others that a core panicked, for as long as they wait for it.
struct Unstarted<'a>(&'a Phase, CoreId);

impl Drop for Unstarted<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed(format!("core {} panicked", self.1.0));
        }
    }
}

/// What a worker's thread needs before its worker exists.
struct Start {
    backend: Backend,
    settings: readiness::Settings,
}

impl Start {
    fn run<H: Handler + 'static>(
        self,
        worker: impl FnOnce() -> Worker<H> + 'static,
    ) -> Result<(), String> {
        let executor = Executor::new(self.backend, self.settings);
        executor.and_then(|executor| executor.run(worker)).map_err(|error| {
            if sys::is_out_of_descriptors(&error) {
                format!(
                    "{error}: raise RLIMIT_NOFILE (LimitNOFILE= in the unit, ulimit -n in a shell)"
                )
            } else {
                error.to_string()
            }
        })
    }
}

impl<H: Handler> Running<H> {
    /// Tells the workers to answer what is queued and end.
    pub fn drain(&self) {
        self.phase.drain();
        for wake in &self.wakes {
            wake.wake();
        }
    }

    /// Waits for the workers to end; false where one did not within its time.
    #[must_use]
    pub fn join(self) -> bool {
        let until = Instant::now() + self.drain_at_most + Duration::from_secs(1);
        for thread in self.threads {
            while !thread.is_finished() {
                if Instant::now() >= until {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.join().is_err() {
                return false;
            }
        }
        true
    }
}

/// All of one core's ports.
type Ports = Vec<Port>;
