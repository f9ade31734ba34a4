//! `echo-server`: Seawall's loop around an echo, the limit that every other figure is a share of. It serves until it is
//! told to end, and then says what it counted.

use clap::{Parser, ValueEnum};
use seawall::config::Io;
use seawall::echo::Echo;
use seawall::node::{self, Core, Plan};
use seawall::sys::signal::{Signal, Signals};
use shards::io::{Class, CoreId};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Answers every datagram with its own first bytes, through the loop that also serves SIP.
#[derive(Parser)]
struct Arguments {
    /// Where to listen; may be given several times.
    #[arg(long, default_value = "127.0.0.1:5068")]
    listen: Vec<SocketAddr>,
    /// The CPU of a worker; may be given several times, also with the same number.
    #[arg(long, default_value = "0")]
    cpu: Vec<usize>,
    /// How sockets are waited for.
    #[arg(long, value_enum, default_value = "auto")]
    io: Wait,
    /// The longest answer, in bytes.
    #[arg(long, default_value_t = 65_507)]
    reply_bytes: usize,
    /// Answer an INVITE first with so many of its bytes, as a proxy does with a 100; 0: don't.
    #[arg(long, default_value_t = 0)]
    trying_bytes: usize,
    /// How long an idle worker looks again and again before it sleeps, in microseconds.
    #[arg(long, default_value_t = 0)]
    spin_us: u64,
    /// Deliver everything to the first worker and answer it on the last: what a move between cores costs.
    #[arg(long)]
    moved: bool,
    /// One socket a worker instead of two.
    #[arg(long)]
    unsteered: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Wait {
    Auto,
    Uring,
    Epoll,
}

fn main() -> ExitCode {
    match serve(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("echo-server: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), String> {
    let signals = Signals::block().map_err(|error| error.to_string())?;
    let cores: Vec<Core> = (0..)
        .zip(&arguments.cpu)
        .map(|(turn, &cpu)| Core { cpu: Some(cpu), receives: turn == 0 || !arguments.moved })
        .collect();
    let last = CoreId(u16::try_from(cores.len() - 1).map_err(|error| error.to_string())?);
    let mut plan = Plan::new(cores, arguments.listen.clone());
    plan.io = match arguments.io {
        Wait::Auto => Io::Auto,
        Wait::Uring => Io::Uring,
        Wait::Epoll => Io::Epoll,
    };
    plan.spin = Duration::from_micros(arguments.spin_us);
    plan.sockets.steer = !arguments.unsteered;
    let echo = Echo::new(arguments.reply_bytes).trying(arguments.trying_bytes);
    let echo = if arguments.moved { echo.answered_on(last) } else { echo };
    let running = node::start(&plan, move |_, _| echo)?;
    for remark in &running.remarks {
        println!("{remark}");
    }
    while signals.wait().map_err(|error| error.to_string())? == Signal::Hangup {}
    running.drain();
    let boards = running.boards.clone();
    if !running.join() {
        return Err("a worker did not end in time".to_owned());
    }
    for (core, board) in boards.iter().enumerate() {
        let shown = board.read();
        let worker = &shown.worker;
        let age = worker.queue_age.of(Class::Options);
        println!(
            "core {core}: {} read in {} batches, {} moved on, {} moved here, {} sent, {} overflowed, {} parks, \
             {} ms parked, {} wakes, service p50 {:?}, age p50 {:?} p99 {:?}",
            worker.rest.datagrams + worker.register.datagrams,
            worker.batches,
            worker.hops_sent,
            worker.hops_received,
            worker.sent,
            worker.rest.overflowed + worker.register.overflowed,
            worker.parks,
            worker.parked_ns / 1_000_000,
            worker.wakes_sent,
            worker.service_time.of(Class::Options).quantile(0.5),
            age.quantile(0.5),
            age.quantile(0.99),
        );
    }
    Ok(())
}
