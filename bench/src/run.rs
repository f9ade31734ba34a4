//! One run: receives, checks, gives up and sends, round after round; it owns the run's clock and
//! its counts.

use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::digest::{Accounts, Answer};
use crate::flight::{Flight, Found, Leg, Sent};
use crate::meter::{Effort, Metered, nanoseconds};
use crate::plan::{Credentials, Extent, Plan};
use crate::population::{CALL_ID_BYTES, Population, UserAgent, Walk};
use crate::report::{Counts, Window};
use crate::response::{Response, hex};
use crate::sockets::Port;
use crate::sys::{self, BATCH, Datagram, ReceiveBatch};
use crate::template::{BRANCH_BYTES, MAGIC_COOKIE, RUN_DIGITS, Request, Template};
use crate::watch::Processes;

/// Requests that leave at most before answers are read again.
const ROUND_MAX: u64 = 256;

/// How long duplicates are waited for after the last answer.
const STRAGGLERS_NS: u64 = 20_000_000;

/// The bit of a request's number in its branch that tells the second leg from the first.
const SECOND_LEG: u64 = 1 << 47;

/// What user agents need who answer challenges.
pub(crate) struct Digest<'a> {
    pub(crate) accounts: &'a mut Accounts,
    /// The request with credentials.
    pub(crate) template: Template,
}

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
    digest: Option<Digest<'a>>,
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
    request_bytes: usize,
    effort: Effort,
}

/// Everything that is read at both ends of the measured time and subtracted.
#[derive(Clone, Debug, Default)]
struct Reading {
    metered: Metered,
    counts: Counts,
}

impl<'a> Run<'a> {
    /// A run of `plan` whose branches carry `run_id`, as the templates do, and whose first lap has
    /// CSeq `cseq`. Its clock starts.
    pub(crate) fn new(
        plan: &'a Plan,
        population: &'a Population,
        target: SocketAddrV4,
        template: Template,
        digest: Option<Digest<'a>>,
        run_id: u32,
        cseq: u32,
    ) -> Run<'a> {
        Run {
            plan,
            population,
            target,
            request_bytes: template.text().len(),
            template,
            digest,
            run_id,
            walk: Walk::within(population, plan.workload.order(), plan.from),
            cseq_base: cseq,
            cseq_last: cseq,
            flight: Flight::new(plan.pace.flight_room(plan.timeout)),
            counts: Counts::default(),
            latency: nanoseconds_histogram(),
            lateness: nanoseconds_histogram(),
            measured_from_ns: u64::MAX,
            measured_until_ns: u64::MAX,
            last_answer_ns: 0,
            effort: Effort::default(),
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
        let mut sending = true;
        loop {
            let round_start_ns = self.now_ns();
            if from.is_none() && round_start_ns >= warm_up_ns {
                let mut reading = self.read(ports, server)?;
                // What was due while the reading was taken is not measured.
                self.measured_from_ns = if warm_up_ns == 0 { 0 } else { self.now_ns() };
                reading.metered.time_ns = self.measured_from_ns;
                from = Some(reading);
            }
            let received = self.receive_all(ports, receive)?;
            let now_ns = self.now_ns();
            self.counts.lost += self.flight.give_up(now_ns.saturating_sub(timeout_ns));
            let mut sent = 0;
            if sending {
                sent = self.send_due(now_ns, ports)?;
                sending = !self.is_over(now_ns);
                if !sending && matches!(self.plan.extent, Extent::For(_)) {
                    self.measured_until_ns = now_ns;
                    until = Some(self.read(ports, server)?);
                }
            } else if self.flight.waiting() == 0 {
                break;
            }
            let end_ns = self.now_ns();
            self.effort.rounds += 1;
            if received + sent > 0 {
                self.effort.busy_ns += end_ns - round_start_ns;
            }
            self.pass_time_until(round_start_ns + round_ns);
        }
        self.read_stragglers(ports, receive)?;
        let end = self.read(ports, server)?;
        let until = until.unwrap_or_else(|| {
            let mut last = end.clone();
            last.metered.time_ns = self.last_answer_ns;
            last
        });
        Ok(window_between(&from.unwrap_or_default(), &until, end.metered.own_drops))
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

    fn receive_all(&mut self, ports: &mut [Port], receive: &mut ReceiveBatch) -> io::Result<u64> {
        let mut received = 0;
        for (index, port) in ports.iter_mut().enumerate() {
            loop {
                let count = port.receive(receive)?;
                if count == 0 {
                    break;
                }
                let now_ns = self.now_ns();
                for datagram in receive.datagrams() {
                    self.take(index, port, now_ns, &datagram)?;
                }
                received += count as u64;
                if count < BATCH {
                    break;
                }
            }
            // Answers to challenges.
            self.effort.send_blocked += port.flush()?;
        }
        Ok(received)
    }

    /// Counts what still arrives after the last request was settled: duplicates, and for as long
    /// as the timeout the late answers to what was given up.
    fn read_stragglers(
        &mut self,
        ports: &mut [Port],
        receive: &mut ReceiveBatch,
    ) -> io::Result<()> {
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
    fn take(
        &mut self,
        port_index: usize,
        port: &mut Port,
        now_ns: u64,
        datagram: &Datagram<'_>,
    ) -> io::Result<()> {
        self.counts.received += 1;
        let read = if self.plan.workload.is_echo() {
            self.template.read_echo(datagram.bytes)
        } else {
            Response::read(datagram.bytes)
        };
        let Some(response) = read else {
            self.counts.malformed += 1;
            return Ok(());
        };
        let found = number_of(response.branch, self.run_id)
            .map(|(number, is_second)| (number, is_second, self.flight.find(number)));
        match found {
            None | Some((_, _, Found::Unknown)) => self.counts.unmatched += 1,
            Some((_, _, Found::Answered)) => self.counts.duplicate += 1,
            Some((_, _, Found::Lost)) => self.counts.late += 1,
            Some((_, is_second, Found::Waiting(sent)))
                if (sent.leg == Leg::Second) != is_second =>
            {
                self.counts.duplicate += 1;
            }
            Some((_, _, Found::Waiting(sent)))
                if !self.belongs(&sent, &response, port_index, datagram) =>
            {
                self.counts.mismatched += 1;
            }
            Some(_) if response.status < 200 => self.counts.provisional += 1,
            Some((number, _, Found::Waiting(sent))) => {
                if self.is_challenge(&sent, &response) {
                    self.counts.challenged += 1;
                    let again = Sent { cseq: sent.cseq + 1, leg: Leg::Second, ..sent };
                    self.flight.send_again(number, again);
                    return self.write(number, again, port);
                }
                self.flight.settle(number);
                self.last_answer_ns = now_ns;
                self.judge(&sent, &response, now_ns);
            }
        }
        Ok(())
    }

    /// Whether this final response asks for credentials that the user agent has; then it keeps the nonce.
    fn is_challenge(&mut self, sent: &Sent, response: &Response<'_>) -> bool {
        let Some(Digest { accounts, .. }) = &mut self.digest else { return false };
        if self.plan.workload.is_echo() {
            // What comes back without credentials stands for a challenge.
            return sent.leg == Leg::Bare;
        }
        let Some(challenge) = response.challenge.filter(|_| response.status == 401) else {
            return false;
        };
        let is_to_be_followed = match sent.leg {
            Leg::Bare => true,
            // RFC 7616 3.3: otherwise it was not the nonce that was wrong.
            Leg::Knowing => challenge.stale,
            Leg::Second => false,
        };
        is_to_be_followed
            && challenge.realm == accounts.realm()
            && accounts.take_nonce(sent.ua, challenge.nonce)
    }

    /// Counts the final response that settles a request.
    fn judge(&mut self, sent: &Sent, response: &Response<'_>, now_ns: u64) {
        let workload = self.plan.workload;
        if response.status != 200 {
            self.counts.refused += 1;
            *self.counts.refused_by_status.entry(response.status).or_default() += 1;
            if let Some(digest) = &mut self.digest
                && workload.credentials() == Credentials::Kept
            {
                digest.accounts.forget_nonce(sent.ua);
            }
        } else if self.digest.is_some() && sent.leg == Leg::Bare {
            self.counts.unchallenged += 1;
        } else if workload.contacts().is_some_and(|n| n != response.contacts) {
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

    fn send_due(&mut self, now_ns: u64, ports: &mut [Port]) -> io::Result<u64> {
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
        // The second leg has a CSeq of its own.
        let legs = if self.digest.is_some() { 2 } else { 1 };
        for _ in 0..count {
            let (ua, lap) = self.walk.next();
            let number = self.flight.next_number();
            let due_ns = pace.due_ns(number, now_ns);
            let cseq = (self.cseq_base + lap * legs).min(i32::MAX as u32 - 1);
            self.cseq_last = cseq + legs - 1;
            let sent = Sent { due_ns, ua, cseq, leg: self.first_leg(ua) };
            self.write(number, sent, &mut ports[self.population.port_index(ua)])?;
            self.flight.depart(sent);
            self.counts.sent += 1;
            if due_ns >= self.measured_from_ns {
                self.lateness.saturating_record((now_ns - due_ns).max(1));
            }
        }
        if count > 0 {
            for port in ports {
                self.effort.send_blocked += port.flush()?;
            }
        }
        Ok(count)
    }

    /// How a user agent begins.
    fn first_leg(&self, ua: UserAgent) -> Leg {
        let has_nonce = |digest: &Digest<'_>| digest.accounts.has_nonce(ua);
        match self.plan.workload.credentials() {
            Credentials::Kept if self.digest.as_ref().is_some_and(has_nonce) => Leg::Knowing,
            Credentials::Kept | Credentials::WhenAsked | Credentials::Never => Leg::Bare,
        }
    }

    /// Puts a message into the batch of its port.
    fn write(&mut self, number: u64, sent: Sent, port: &mut Port) -> io::Result<()> {
        if port.outgoing.filled() == BATCH {
            self.effort.send_blocked += port.flush()?;
        }
        let address = self.population.address(sent.ua);
        let sequence = match sent.leg {
            Leg::Bare | Leg::Knowing => number,
            Leg::Second => number | SECOND_LEG,
        };
        let request = Request {
            ua: sent.ua,
            call: None,
            address,
            port: port.number,
            sequence,
            cseq: sent.cseq,
        };
        let slot = port.outgoing.next_slot();
        let length = match &mut self.digest {
            None => {
                self.template.patch(slot, self.population, &request);
                self.template.text().len()
            }
            Some(_) if sent.leg == Leg::Bare => {
                self.template.write(slot, self.population, &request, &Answer::NONE)
            }
            Some(digest) => {
                let answer = digest.accounts.answer(sent.ua, sequence);
                digest.template.write(slot, self.population, &request, &answer)
            }
        };
        self.request_bytes = self.request_bytes.max(length);
        port.outgoing.push(address, length);
        Ok(())
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

    fn read(&self, ports: &[Port], server: Option<&Processes>) -> io::Result<Reading> {
        let at_ns = self.now_ns();
        let metered = Metered::read(at_ns, self.effort, ports, self.target.port(), server)?;
        Ok(Reading { metered, counts: self.counts.clone() })
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
            request_bytes: self.request_bytes,
            cseq_last: self.cseq_last,
        }
    }
}

fn window_between(from: &Reading, until: &Reading, own_drops_at_end: u64) -> Window {
    let own_drops = own_drops_at_end.saturating_sub(from.metered.own_drops);
    Window {
        metered: Metered { own_drops, ..from.metered.until(&until.metered) },
        sent: until.counts.sent - from.counts.sent,
        settled: until.counts.settled() - from.counts.settled(),
        answered: until.counts.answered - from.counts.answered,
        received: until.counts.received - from.counts.received,
    }
}

/// The request's number in a branch of this run, and whether it is the second leg's.
fn number_of(branch: &[u8], run_id: u32) -> Option<(u64, bool)> {
    if branch.len() != BRANCH_BYTES {
        return None;
    }
    let (run, number) = branch.strip_prefix(MAGIC_COOKIE)?.split_at(RUN_DIGITS);
    if hex(run)? != u64::from(run_id) {
        return None;
    }
    let number = hex(number)?;
    Some((number & !SECOND_LEG, number & SECOND_LEG != 0))
}

pub(crate) fn nanoseconds_histogram() -> Histogram<u64> {
    // From 1 ns to 100 s with three digits: the bounds are valid by the crate's rules.
    Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("valid bounds")
}
