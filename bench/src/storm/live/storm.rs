//! The storm itself, from the main thread: the traffic has a thread of its own, and each of its seconds is completed here with what the kernel
//! and the server say. It kills the server and starts it again where the scenario says so.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::kernel::Counters;
use super::metrics::Scrape;
use super::outcome::answer_ages;
use super::quota::Quota;
use super::server::Server;
use super::traffic::{self, Line, Part, Played, Told};
use super::{Error, Observer, while_doing};
use crate::storm::record::{Scaled, Second};
use crate::storm::tally::Tally;
use crate::sys::Interrupts;
use crate::watch::Processes;

/// How often it is looked whether something is to be done beside the traffic.
const LOOK: Duration = Duration::from_millis(20);
/// How old what a server publishes may be: Seawall's cores publish each second, and its text is kept for another.
const METRICS_AGE: Duration = Duration::from_millis(2_300);
/// The least part of a CPU with which a server is asked each second; with less, answering would be too much of its work.
const ASKED_EACH_SECOND_PART: f64 = 0.09;
const ASKED_SELDOM_SECS: usize = 10;

/// What was seen of a storm.
pub(super) struct Seen {
    pub(super) played: Played,
    pub(super) seconds: Vec<Second>,
    /// Latencies before the arrival, and from its start on.
    pub(super) before: Tally,
    pub(super) after: Tally,
    pub(super) kernel: Counters,
    /// What the server counted, from before the first datagram until nothing came any more.
    pub(super) scrape: Option<Scrape>,
    pub(super) restarted: bool,
    /// What the server wrote last, if it ended by itself.
    pub(super) server_ended: Option<String>,
}

/// Plays `part`, and tells `observer` of each second.
pub(super) fn storm(
    part: Part<'_>,
    scaled: &Scaled,
    server: &mut Server,
    quota: Option<&Quota>,
    observer: &mut dyn Observer,
) -> Result<Seen, Error> {
    let own_ports: Vec<u16> = part
        .ports
        .iter()
        .chain(part.calls.iter().flat_map(|calls| &calls.ports))
        .map(|port| port.number)
        .collect();
    let mut watching = Watching::new(server, quota, scaled, own_ports)?;
    let stop = AtomicBool::new(false);
    let (told, hear) = mpsc::channel();
    let (give, tallies) = mpsc::channel();
    let start = Instant::now();
    let line = Line { start, stop: &stop, told, tallies };
    watching.start = start;
    let played = thread::scope(|scope| {
        let playing = thread::Builder::new()
            .name("storm".to_owned())
            .spawn_scoped(scope, move || {
                let played = traffic::play(part, &line);
                // The channel ends with the line.
                drop(line);
                played
            })
            .map_err(while_doing("starting the generator's thread"))?;
        let heard = watching.hear(server, &hear, &give, &stop, observer);
        // Whatever happened here, the thread ends before what it borrows.
        stop.store(true, Ordering::Relaxed);
        let played = playing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        heard.and(played.map_err(while_doing("sending and receiving")))
    })?;
    watching.finish(server, played)
}

/// What is read beside the traffic.
struct Watching<'a> {
    quota: Option<&'a Quota>,
    own_ports: Vec<u16>,
    start: Instant,
    kill_at: Option<Duration>,
    start_again_at: Option<Duration>,
    restarted: bool,
    server_ended: Option<String>,
    processes: Option<Processes>,
    cpu_ns: u64,
    /// At the beginning, and at the last look.
    kernel_first: Counters,
    kernel: Counters,
    server_drops: u64,
    scrape_first: Option<Scrape>,
    scrape: Option<Scrape>,
    ask_every: usize,
    seconds: Vec<Second>,
    before: Tally,
    after: Tally,
}

impl<'a> Watching<'a> {
    fn new(
        server: &Server,
        quota: Option<&'a Quota>,
        scaled: &Scaled,
        own_ports: Vec<u16>,
    ) -> Result<Watching<'a>, Error> {
        let at = |secs: f64| Duration::from_secs_f64((scaled.before_secs + secs).max(0.0));
        let processes = processes_of(server);
        let cpu_ns = processes.as_ref().and_then(|processes| processes.cpu_ns().ok());
        let scrape = match server.metrics {
            Some(metrics) => {
                thread::sleep(METRICS_AGE);
                Scrape::fetch(metrics).map_err(while_doing("asking the server for its metrics"))?
            }
            None => None,
        };
        let kernel = counters(server, &own_ports)?;
        let is_slow = quota.is_some_and(|quota| quota.part() < ASKED_EACH_SECOND_PART);
        Ok(Watching {
            quota,
            own_ports,
            start: Instant::now(),
            kill_at: scaled.restart_at_secs.map(at),
            start_again_at: scaled.restart_at_secs.map(|secs| at(secs + scaled.restart_down_secs)),
            restarted: false,
            server_ended: None,
            processes,
            cpu_ns: cpu_ns.unwrap_or(0),
            kernel_first: kernel,
            kernel,
            server_drops: 0,
            scrape_first: scrape.clone(),
            scrape,
            ask_every: if is_slow { ASKED_SELDOM_SECS } else { 1 },
            seconds: Vec::new(),
            before: Tally::default(),
            after: Tally::default(),
        })
    }

    /// Until the traffic has no more to tell.
    fn hear(
        &mut self,
        server: &mut Server,
        hear: &mpsc::Receiver<Told>,
        give: &mpsc::Sender<Tally>,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<(), Error> {
        loop {
            match hear.recv_timeout(LOOK) {
                Ok(Told { mut second, mut tally }) => {
                    self.complete(&mut second, &tally, server)?;
                    observer.second(&second, &tally);
                    let all = if second.at_secs > 0.0 { &mut self.after } else { &mut self.before };
                    all.add(&tally);
                    self.seconds.push(second);
                    tally.clear();
                    // Nobody needs it at the end.
                    let _given = give.send(tally);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if Interrupts::came() {
                stop.store(true, Ordering::Relaxed);
            }
            self.restart(server)?;
            let is_down = self.restarted && self.start_again_at.is_some();
            if !is_down && self.server_ended.is_none() && server.has_ended() {
                self.server_ended = Some(server.log());
                stop.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Adds what kernel and server say of the time since the last look.
    fn complete(
        &mut self,
        second: &mut Second,
        tally: &Tally,
        server: &Server,
    ) -> Result<(), Error> {
        let kernel = counters(server, &self.own_ports)?;
        second.kernel_drops = self.kernel.until(&kernel).server_drops;
        self.server_drops += second.kernel_drops;
        self.kernel = kernel;
        second.server_cpu_ns = self.cpu_since();
        second.answer_age_us = answer_ages(tally);
        let is_asked = self.seconds.len().is_multiple_of(self.ask_every);
        if let Some(metrics) = server.metrics.filter(|_| is_asked)
            && let Some(before) = &self.scrape
            // A server too busy to answer is asked again in a second: nothing is lost but the resolution.
            && let Ok(Some(scrape)) = Scrape::fetch(metrics)
        {
            let added = before.until(&scrape);
            second.server_drops = added
                .dropped
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(k, v)| (k.clone(), *v))
                .collect();
            second.server_queue_age_us = Some(added.queue_age_counts());
            self.scrape = Some(scrape);
        }
        Ok(())
    }

    /// The server's CPU time since the last look, where its processes are known.
    fn cpu_since(&mut self) -> Option<u64> {
        let now_ns = self.processes.as_ref()?.cpu_ns().ok()?;
        let added = now_ns.saturating_sub(self.cpu_ns);
        self.cpu_ns = now_ns;
        Some(added)
    }

    fn restart(&mut self, server: &mut Server) -> Result<(), Error> {
        let now = self.start.elapsed();
        if self.kill_at.is_some_and(|at| now >= at) {
            self.kill_at = None;
            self.restarted = true;
            server.kill();
            self.processes = None;
        }
        if self.restarted && self.start_again_at.is_some_and(|at| now >= at) {
            self.start_again_at = None;
            server.start_again()?;
            if let (Some(quota), Some(pid)) = (self.quota, server.pid) {
                quota.take(pid)?;
            }
            self.processes = processes_of(server);
            self.cpu_ns = 0;
        }
        Ok(())
    }

    fn finish(mut self, server: &mut Server, played: Played) -> Result<Seen, Error> {
        let mut scrape = None;
        if let (Some(metrics), Some(first)) = (server.metrics, &self.scrape_first)
            && self.server_ended.is_none()
        {
            thread::sleep(METRICS_AGE);
            let last = fetch_patiently(metrics)
                .map_err(while_doing("asking the server for its metrics at the end"))?;
            scrape = last.map(|last| first.until(&last));
        }
        let kernel = counters(server, &self.own_ports)?;
        self.server_drops += self.kernel.until(&kernel).server_drops;
        let mut all = self.kernel_first.until(&kernel);
        all.server_drops = self.server_drops;
        if self.restarted {
            // Sockets that were closed took their counts with them; what the machine counts of all its sockets stays.
            all.server_drops = all.receive_errors.saturating_sub(all.own_drops);
        }
        Ok(Seen {
            played,
            seconds: self.seconds,
            before: self.before,
            after: self.after,
            kernel: all,
            scrape,
            restarted: self.restarted,
            server_ended: self.server_ended,
        })
    }
}

/// A server that is slowed may need a few periods for an answer.
fn fetch_patiently(metrics: std::net::SocketAddr) -> io::Result<Option<Scrape>> {
    let mut tries = 0;
    loop {
        match Scrape::fetch(metrics) {
            Err(_) if tries < 10 => tries += 1,
            outcome => return outcome,
        }
    }
}

fn counters(server: &Server, own_ports: &[u16]) -> Result<Counters, Error> {
    Counters::read(server.address.port(), own_ports)
        .map_err(while_doing("reading the kernel's counters in /proc/net"))
}

fn processes_of(server: &Server) -> Option<Processes> {
    server.pid.and_then(|pid| Processes::under(pid).ok())
}
