//! A message allocates nothing: every kind of input is run through a shard with an allocator that counts.

use perf::gate::calls::{Call, Exchange, Line};
use perf::gate::digest::{Answering, CHALLENGED};
use perf::gate::phones::{Home, Template};
use shards::io::{Class, Outcome, Reason, Verdict};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting the allocations of each thread.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that is ending has no counter any more, and nobody who reads it.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// A kind of input, and what must come of it.
struct Kind {
    name: &'static str,
    message: Template,
    /// The first phone that sends it; [`PHONES`] do in turn.
    first_phone: u32,
    /// Whether each message has a new `CSeq`, and so is no retransmission.
    new_cseq: bool,
    expected: Outcome,
}

/// How many phones send each kind of input.
const PHONES: u32 = 100;

fn kinds() -> Vec<Kind> {
    let of = |class, verdict| Outcome { class, verdict };
    let kind = |name, first_phone, message, expected| Kind {
        name,
        message,
        first_phone,
        new_cseq: true,
        expected,
    };
    let register = |from: &'static str, to: &'static str| {
        Template::register(move |text| text.replace(from, to))
    };
    let one_contact = "Contact: <sip:+00000000@192.168.178.23:5060;line=a1b2c3>;expires=3600";
    let two_contacts = "Contact: <sip:+00000000@192.168.178.23:5060;line=a1b2c3>;expires=1800, <sip:1@[2001:db8::1]:5062>;q=0.5";
    let long = format!("X-Padding: {}\r\nAllow:", "p".repeat(6000));
    vec![
        kind("a refresh", 0, register("", ""), of(Class::RegisterRefresh, Verdict::Replied)),
        Kind {
            new_cseq: false,
            ..kind(
                "a retransmission",
                1000,
                register("", ""),
                of(Class::Duplicate, Verdict::Replied),
            )
        },
        kind(
            "two contacts",
            2000,
            register(one_contact, two_contacts),
            of(Class::RegisterRefresh, Verdict::Replied),
        ),
        kind(
            "a new binding",
            3000,
            register(";expires=3600", ""),
            of(Class::RegisterNew, Verdict::Replied),
        ),
        kind(
            "its removal",
            3000,
            register(";expires=3600", ";expires=0"),
            of(Class::RegisterRemove, Verdict::Replied),
        ),
        kind(
            "a binding for a while",
            4000,
            register("", ""),
            of(Class::RegisterNew, Verdict::Replied),
        ),
        kind(
            "all removed",
            4000,
            register(one_contact, "Contact: *\r\nExpires: 0"),
            of(Class::RegisterRemove, Verdict::Replied),
        ),
        kind(
            "a query",
            0,
            register(one_contact, "Accept: */*"),
            of(Class::RegisterQuery, Verdict::Replied),
        ),
        kind(
            "a long message",
            5000,
            Template::register(|text| text.replace("Allow:", &long)),
            of(Class::RegisterRefresh, Verdict::Replied),
        ),
        kind(
            "a short interval",
            0,
            register(";expires=3600", ";expires=10"),
            of(Class::Refusal, Verdict::Refused(423)),
        ),
        kind(
            "a foreign domain",
            0,
            register("sip.example.net", "sip.example.org"),
            of(Class::Refusal, Verdict::Refused(404)),
        ),
        kind(
            "an extension",
            0,
            register("Allow:", "Require: 100rel\r\nAllow:"),
            of(Class::Refusal, Verdict::Refused(420)),
        ),
        kind(
            "a bad Via port",
            0,
            register("Max-Forwards: 70", "Max-Forwards: seventy"),
            of(Class::Refusal, Verdict::Refused(400)),
        ),
        kind("OPTIONS", 0, Template::options(), of(Class::Options, Verdict::Replied)),
        kind(
            "INVITE",
            0,
            register("REGISTER", "INVITE"),
            of(Class::Refusal, Verdict::Refused(405)),
        ),
        kind("ACK", 0, register("REGISTER", "ACK"), of(Class::Ack, Verdict::Absorbed)),
        kind(
            "a response",
            0,
            register("REGISTER sip:sip.example.net SIP/2.0", "SIP/2.0 200 OK"),
            of(Class::Response, Verdict::Dropped(Reason::NoTransaction)),
        ),
        kind(
            "a bad response",
            0,
            register("REGISTER sip:sip.example.net SIP/2.0", "SIP/2.0 2000 OK"),
            of(Class::Response, Verdict::Dropped(Reason::BadResponse)),
        ),
        kind(
            "junk",
            0,
            register("REGISTER sip:sip.example.net SIP/2.0", "\u{1}\u{2}\u{3}"),
            of(Class::Junk, Verdict::Dropped(Reason::NotSip)),
        ),
    ]
}

#[test]
fn a_message_allocates_nothing() {
    let mut home = Home::with_phones(6000, 4000);
    let mut kinds = kinds();
    let mut cseq = 1;
    let mut round = |home: &mut Home, round: u32, check: bool| {
        for kind in &mut kinds {
            cseq += 1;
            let phone = kind.first_phone + round % PHONES;
            kind.message.write(phone, if kind.new_cseq { cseq } else { 1 });
            let before = allocations();
            let outcome = home.hear(kind.message.bytes());
            let made = allocations() - before;
            if check {
                assert_eq!(outcome, kind.expected, "{} in round {round}", kind.name);
                assert_eq!(made, 0, "allocations for {} in round {round}", kind.name);
            }
        }
        for keepalive in [&b""[..], b"\r\n\r\n", b"\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"] {
            let before = allocations();
            let outcome = home.hear(keepalive);
            assert_eq!(outcome.class, Class::Keepalive);
            assert_eq!(allocations(), before, "allocations for {keepalive:?}");
        }
        // Half a minute passes in a thousand rounds, so that bindings and completed transactions end.
        home.now = home.now.plus(std::time::Duration::from_millis(30));
        let before = allocations();
        home.expire(100);
        assert_eq!(allocations(), before, "allocations for timers");
    };
    // Until each phone has its bindings as it leaves them.
    for number in 0..PHONES {
        round(&mut home, number, false);
    }
    for number in 0..1000 {
        round(&mut home, number, true);
    }
    home.shard.check();
}

#[test]
fn nobody_is_authenticated_or_challenged_at_the_cost_of_an_allocation() {
    let mut answering = Answering::new(PHONES);
    let refreshed = Outcome { class: Class::RegisterRefresh, verdict: Verdict::Replied };
    for (number, (password, expected)) in
        (2..1000).zip([("secret", refreshed), ("guessed", CHALLENGED)].into_iter().cycle())
    {
        answering.write(number % PHONES, number, password);
        let before = allocations();
        let outcome = answering.hear();
        let made = allocations() - before;
        assert_eq!((outcome, made), (expected, 0), "in round {number}");
    }
    let mut unknown = Template::register(|text| text);
    for phone in 0..PHONES {
        unknown.write(PHONES + phone, 2);
        let before = allocations();
        let outcome = answering.home.hear(unknown.bytes());
        assert_eq!((outcome, allocations() - before), (CHALLENGED, 0));
    }
}

#[test]
fn no_message_of_a_call_allocates() {
    let mut exchange = Exchange::new(PHONES, |_| {});
    let cancelled = [&Line::RING[..], &Line::CANCEL].concat();
    for number in 0..3000 {
        let call = |number| Call { caller: number % PHONES, callee: number * 7 % PHONES, number };
        let hear = |exchange: &mut Exchange, call: Call, line: Line| {
            exchange.prepare(call, line);
            let before = allocations();
            let outcome = exchange.hear();
            let made = allocations() - before;
            let came = (outcome, exchange.home.out.sends().len());
            assert_eq!(came, line.expected(), "{line:?} of call {number}");
            assert_eq!(made, 0, "allocations for {line:?} of call {number}");
        };
        let lines = if number % 2 == 0 { &Line::COMPLETE[..] } else { &cancelled[..] };
        for &line in lines {
            hear(&mut exchange, call(number), line);
        }
        if number % 10 == 0 {
            // Nobody answers this one: it is sent again and given up, a minute and a half passing in all.
            hear(&mut exchange, call(number + 1_000_000), Line::Invite);
        }
        exchange.home.now = exchange.home.now.plus(std::time::Duration::from_millis(30));
        let before = allocations();
        exchange.home.expire(100);
        assert_eq!(allocations(), before, "allocations for timers after call {number}");
    }
    exchange.home.shard.check();
}

#[test]
fn the_counter_sees_an_allocation() {
    let before = allocations();
    drop(std::hint::black_box(Box::new(7)));
    assert_eq!(allocations() - before, 2);
}
