//! `ringing`: how many calls can ring at the same time, and what each takes: one core's shard, in process, is filled with them and
//! drained until nothing is left.

use bench::watch::Processes;
use clap::Parser;
use perf::gate::calls::{Call, Exchange, Learned, Line};
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Fills one shard with calls that ring, prints the memory and the time that each takes, then answers every second one and
/// cancels the others, until nothing is left.
///
/// Both ends are played without sockets. Exits with 1 where a message is not passed on as it must be, or something is left.
#[derive(Parser)]
struct Arguments {
    /// Calls that ring at the same time.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(2..=100_000_000))]
    calls: u32,
    /// Phones, all registered, that call each other.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..))]
    phones: u32,
    /// Bytes reserved for the messages of a call in the mean, as `proxy.transaction_bytes` says.
    #[arg(long, default_value_t = 4096)]
    transaction_bytes: usize,
}

/// Places more than there are calls, for requests that come while all ring.
const SPARE: u32 = 4096;

/// Calls between two looks at the timers.
const TIMERS_EVERY: u32 = 64;

/// Bytes kept for each call of what its ends have to repeat.
const LEARNED_BYTES: usize = 512;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringing: {error}");
            ExitCode::from(1)
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let &Arguments { calls, phones, transaction_bytes } = arguments;
    let mut memory = Memory::new(calls as usize);
    let before = resident()?;
    let mut exchange = Exchange::new(phones, |limits| {
        limits.transactions = calls + SPARE;
        limits.branches = calls + SPARE;
        limits.transaction_bytes = (calls + SPARE) as usize * transaction_bytes;
    });
    let reserved = resident()?;

    let start = Instant::now();
    for number in 0..calls {
        let call = call(number, phones);
        for line in Line::RING {
            exchange.prepare(call, line);
            hear(&mut exchange, line, number)?;
            if line == Line::Invite {
                memory.keep(number as usize, &exchange.learn())?;
            }
        }
        look_at_timers(&mut exchange, number);
    }
    let filled = start.elapsed();
    let full = resident()?;
    let gauges = exchange.home.shard.gauges().calls;
    if (gauges.transactions, gauges.settled, gauges.evicted) != (calls, 0, 0) {
        return Err(format!("not all of {calls} calls ring: {gauges:?}").into());
    }
    exchange.home.shard.check();
    let each = |bytes: u64| bytes as f64 / f64::from(calls);
    println!(
        "{calls} calls of {phones} phones ring: {:.0} bytes a call, {:.0} of them touched since the start; filled in {:.1} s, \
         {:.2} us a call with both ends",
        each(full.saturating_sub(before)),
        each(full.saturating_sub(reserved)),
        filled.as_secs_f64(),
        filled.as_secs_f64() * 1e6 / f64::from(calls)
    );

    let start = Instant::now();
    for number in 0..calls {
        let learned = memory.recall(number as usize);
        let goes_on = if number.is_multiple_of(2) { Line::ANSWER } else { Line::CANCEL };
        for line in goes_on {
            exchange.prepare_with(call(number, phones), line, &learned);
            hear(&mut exchange, line, number)?;
        }
        look_at_timers(&mut exchange, number);
    }
    let drained = start.elapsed();
    let gauges = exchange.home.shard.gauges().calls;
    println!(
        "drained in {:.1} s, {:.2} us a call with both ends; {} have settled and stay for their time",
        drained.as_secs_f64(),
        drained.as_secs_f64() * 1e6 / f64::from(calls),
        gauges.settled
    );
    // Timers H, I, J, L and M: 64 times T1, and nothing waits longer.
    for _ in 0..40 {
        exchange.home.now = exchange.home.now.plus(Duration::from_secs(1));
        exchange.home.expire(u32::MAX);
    }
    exchange.home.shard.check();
    let gauges = exchange.home.shard.gauges().calls;
    if (gauges.transactions, gauges.branches) != (0, 0) {
        return Err(format!("something is left: {gauges:?}").into());
    }
    println!("nothing is left");
    Ok(())
}

/// Call `number` of `phones`, all of whom are called in turn.
fn call(number: u32, phones: u32) -> Call {
    let callee = number % phones;
    Call { caller: (callee + phones / 2) % phones, callee, number }
}

fn hear(exchange: &mut Exchange, line: Line, number: u32) -> Result<(), Box<dyn Error>> {
    let outcome = exchange.hear();
    let came = (outcome, exchange.home.out.sends().len());
    if came == line.expected() {
        return Ok(());
    }
    Err(format!("{line:?} of call {number}: {came:?}, not {:?}", line.expected()).into())
}

fn look_at_timers(exchange: &mut Exchange, number: u32) {
    if number.is_multiple_of(TIMERS_EVERY) {
        exchange.home.expire(16 * TIMERS_EVERY);
    }
}

/// Resident bytes of this process.
fn resident() -> std::io::Result<u64> {
    Processes::under(std::process::id())?.resident_bytes()
}

/// What the ends of all calls have to repeat. All of it is touched at the start, so that it is no part of what a call takes.
struct Memory {
    texts: Vec<u8>,
    /// The ends of the two parts of each.
    ends: Vec<[u16; 2]>,
}

impl Memory {
    fn new(calls: usize) -> Memory {
        Memory { texts: vec![b' '; calls * LEARNED_BYTES], ends: vec![[1, 1]; calls] }
    }

    fn keep(&mut self, number: usize, learned: &Learned) -> Result<(), Box<dyn Error>> {
        let first = learned.via.len();
        let second = first + learned.record_route.len();
        let place = &mut self.texts[number * LEARNED_BYTES..][..LEARNED_BYTES];
        let place = place.get_mut(..second).ok_or("what the proxy wrote is too long")?;
        place[..first].copy_from_slice(learned.via.as_bytes());
        place[first..].copy_from_slice(learned.record_route.as_bytes());
        self.ends[number] = [u16::try_from(first)?, u16::try_from(second)?];
        Ok(())
    }

    fn recall(&self, number: usize) -> Learned {
        let place = &self.texts[number * LEARNED_BYTES..][..LEARNED_BYTES];
        let [first, second] = self.ends[number].map(usize::from);
        let text = |part: &[u8]| String::from_utf8_lossy(part).into_owned();
        Learned { via: text(&place[..first]), record_route: text(&place[first..second]) }
    }
}
