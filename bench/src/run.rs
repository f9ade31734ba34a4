//! One run: receives, checks, gives up and sends, round after round; it owns the run's clock and
//! its counts.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::flight::{Flight, Found, Sent};
use crate::plan::{Extent, Plan};
use crate::population::{CALL_ID_BYTES, Population, Walk};
use crate::report::{Counts, Window};
use crate::response::{Response, hex};
use crate::sockets::Port;
use crate::sys::{self, BATCH, Datagram, ReceiveBatch};
use crate::template::{BRANCH_BYTES, MAGIC_COOKIE, RUN_DIGITS, Request, Template};
use crate::watch::{self, Processes};

/// Requests that leave at most before answers are read again.
const ROUND_MAX: u64 = 256;

/// How long duplicates are waited for after the last answer.
const STRAGGLERS_NS: u64 = 20_000_000;

/// What a run leaves to be reported.
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) latency: Histogram<u64>,
    pub(crate) lateness: Histogram<u64>,
    pub(crate) window: Window,
    pub(crate) request_bytes: usize,
    /// The highest CSeq that was sent.
    pub(crate) cseq_last: u32,
}

/// A run under way.
pub(crate) struct Run<'a> {
    plan: &'a Plan,
    population: &'a Population,
    target: SocketAddrV4,
    template: Template,
    run_id: u32,
    start: Instant,
    walk: Walk,
    cseq_base: u32,
    cseq_last: u32,
    flight: Flight,
    counts: Counts,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
    measured_from_ns: u64,
    measured_until_ns: u64,
    last_answer_ns: u64,
}

/// Everything that is read at both ends of the measured time and subtracted.
#[derive(Clone, Debug, Default)]
struct Reading {
    at_ns: u64,
    counts: Counts,
    server_cpu_ns: Option<u64>,
    thread_cpu_ns: u64,
    server_drops: u64,
    own_drops: u64,
    busy_ns: u64,
    rounds: u64,
    send_blocked: u64,
}

impl<'a> Run<'a> {
    /// A run of `plan` whose branches carry `run_id`, as `template` does, and whose first lap has
    /// CSeq `cseq`. Its clock starts.
    pub(crate) fn new(
        plan: &'a Plan,
        population: &'a Population,
        target: SocketAddrV4,
        template: Template,
        run_id: u32,
        cseq: u32,
    ) -> Run<'a> {
        Run {
            plan,
            population,
            target,
            template,
            run_id,
            walk: Walk::new(population, plan.workload.order()),
            cseq_base: cseq,
            cseq_last: cseq,
            flight: Flight::new(plan.pace.flight_room(plan.timeout)),
            counts: Counts::default(),
            latency: nanoseconds_histogram(),
            lateness: nanoseconds_histogram(),
            measured_from_ns: u64::MAX,
            measured_until_ns: u64::MAX,
            last_answer_ns: 0,
            start: Instant::now(),
        }
    }

    /// Runs to the end, and answers with what was measured in between.
    pub(crate) fn carry_out(
        &mut self,
        ports: &mut [Port],
        receive: &mut ReceiveBatch,
        server: Option<&Processes>,
    ) -> io::Result<Window> {
        if self.plan.sleeps {
            sys::wake_punctually()?;
        }
        let warm_up_ns = nanoseconds(self.plan.warm_up);
        let timeout_ns = nanoseconds(self.plan.timeout);
        let round_ns = nanoseconds(self.plan.round);
        let (mut from, mut until) = (None, None);
        let mut load = Reading::default();
        let mut sending = true;
        loop {
            let round_start_ns = self.now_ns();
            if from.is_none() && round_start_ns >= warm_up_ns {
                let reading = self.read(&load, ports, server)?;
                // What was due while the reading was taken is not measured.
                self.measured_from_ns = if warm_up_ns == 0 { 0 } else { self.now_ns() };
                from = Some(Reading { at_ns: self.measured_from_ns, ..reading });
            }
            let received = self.receive_all(ports, receive)?;
            let now_ns = self.now_ns();
            self.counts.lost += self.flight.give_up(now_ns.saturating_sub(timeout_ns));
            let mut sent = 0;
            if sending {
                sent = self.send_due(now_ns, ports, &mut load.send_blocked)?;
                sending = !self.is_over(now_ns);
                if !sending && matches!(self.plan.extent, Extent::For(_)) {
                    self.measured_until_ns = now_ns;
                    until = Some(self.read(&load, ports, server)?);
                }
            } else if self.flight.waiting() == 0 {
                break;
            }
            let end_ns = self.now_ns();
            load.rounds += 1;
            if received + sent > 0 {
                load.busy_ns += end_ns - round_start_ns;
            }
            self.pass_time_until(round_start_ns + round_ns);
        }
        self.read_stragglers(ports, receive)?;
        let end = self.read(&load, ports, server)?;
        let until = until.unwrap_or_else(|| Reading { at_ns: self.last_answer_ns, ..end.clone() });
        Ok(window_between(&from.unwrap_or_default(), &until, end.own_drops))
    }

    fn pass_time_until(&self, until_ns: u64) {
        if self.plan.sleeps {
            std::thread::sleep(Duration::from_nanos(until_ns.saturating_sub(self.now_ns())));
        } else {
            while self.now_ns() < until_ns {
                std::hint::spin_loop();
            }
        }
    }

    fn receive_all(&mut self, ports: &[Port], receive: &mut ReceiveBatch) -> io::Result<u64> {
        let mut received = 0;
        for (index, port) in ports.iter().enumerate() {
            loop {
                let count = port.receive(receive)?;
                if count == 0 {
                    break;
                }
                let now_ns = self.now_ns();
                for datagram in receive.datagrams() {
                    self.take(index, now_ns, &datagram);
                }
                received += count as u64;
                if count < BATCH {
                    break;
                }
            }
        }
        Ok(received)
    }

    /// Counts what still arrives after the last request was settled: duplicates, and for as long
    /// as the timeout the late answers to what was given up.
    fn read_stragglers(&mut self, ports: &[Port], receive: &mut ReceiveBatch) -> io::Result<()> {
        let start_ns = self.now_ns();
        let timeout_ns = nanoseconds(self.plan.timeout);
        loop {
            let wait_ns =
                if self.counts.late < self.counts.lost { timeout_ns } else { STRAGGLERS_NS };
            if self.receive_all(ports, receive)? == 0 {
                if self.now_ns() >= start_ns + wait_ns {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Checks one datagram and counts it in exactly one place.
    fn take(&mut self, port_index: usize, now_ns: u64, datagram: &Datagram<'_>) {
        self.counts.received += 1;
        let read = if self.plan.workload.is_echo() {
            self.template.read_echo(datagram.bytes)
        } else {
            Response::read(datagram.bytes)
        };
        let Some(response) = read else {
            self.counts.malformed += 1;
            return;
        };
        let Some(number) = number_of(response.branch, self.run_id) else {
            self.counts.unmatched += 1;
            return;
        };
        let sent = match self.flight.find(number) {
            Found::Waiting(sent) => sent,
            Found::Answered => {
                self.counts.duplicate += 1;
                return;
            }
            Found::Lost => {
                self.counts.late += 1;
                return;
            }
            Found::Unknown => {
                self.counts.unmatched += 1;
                return;
            }
        };
        if !self.belongs(&sent, &response, port_index, datagram) {
            self.counts.mismatched += 1;
            return;
        }
        if response.status < 200 {
            self.counts.provisional += 1;
            return;
        }
        self.flight.settle(number);
        self.last_answer_ns = now_ns;
        if response.status != 200 {
            self.counts.refused += 1;
            *self.counts.refused_by_status.entry(response.status).or_default() += 1;
        } else if self.plan.workload.contacts().is_some_and(|n| n != response.contacts) {
            self.counts.wrong_contacts += 1;
        } else {
            self.counts.answered += 1;
            if sent.due_ns >= self.measured_from_ns && sent.due_ns < self.measured_until_ns {
                self.latency.saturating_record((now_ns - sent.due_ns).max(1));
            }
        }
    }

    /// Whether Call-ID and CSeq are the request's, and the answer came from where the request
    /// went to where the request came from.
    fn belongs(
        &self,
        sent: &Sent,
        response: &Response<'_>,
        port_index: usize,
        datagram: &Datagram<'_>,
    ) -> bool {
        let mut call_id = [0; CALL_ID_BYTES];
        self.population.write_call_id(sent.ua, &mut call_id);
        response.call_id == call_id
            && response.cseq == sent.cseq
            && response.method == self.plan.workload.method()
            && self.population.port_index(sent.ua) == port_index
            && self.population.address(sent.ua) == datagram.to
            && datagram.from == self.target
    }

    fn send_due(
        &mut self,
        now_ns: u64,
        ports: &mut [Port],
        send_blocked: &mut u64,
    ) -> io::Result<u64> {
        let pace = self.plan.pace;
        let left = match self.plan.extent {
            Extent::Requests(all) => all - self.counts.sent,
            Extent::For(_) => u64::MAX,
        };
        let count = pace
            .allowance(now_ns, self.counts.sent, self.flight.waiting())
            .min(self.flight.room())
            .min(ROUND_MAX)
            .min(left);
        for _ in 0..count {
            let (ua, lap) = self.walk.next();
            let port_index = self.population.port_index(ua);
            let port = &mut ports[port_index];
            if port.outgoing.filled() == BATCH {
                *send_blocked += port.flush()?;
            }
            let number = self.flight.next_number();
            let due_ns = pace.due_ns(number, now_ns);
            let cseq = (self.cseq_base + lap).min(i32::MAX as u32);
            self.cseq_last = cseq;
            let address = self.population.address(ua);
            let request = Request { ua, address, port: port.number, sequence: number, cseq };
            self.template.patch(port.outgoing.next_slot(), self.population, &request);
            port.outgoing.push(address, self.template.text().len());
            self.flight.depart(Sent { due_ns, ua, cseq });
            self.counts.sent += 1;
            if due_ns >= self.measured_from_ns {
                self.lateness.saturating_record((now_ns - due_ns).max(1));
            }
        }
        if count > 0 {
            for port in ports {
                *send_blocked += port.flush()?;
            }
        }
        Ok(count)
    }

    fn is_over(&self, now_ns: u64) -> bool {
        match self.plan.extent {
            Extent::Requests(all) => self.counts.sent == all,
            Extent::For(time) => {
                self.measured_from_ns != u64::MAX
                    && now_ns >= self.measured_from_ns + nanoseconds(time)
            }
        }
    }

    fn read(
        &self,
        load: &Reading,
        ports: &[Port],
        server: Option<&Processes>,
    ) -> io::Result<Reading> {
        let at_ns = self.now_ns();
        let server_cpu_ns = server.map(Processes::cpu_ns).transpose()?;
        let own_drops =
            ports.iter().map(|p| watch::udp_drops(p.number)).sum::<io::Result<u64>>()?;
        Ok(Reading {
            at_ns,
            counts: self.counts.clone(),
            server_cpu_ns,
            thread_cpu_ns: sys::thread_cpu_ns(),
            server_drops: watch::udp_drops(self.target.port())?,
            own_drops,
            ..load.clone()
        })
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }

    /// What is left to be reported.
    pub(crate) fn finish(self, window: Window) -> Outcome {
        Outcome {
            counts: self.counts,
            latency: self.latency,
            lateness: self.lateness,
            window,
            request_bytes: self.template.text().len(),
            cseq_last: self.cseq_last,
        }
    }
}

fn window_between(from: &Reading, until: &Reading, own_drops_at_end: u64) -> Window {
    Window {
        duration_ns: until.at_ns.saturating_sub(from.at_ns),
        sent: until.counts.sent - from.counts.sent,
        settled: until.counts.settled() - from.counts.settled(),
        answered: until.counts.answered - from.counts.answered,
        received: until.counts.received - from.counts.received,
        server_cpu_ns: match (from.server_cpu_ns, until.server_cpu_ns) {
            (Some(from), Some(until)) => Some(until.saturating_sub(from)),
            _ => None,
        },
        thread_cpu_ns: until.thread_cpu_ns - from.thread_cpu_ns,
        server_drops: until.server_drops.saturating_sub(from.server_drops),
        own_drops: own_drops_at_end.saturating_sub(from.own_drops),
        busy_ns: until.busy_ns - from.busy_ns,
        rounds: until.rounds - from.rounds,
        send_blocked: until.send_blocked - from.send_blocked,
    }
}

/// The request's number in a branch of this run.
fn number_of(branch: &[u8], run_id: u32) -> Option<u64> {
    if branch.len() != BRANCH_BYTES {
        return None;
    }
    let (run, number) = branch.strip_prefix(MAGIC_COOKIE)?.split_at(RUN_DIGITS);
    if hex(run)? != u64::from(run_id) {
        return None;
    }
    hex(number)
}

fn nanoseconds_histogram() -> Histogram<u64> {
    // From 1 ns to 100 s with three digits: the bounds are valid by the crate's rules.
    Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("valid bounds")
}

/// Whole nanoseconds.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
