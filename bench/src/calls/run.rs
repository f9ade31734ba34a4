//! One run of calls: receives, answers, fires timers and calls, round after round; it owns the run's clock and its counts. Where a
//! message comes from a call that it does not know, the call goes on as if it had not come.

mod callee;
mod caller;
mod steps;

pub(crate) use steps::Sent;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::lanes::{Kind, Lanes};
use super::message::{Message, Method, Start};
use super::report::{CallCounts, CallOutcome, CallReport, CallWindow, Held};
use super::table::{Call, Caller, Handle, Table};
use super::text::Texts;
use super::timers::{End, Growth, Timers};
use super::{CallPlan, Ring};
use crate::meter::{Effort, Metered, nanoseconds};
use crate::pace::Pace;
use crate::plan::Extent;
use crate::population::{Order, Population, UserAgent, Walk};
use crate::run::nanoseconds_histogram;
use crate::sockets::Port;
use crate::sys::{self, BATCH, Datagram, ReceiveBatch};
use crate::watch::Processes;

/// Calls that begin at most before messages are read again.
const ROUND_MAX: u64 = 64;

/// How long duplicates are waited for after the last call.
const STRAGGLERS_NS: u64 = 20_000_000;

/// Calls at most that can be under way in an open loop.
const OPEN_PLACES_MAX: u32 = 1 << 20;

/// A run under way.
pub(crate) struct Calls<'a> {
    plan: &'a CallPlan,
    target: SocketAddrV4,
    ports: &'a [Port],
    texts: Texts<'a>,
    table: Table,
    timers: Timers,
    lanes: Lanes,
    walk: Walk,
    /// From a callee to its caller.
    distance: u32,
    /// Calls that only ring, in the order in which they began to, and how many of them there are.
    ringing: VecDeque<Handle>,
    idle: u64,
    released: u64,
    held: Option<Held>,
    start: Instant,
    counts: CallCounts,
    /// The same of calls that were due from `since_ns` on, as far as the caller can tell.
    counts_since: CallCounts,
    since_ns: u64,
    setup: Histogram<u64>,
    teardown: Histogram<u64>,
    lateness: Histogram<u64>,
    measured_from_ns: u64,
    measured_until_ns: u64,
    /// Time of a call that is not the server's: what the callee rings, where that is not to be measured.
    discount_ns: u64,
    last_end_ns: u64,
    invite_bytes: usize,
    effort: Effort,
}

/// Everything that is read at both ends of the measured time and subtracted.
#[derive(Clone, Debug, Default)]
struct Reading {
    metered: Metered,
    counts: CallCounts,
}

/// What is said in a call.
#[derive(Clone, Copy, Debug)]
enum Say<'a> {
    Invite,
    Ringing,
    Answer,
    Ack,
    Bye,
    Cancel,
    Terminated,
    /// With the value of To of what was refused.
    AckToRefusal(&'a [u8]),
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Completed,
    Cancelled,
    Refused(u16),
    Unacknowledged,
    Lost,
}

impl<'a> Calls<'a> {
    /// A run of `plan` whose Call-IDs and branches carry `run`. Its clock starts.
    pub(crate) fn new(
        plan: &'a CallPlan,
        population: &'a Population,
        domain: &'a str,
        target: SocketAddrV4,
        ports: &'a [Port],
        run: u32,
    ) -> Calls<'a> {
        let ring = match plan.ring {
            Ring::For(time) => time,
            Ring::UntilAll => Duration::ZERO,
        };
        let places = match (plan.pace, plan.ring, plan.extent) {
            (_, Ring::UntilAll, Extent::Requests(calls)) => {
                u32::try_from(calls).unwrap_or(u32::MAX)
            }
            (Pace::Closed { window }, _, _) => window,
            (Pace::Open { .. } | Pace::Every { .. }, _, _) => {
                let rate = plan.pace.rate().map_or(1, u64::from);
                let waits = plan.t1 * 64 + ring + plan.talk;
                let most = nanoseconds(waits).div_ceil(1_000_000_000).saturating_mul(rate);
                u32::try_from(most).unwrap_or(u32::MAX).min(OPEN_PLACES_MAX)
            }
        };
        let numbers = ports.iter().map(|port| port.number).collect();
        Calls {
            plan,
            target,
            ports,
            texts: Texts {
                population,
                domain: domain.as_bytes(),
                from_domain: plan.from_domain.as_deref().unwrap_or(domain).as_bytes(),
                ports: numbers,
                run,
                is_echo: plan.echo,
                is_emergency: plan.emergency,
            },
            table: Table::new(places.saturating_add(64), run),
            timers: Timers::new(plan.t1, ring, plan.talk),
            lanes: Lanes::new(ports.len(), target),
            walk: Walk::new(population, Order::Scattered),
            distance: population.half(),
            ringing: VecDeque::new(),
            idle: 0,
            released: 0,
            held: None,
            counts: CallCounts::default(),
            counts_since: CallCounts::default(),
            since_ns: u64::MAX,
            setup: nanoseconds_histogram(),
            teardown: nanoseconds_histogram(),
            lateness: nanoseconds_histogram(),
            measured_from_ns: u64::MAX,
            measured_until_ns: u64::MAX,
            discount_ns: 0,
            last_end_ns: 0,
            invite_bytes: 0,
            effort: Effort::default(),
            start: Instant::now(),
        }
    }

    /// Runs to the end.
    pub(crate) fn carry_out(
        mut self,
        receive: &mut ReceiveBatch,
        server: Option<&Processes>,
    ) -> io::Result<CallReport> {
        if self.plan.sleeps {
            sys::wake_punctually()?;
        }
        let warm_up_ns = nanoseconds(self.plan.warm_up);
        let round_ns = nanoseconds(self.plan.round);
        let resident_before = server.map(Processes::resident_bytes).transpose()?;
        let (mut from, mut until) = (None, None);
        let mut starting = true;
        loop {
            let round_start_ns = self.now_ns();
            if from.is_none() && round_start_ns >= warm_up_ns {
                let mut reading = self.read(server)?;
                // What was due while the reading was taken is not measured.
                self.measured_from_ns = if warm_up_ns == 0 { 0 } else { self.now_ns() };
                reading.metered.time_ns = self.measured_from_ns;
                from = Some(reading);
            }
            let mut done = self.receive_all(receive)?;
            let now_ns = self.now_ns();
            done += self.fire(now_ns)?;
            if starting {
                done += self.start_due(now_ns)?;
                starting = !self.is_over(now_ns);
                if !starting && matches!(self.plan.extent, Extent::For(_)) {
                    self.measured_until_ns = now_ns;
                    until = Some(self.read(server)?);
                }
            } else if self.table.len() == 0 {
                break;
            } else if self.held.is_some() || (self.idle > 0 && self.idle == self.table.len()) {
                if self.held.is_none() {
                    self.note_held(now_ns, resident_before, server)?;
                }
                done += self.release(now_ns)?;
            }
            self.lanes.flush(self.ports)?;
            let end_ns = self.now_ns();
            self.effort.rounds += 1;
            if done > 0 {
                self.effort.busy_ns += end_ns - round_start_ns;
            }
            self.pass_time_until(round_start_ns + round_ns);
        }
        self.read_stragglers(receive)?;
        let end = self.read(server)?;
        let until = until.unwrap_or_else(|| {
            let mut last = end.clone();
            last.metered.time_ns = self.last_end_ns;
            last
        });
        Ok(self.report(&from.unwrap_or_default(), &until, end.metered.own_drops))
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

    fn is_over(&self, now_ns: u64) -> bool {
        match self.plan.extent {
            Extent::Requests(all) => self.counts.started == all,
            Extent::For(time) => {
                self.measured_from_ns != u64::MAX
                    && now_ns >= self.measured_from_ns + nanoseconds(time)
            }
        }
    }

    fn receive_all(&mut self, receive: &mut ReceiveBatch) -> io::Result<u64> {
        let mut received = 0;
        let ports = self.ports;
        for (index, port) in ports.iter().enumerate() {
            loop {
                let count = port.receive(receive)?;
                if count == 0 {
                    break;
                }
                let now_ns = self.now_ns();
                for datagram in receive.datagrams() {
                    self.take(index, now_ns, &datagram)?;
                }
                self.lanes.flush(ports)?;
                received += count as u64;
                if count < BATCH {
                    break;
                }
            }
        }
        Ok(received)
    }

    fn read_stragglers(&mut self, receive: &mut ReceiveBatch) -> io::Result<()> {
        let start_ns = self.now_ns();
        loop {
            if self.receive_all(receive)? == 0 {
                if self.now_ns() >= start_ns + STRAGGLERS_NS {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Begins the calls that are due.
    fn start_due(&mut self, now_ns: u64) -> io::Result<u64> {
        let pace = self.plan.pace;
        let left = match self.plan.extent {
            Extent::Requests(all) => all - self.counts.started,
            Extent::For(_) => u64::MAX,
        };
        let busy = u32::try_from(self.table.len() - self.idle).unwrap_or(u32::MAX);
        let count = pace
            .allowance(now_ns, self.counts.started, busy)
            .min(self.table.room())
            .min(ROUND_MAX)
            .min(left);
        for _ in 0..count {
            let (callee, _) = self.walk.next();
            let caller = UserAgent((callee.0 + self.distance) % self.texts.population.size());
            let due_ns = pace.due_ns(self.counts.started, now_ns);
            let handle = self.table.begin(caller, callee, due_ns);
            self.counts.started += 1;
            self.counts_since.started += u64::from(due_ns >= self.since_ns);
            self.say(handle, Say::Invite)?;
            self.wait(handle, End::Caller, Waits::ToRepeat, now_ns);
            if due_ns >= self.measured_from_ns {
                self.lateness.saturating_record((now_ns - due_ns).max(1));
            }
        }
        Ok(count)
    }

    /// Notes that all calls ring.
    fn note_held(
        &mut self,
        now_ns: u64,
        resident_before: Option<u64>,
        server: Option<&Processes>,
    ) -> io::Result<()> {
        self.held = Some(Held {
            calls: self.idle,
            server_resident_bytes: server.map(Processes::resident_bytes).transpose()?,
            server_resident_bytes_before: resident_before,
            filled_seconds: now_ns as f64 / 1e9,
            drained_seconds: 0.0,
        });
        Ok(())
    }

    /// Lets calls go on that only ring: every second is answered, the others are cancelled.
    fn release(&mut self, now_ns: u64) -> io::Result<u64> {
        let busy = self.table.len() - self.idle;
        let most = match self.plan.pace {
            Pace::Closed { window } => u64::from(window),
            Pace::Open { .. } | Pace::Every { .. } => ROUND_MAX,
        };
        let mut released = 0;
        while released < most.saturating_sub(busy).min(ROUND_MAX) {
            let Some(handle) = self.ringing.pop_front() else { break };
            let Some(call) = self.table.find(handle).filter(|call| call.idle) else { continue };
            call.idle = false;
            self.idle -= 1;
            self.released += 1;
            released += 1;
            if self.released.is_multiple_of(2) {
                self.say(handle, Say::Cancel)?;
                self.with(handle, |call| call.caller = Caller::Cancelling);
                self.wait(handle, End::Caller, Waits::ToRepeat, now_ns);
            } else {
                self.answer(handle, now_ns)?;
                self.wait(handle, End::Caller, Waits::ForTheEnd, now_ns);
            }
        }
        Ok(released)
    }

    /// Checks one datagram, counts it in exactly one place, and does what its call makes of it.
    fn take(&mut self, port_index: usize, now_ns: u64, datagram: &Datagram<'_>) -> io::Result<()> {
        self.counts.received += 1;
        let Some(message) = Message::read(datagram.bytes) else {
            // What an echo sends of an INVITE first stands for the 100.
            if self.plan.echo && datagram.bytes.starts_with(b"INVITE ") {
                self.counts.trying += 1;
            } else {
                self.counts.malformed += 1;
            }
            return Ok(());
        };
        let (found, is_own) = self.table.find_by_id(message.call_id);
        let Some(&mut Call { handle, .. }) = found else {
            if !is_own {
                self.counts.unmatched += 1;
                return Ok(());
            }
            self.counts.late += 1;
            // As if its transaction were still there: the 200 is repeated.
            return match message.start {
                Start::Request { method: Method::Bye, .. } => {
                    self.accept(port_index, datagram, &message, Kind::ByeAnswer)
                }
                Start::Request { .. } | Start::Response { .. } => Ok(()),
            };
        };
        match message.start {
            Start::Request { method, uri } => {
                if !self.is_for_callee(handle, port_index, datagram, &message, uri) {
                    self.counts.mismatched += 1;
                    return Ok(());
                }
                match method {
                    Method::Invite => self.callee_hears_invite(handle, &message, now_ns),
                    Method::Ack => self.callee_hears_ack(handle, now_ns),
                    Method::Bye => self.callee_hears_bye(handle, port_index, datagram, &message),
                    Method::Cancel => {
                        self.callee_hears_cancel(handle, port_index, datagram, &message, now_ns)
                    }
                }
            }
            Start::Response { status } => {
                if !self.is_for_caller(handle, port_index, datagram, &message, status) {
                    self.counts.mismatched += 1;
                    return Ok(());
                }
                match (message.method, status) {
                    (Method::Invite, ..200) => {
                        self.caller_hears_provisional(handle, status, now_ns)
                    }
                    (Method::Invite, 200..300) => {
                        self.caller_hears_answer(handle, &message, now_ns)
                    }
                    (Method::Invite, _) => {
                        self.caller_hears_refusal(handle, &message, status, now_ns)
                    }
                    (Method::Bye, _) => {
                        self.caller_hears_of_bye(handle, status, now_ns);
                        Ok(())
                    }
                    (Method::Cancel, _) => {
                        self.caller_hears_of_cancel(handle, status, now_ns);
                        Ok(())
                    }
                    // Nobody answers an ACK.
                    (Method::Ack, _) => {
                        self.counts.mismatched += 1;
                        Ok(())
                    }
                }
            }
        }
    }

    /// Whether a datagram came from the server to a user agent.
    fn came_to(&self, ua: UserAgent, port_index: usize, datagram: &Datagram<'_>) -> bool {
        let population = self.texts.population;
        datagram.from == self.target
            && datagram.to == population.address(ua)
            && port_index == population.port_index(ua)
    }

    /// Does what timers ask for; answers how much that was.
    fn fire(&mut self, now_ns: u64) -> io::Result<u64> {
        let mut fired = 0;
        while let Some((due_ns, handle, end)) = self.timers.due(now_ns) {
            let Some(call) = self.table.find(handle) else { continue };
            let timer = match end {
                End::Caller => call.caller_timer,
                End::Callee => call.callee_timer,
            };
            if !timer.is_due(due_ns) {
                continue;
            }
            fired += 1;
            let next = self.timers.next(&timer, now_ns);
            match end {
                End::Caller => self.caller_has_waited(handle, next, now_ns)?,
                End::Callee => self.callee_has_waited(handle, next, now_ns)?,
            }
        }
        Ok(fired)
    }

    /// Counts a message that was received before, and says again what was said to it.
    fn repeat(&mut self, handle: Handle, say: Say<'_>) -> io::Result<()> {
        self.counts.duplicate += 1;
        self.say(handle, say)
    }

    /// Says again what nothing came to, and waits longer.
    fn say_again(
        &mut self,
        handle: Handle,
        say: Say<'_>,
        growth: Growth,
        end: End,
        now_ns: u64,
    ) -> io::Result<()> {
        self.counts.repeated += 1;
        if let Some(call) = self.table.find(handle) {
            let timer = match end {
                End::Caller => &mut call.caller_timer,
                End::Callee => &mut call.callee_timer,
            };
            self.timers.repeat_again(timer, growth, handle, end, now_ns);
        }
        self.say(handle, say)
    }

    fn say(&mut self, handle: Handle, say: Say<'_>) -> io::Result<()> {
        let (call, head, dialog) = self.table.look(handle);
        let texts = &self.texts;
        let (ua, kind) = match say {
            Say::Invite => (call.caller_ua, Kind::Invite),
            Say::Ack => (call.caller_ua, Kind::Ack),
            Say::Bye => (call.caller_ua, Kind::Bye),
            Say::Cancel | Say::AckToRefusal(_) => (call.caller_ua, Kind::Other),
            Say::Ringing => (call.callee_ua, Kind::Ringing),
            Say::Answer => (call.callee_ua, Kind::Answer),
            Say::Terminated => (call.callee_ua, Kind::Other),
        };
        let (port, source) = (texts.population.port_index(ua), texts.population.address(ua));
        let mut length = 0;
        self.lanes.put(self.ports, port, kind, source, |slot| {
            length = match say {
                Say::Invite => texts.invite(slot, call),
                Say::Ack => texts.ack(slot, call, &dialog),
                Say::Bye => texts.bye(slot, call, &dialog),
                Say::Cancel => texts.cancel(slot, call),
                Say::AckToRefusal(to) => texts.ack_to_refusal(slot, call, to),
                Say::Ringing => texts.ringing(slot, call, head),
                Say::Answer => texts.answer(slot, call, head),
                Say::Terminated => Texts::terminated(slot, head),
            };
            length
        })?;
        if matches!(say, Say::Invite) {
            self.invite_bytes = self.invite_bytes.max(length);
        }
        Ok(())
    }

    /// Ends a call and counts how.
    fn settle(&mut self, handle: Handle, ending: Ending, now_ns: u64) {
        let call = self.table.look(handle).0;
        self.idle -= u64::from(call.idle);
        let (caller, is_since) = (call.caller, call.due_ns >= self.since_ns);
        self.table.end(handle);
        self.last_end_ns = now_ns;
        if let Ending::Refused(status) = ending {
            *self.counts.refused_by_status.entry(status).or_default() += 1;
        }
        let is_answered = matches!(caller, Caller::Talking | Caller::Leaving);
        for counts in self.all_counts(is_since) {
            match ending {
                Ending::Completed => counts.completed += 1,
                Ending::Cancelled => counts.cancelled += 1,
                Ending::Unacknowledged => counts.unacknowledged += 1,
                Ending::Lost => {
                    counts.lost += 1;
                    counts.unanswered += u64::from(!is_answered);
                }
                Ending::Refused(_) => {
                    counts.refused += 1;
                    counts.refused_after_answer += u64::from(is_answered);
                }
            }
        }
    }

    /// Where something is counted of a call that is one of those that were due later, or is not.
    fn all_counts(&mut self, is_since: bool) -> impl Iterator<Item = &mut CallCounts> {
        let since = is_since.then_some(&mut self.counts_since);
        std::iter::once(&mut self.counts).chain(since)
    }

    fn with(&mut self, handle: Handle, change: impl FnOnce(&mut Call)) {
        if let Some(call) = self.table.find(handle) {
            change(call);
        }
    }

    /// Lets one end of a call wait.
    fn wait(&mut self, handle: Handle, end: End, waits: Waits, now_ns: u64) {
        let Some(call) = self.table.find(handle) else { return };
        let timer = match end {
            End::Caller => &mut call.caller_timer,
            End::Callee => &mut call.callee_timer,
        };
        match waits {
            Waits::ToRepeat => self.timers.repeat(timer, handle, end, now_ns),
            Waits::ForTheEnd => self.timers.wait(timer, handle, end, now_ns),
            Waits::ToAnswer => self.timers.ring(timer, handle, now_ns),
            Waits::ToHangUp => self.timers.talk(timer, handle, now_ns),
        }
    }

    fn is_measured(&self, due_ns: u64) -> bool {
        due_ns >= self.measured_from_ns && due_ns < self.measured_until_ns
    }

    fn read(&self, server: Option<&Processes>) -> io::Result<Reading> {
        let effort = Effort { send_blocked: self.lanes.blocked, ..self.effort };
        let port = self.target.port();
        let metered = Metered::read(self.now_ns(), effort, self.ports, port, server)?;
        Ok(Reading { metered, counts: self.counts.clone() })
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }

    fn report(mut self, from: &Reading, until: &Reading, own_drops_at_end: u64) -> CallReport {
        self.counts.pending = self.table.len();
        let own_drops = own_drops_at_end.saturating_sub(from.metered.own_drops);
        let good = |counts: &CallCounts| counts.completed + counts.cancelled;
        let window = CallWindow {
            metered: Metered { own_drops, ..from.metered.until(&until.metered) },
            started: until.counts.started - from.counts.started,
            good: good(&until.counts) - good(&from.counts),
            received: until.counts.received - from.counts.received,
        };
        let held = self.held.map(|held| Held {
            drained_seconds: self.last_end_ns as f64 / 1e9 - held.filled_seconds,
            ..held
        });
        let outcome = CallOutcome {
            counts: self.counts,
            setup: self.setup,
            teardown: self.teardown,
            lateness: self.lateness,
            window,
            held,
            invite_bytes: self.invite_bytes,
        };
        CallReport::new(self.plan, self.target, self.texts.population.size(), outcome)
    }
}

/// What one end of a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// To say again what it said.
    ToRepeat,
    /// For what can't be asked for again.
    ForTheEnd,
    /// To answer the call.
    ToAnswer,
    /// To end it.
    ToHangUp,
}

/// The CSeq of a method within a call.
fn cseq_of(method: Method) -> u32 {
    match method {
        Method::Invite | Method::Ack | Method::Cancel => 1,
        Method::Bye => 2,
    }
}
