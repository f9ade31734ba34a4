//! All that is sent and received in a storm, on one thread that owns a CPU: the crowd, ordinary calls and emergency calls, round after
//! round. It tells what each second was like, and decides nothing about servers.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use hdrhistogram::Histogram;

use super::counts::{Counted, second_between};
use super::network::{Loss, Network};
use super::outgoing::Outgoing;
use crate::calls::{CallPlan, Calls};
use crate::meter::nanoseconds;
use crate::population::{Population, mix};
use crate::run::nanoseconds_histogram;
use crate::sockets::Port;
use crate::storm::crowd::{Arrived, Crowd, Taken};
use crate::storm::record::{Scaled, Second};
use crate::storm::scenario::Arrival;
use crate::storm::tally::Tally;
use crate::sys::{self, BATCH, ReceiveBatch};

/// What the crowd does at most before datagrams are read again.
const BUDGET: u32 = 256;
/// Batches read from a port at most before another is looked at, and others are sent.
const BATCHES: usize = 4;
/// Shortest time between two rounds, in nanoseconds: looking at idle sockets more often would share the server's cache lines for nothing.
const ROUND_NS: u64 = 20_000;
/// Nanoseconds without a datagram after which nothing more is expected.
const SILENCE_NS: u64 = 400_000_000;
/// Nanoseconds that a run waits at most for what is under way, beside what its calls take.
const DRAIN_NS: u64 = 5_000_000_000;

/// What is played.
pub(super) struct Part<'a> {
    pub(super) crowd: Crowd,
    /// The crowd's sockets.
    pub(super) ports: Vec<Port>,
    pub(super) calls: Vec<CallsPart<'a>>,
    pub(super) scaled: Scaled,
    pub(super) target: SocketAddrV4,
    /// Where all datagrams leave from, if not from addresses of their own.
    pub(super) source: Option<Ipv4Addr>,
    pub(super) domain: &'a str,
    pub(super) loss: f64,
    pub(super) seed: u64,
    /// Where the thread runs.
    pub(super) cpu: usize,
}

/// One of two kinds of calls.
pub(super) struct CallsPart<'a> {
    pub(super) plan: CallPlan,
    pub(super) population: &'a Population,
    pub(super) ports: Vec<Port>,
    pub(super) run_id: u32,
}

/// What the thread tells while it plays.
pub(super) struct Told {
    /// Without what only the kernel and the server know.
    pub(super) second: Second,
    pub(super) tally: Tally,
}

/// What is left at the end.
pub(super) struct Played {
    pub(super) crowd: Crowd,
    /// Of the whole run.
    pub(super) counted: Counted,
    /// How late sends were, in nanoseconds.
    pub(super) lateness: Histogram<u64>,
    /// Share of the time in which the thread did not run although it wanted to.
    pub(super) preempted: f64,
    /// Somebody wanted it to end.
    pub(super) cut_short: bool,
}

/// What the main thread and this one have between them.
pub(super) struct Line<'a> {
    /// The run starts when it is set.
    pub(super) start: Instant,
    pub(super) stop: &'a AtomicBool,
    pub(super) told: Sender<Told>,
    /// Empty ones, to be filled again.
    pub(super) tallies: Receiver<Tally>,
}

/// Plays to the end, on the calling thread.
pub(super) fn play(part: Part<'_>, line: &Line<'_>) -> io::Result<Played> {
    sys::pin_to_cpu(part.cpu);
    let Part { crowd, ports, calls, scaled, target, source, domain, loss, seed, .. } = part;
    let outage = scaled.outage.map(|outage| {
        let from = scaled.before_secs + outage.from_secs;
        (ns_of(from), ns_of(from + outage.for_secs))
    });
    let mut under_way = Vec::with_capacity(calls.len());
    let mut losses = Vec::with_capacity(calls.len());
    for (number, part) in (1..).zip(&calls) {
        let mut calls =
            Calls::new(&part.plan, part.population, domain, target, &part.ports, part.run_id);
        let arrival_ns = ns_of(scaled.before_secs);
        calls.begin_steps(arrival_ns, Some(Loss::new(loss, mix(seed ^ number))));
        under_way.push(calls);
        losses.push(Loss::new(loss, mix(seed ^ (number << 8))));
    }
    let traffic = Traffic {
        crowd,
        outgoing: Outgoing::new(ports, Network::new(loss, outage, seed), source),
        ports: &calls,
        calls: under_way,
        losses,
        receive: ReceiveBatch::new(),
        tally: Tally::default(),
        read: 0,
        finals: 0,
        stray: 0,
        counted: Counted::default(),
        lateness: nanoseconds_histogram(),
        lateness_of_second: nanoseconds_histogram(),
        busy_ns: 0,
        last_received_ns: 0,
    };
    traffic.run(&scaled, line)
}

struct Traffic<'a, 'b> {
    crowd: Crowd,
    outgoing: Outgoing,
    ports: &'a [CallsPart<'b>],
    calls: Vec<Calls<'a>>,
    /// What is lost on the way back to callers and callees.
    losses: Vec<Loss>,
    receive: ReceiveBatch,
    tally: Tally,
    /// Datagrams read, those of them that were final responses to the crowd, and those that were nobody's.
    read: u64,
    finals: u64,
    stray: u64,
    /// At the end of the last second.
    counted: Counted,
    lateness: Histogram<u64>,
    lateness_of_second: Histogram<u64>,
    busy_ns: u64,
    last_received_ns: u64,
}

/// What a round is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Everything goes on.
    Playing,
    /// Nothing begins; what is under way comes to its end.
    Draining { since_ns: u64 },
}

impl Traffic<'_, '_> {
    fn run(mut self, scaled: &Scaled, line: &Line<'_>) -> io::Result<Played> {
        let end_ns = ns_of(scaled.before_secs + scaled.end_secs);
        let after_ns = ns_of(scaled.after_secs);
        let (mut next_second_ns, mut stage) = (SECOND_NS, Stage::Playing);
        let (mut done_since_ns, mut cut_short) = (None, false);
        let (cpu_start_ns, run_start) = (sys::thread_cpu_ns(), line.start.elapsed());
        let mut round_start_ns = nanoseconds(run_start);
        let mut next_look_ns = 0;
        loop {
            let did = self.round(round_start_ns, stage)?;
            let mut now_ns = nanoseconds(line.start.elapsed());
            if did {
                self.busy_ns += now_ns - round_start_ns;
            }
            while now_ns < round_start_ns + ROUND_NS {
                std::hint::spin_loop();
                now_ns = nanoseconds(line.start.elapsed());
            }
            round_start_ns = now_ns;
            if now_ns >= next_second_ns {
                self.tell(next_second_ns, scaled, line);
                next_second_ns += SECOND_NS;
            }
            // A thousand looks a second are enough.
            if now_ns < next_look_ns {
                continue;
            }
            next_look_ns = now_ns + 1_000_000;
            match stage {
                Stage::Playing => {
                    cut_short = line.stop.load(Ordering::Relaxed);
                    if done_since_ns.is_none() && self.is_done(scaled, now_ns) {
                        done_since_ns = Some(now_ns);
                    }
                    let is_over = now_ns >= end_ns
                        || done_since_ns.is_some_and(|done| now_ns >= done + after_ns);
                    if cut_short || is_over {
                        stage = Stage::Draining { since_ns: now_ns };
                        self.last_received_ns = now_ns;
                    }
                }
                Stage::Draining { since_ns } => {
                    let calls: u64 = self.calls.iter().map(Calls::under_way).sum();
                    let is_silent = now_ns >= self.last_received_ns + SILENCE_NS;
                    let patience_ns = DRAIN_NS + if cut_short { 0 } else { self.longest_call_ns() };
                    if (is_silent && calls == 0) || now_ns >= since_ns + patience_ns {
                        // The last second is shorter than the others.
                        self.tell(now_ns, scaled, line);
                        let wall_ns = now_ns - nanoseconds(run_start);
                        let cpu_ns = sys::thread_cpu_ns() - cpu_start_ns;
                        return Ok(Played {
                            crowd: self.crowd,
                            counted: self.counted,
                            lateness: self.lateness,
                            preempted: 1.0 - (cpu_ns as f64 / wall_ns.max(1) as f64).min(1.0),
                            cut_short,
                        });
                    }
                }
            }
        }
    }

    /// Receives, lets everybody do what is due, and sends; answers whether there was anything to do.
    fn round(&mut self, now_ns: u64, stage: Stage) -> io::Result<bool> {
        self.outgoing.now_ns = now_ns;
        let mut done = self.receive_for_crowd(now_ns)?;
        if stage == Stage::Playing {
            let late_ns = self.crowd.deadline_ns().map(|due_ns| now_ns.saturating_sub(due_ns));
            let count = u64::from(self.crowd.expire(now_ns, BUDGET, &mut self.outgoing));
            if let Some(late_ns) = late_ns.filter(|_| count > 0) {
                // The first of them was due first: none was later than this.
                self.lateness_of_second.saturating_record_n(late_ns.max(1), count);
            }
            done += count;
        }
        self.outgoing.flush()?;
        for number in 0..self.calls.len() {
            done += self.receive_for_calls(number, now_ns)?;
            done += self.calls[number].step(now_ns, stage == Stage::Playing)?;
        }
        Ok(done > 0)
    }

    fn receive_for_crowd(&mut self, now_ns: u64) -> io::Result<u64> {
        let mut received = 0;
        for index in 0..self.outgoing.ports.len() {
            for _ in 0..BATCHES {
                let count = self.outgoing.ports[index].receive(&mut self.receive)?;
                for datagram in self.receive.datagrams().take(count) {
                    self.finals += u64::from(is_final(datagram.bytes));
                    if self.outgoing.network.loses_in(now_ns) {
                        continue;
                    }
                    let at = Arrived { port: index, to: datagram.to, from: datagram.from };
                    if self.crowd.take(now_ns, at, datagram.bytes, &mut self.outgoing)
                        == Taken::NotMine
                    {
                        self.stray += 1;
                    }
                }
                received += count as u64;
                if count < BATCH {
                    break;
                }
            }
        }
        if received > 0 {
            self.read += received;
            self.last_received_ns = now_ns;
        }
        Ok(received)
    }

    fn receive_for_calls(&mut self, number: usize, now_ns: u64) -> io::Result<u64> {
        let mut received = 0;
        for (index, port) in self.ports[number].ports.iter().enumerate() {
            for _ in 0..BATCHES {
                let count = port.receive(&mut self.receive)?;
                for datagram in self.receive.datagrams().take(count) {
                    if !self.losses[number].takes() {
                        self.calls[number].hear(index, now_ns, &datagram)?;
                    }
                }
                received += count as u64;
                if count < BATCH {
                    break;
                }
            }
        }
        if received > 0 {
            self.calls[number].flush()?;
            self.read += received;
            self.last_received_ns = now_ns;
        }
        Ok(received)
    }

    /// Whether all who come together are registered.
    fn is_done(&self, scaled: &Scaled, now_ns: u64) -> bool {
        let come_together = match scaled.arrival {
            Arrival::Uniform { .. } | Arrival::Ramp { .. } | Arrival::Waves { .. } => true,
            Arrival::Steady { .. } | Arrival::Herd { .. } => false,
        };
        come_together
            && now_ns >= ns_of(scaled.before_secs + scaled.t_min_from_secs)
            && self.crowd.counts().total_registered_once >= u64::from(scaled.user_agents)
    }

    fn longest_call_ns(&self) -> u64 {
        let of = |part: &CallsPart<'_>| {
            let ring = match part.plan.ring {
                crate::calls::Ring::For(time) => time,
                crate::calls::Ring::UntilAll => part.plan.t1,
            };
            nanoseconds(ring + part.plan.talk)
        };
        self.ports.iter().map(of).max().unwrap_or(0)
    }

    /// Tells of the time since the last second, which ends at `end_ns`.
    fn tell(&mut self, end_ns: u64, scaled: &Scaled, line: &Line<'_>) {
        for calls in &mut self.calls {
            calls.move_latencies(&mut self.tally);
        }
        let mut tally = line.tallies.try_recv().unwrap_or_default();
        self.crowd.swap_tally(&mut tally);
        tally.add(&self.tally);
        self.tally.clear();
        let read = (self.read, self.finals, self.stray);
        let counted = Counted::read(&self.crowd, &self.outgoing, &self.calls, &self.losses, read);
        let mut second = second_between(&self.counted, &counted);
        second.at_secs = end_ns as f64 / 1e9 - scaled.before_secs;
        second.generator_busy = (self.busy_ns as f64 / 1e9).min(1.0);
        second.lateness_p99_us = self.lateness_of_second.value_at_quantile(0.99) as f64 / 1e3;
        self.lateness.add(&self.lateness_of_second).expect("equal bounds");
        self.lateness_of_second.reset();
        self.busy_ns = 0;
        self.counted = counted;
        // Nobody listens any more: then the run is being given up.
        let _told = line.told.send(Told { second, tally });
    }
}

/// Whether a datagram is a final response.
fn is_final(bytes: &[u8]) -> bool {
    bytes
        .strip_prefix(b"SIP/2.0 ")
        .is_some_and(|rest| rest.first().is_some_and(|digit| *digit > b'1'))
}

const SECOND_NS: u64 = 1_000_000_000;

/// Seconds in whole nanoseconds, none below 0.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped, and fractions of a nanosecond do not matter"
)]
pub(super) fn ns_of(secs: f64) -> u64 {
    (secs.max(0.0) * 1e9) as u64
}
