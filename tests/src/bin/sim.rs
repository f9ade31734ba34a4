//! Lives the worlds of any seed or range of seeds: `sim 42`, `sim 0..10000`, `sim 42 --only loss --agents 10`, and those of calls:
//! `sim --calls 0..1000`. It prints one line a seed, and everything about a seed that fails.

use std::ops::Range;
use std::process::ExitCode;
use tests::sim::plan::{Fault, Plan, Wishes};
use tests::sim::{calls, run};

const USAGE: &str = "sim [--calls] SEED | FIRST..END  [--cores N] [--agents N] [--chaos SECONDS] [--digest on|off] [--without FAULT]... [--only FAULT]... [--plan] [--all]
  each seed is a world of its own; a failure says how to see it again. --plan shows what a seed draws and sees, too, and --all
  more of the events before a failure. With --calls phones call each other, and --agents are users";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Arguments { seeds, wishes, calls, shows_plan, shows_all } = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(why) => {
            let faults: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
            eprintln!("{why}\n{USAGE}\nfaults: {}", faults.join(" "));
            return ExitCode::from(2);
        }
    };
    let mut failed = 0_u64;
    for seed in seeds {
        if shows_plan {
            if calls {
                println!("{}", calls::plan::Plan::new(seed, &wishes));
            } else {
                println!("{}", Plan::new(seed, &wishes));
            }
        }
        let started = std::time::Instant::now();
        match if calls { calls::run(seed, &wishes) } else { run(seed, &wishes) } {
            Ok(report) => {
                let (hash, events, secs) =
                    (report.hash, report.events, report.lived.as_nanos() / 1_000_000_000);
                println!(
                    "seed {seed}: {events} events in {secs} s, hash {hash:016x}, {:.2?}",
                    started.elapsed()
                );
                if shows_plan {
                    println!("{:?}", report.seen);
                }
            }
            Err(failure) => {
                failed += 1;
                if shows_all {
                    println!("{failure:#}");
                } else {
                    println!("{failure}");
                }
            }
        }
    }
    if failed > 0 {
        println!("{failed} seeds failed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

struct Arguments {
    seeds: Range<u64>,
    wishes: Wishes,
    calls: bool,
    shows_plan: bool,
    shows_all: bool,
}

fn parse(arguments: &[String]) -> Result<Arguments, String> {
    let mut seeds = None;
    let mut wishes = Wishes::default();
    let (mut calls, mut shows_plan, mut shows_all) = (false, false, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--cores" => wishes.cores = Some(number(value()?)?),
            "--agents" => wishes.agents = Some(number(value()?)?),
            "--chaos" => wishes.chaos_secs = Some(number(value()?)?),
            "--digest" => wishes.digest = Some(switch(value()?)?),
            "--without" => wishes.without.push(fault(value()?)?),
            "--only" => wishes.only.push(fault(value()?)?),
            "--calls" => calls = true,
            "--plan" => shows_plan = true,
            "--all" => shows_all = true,
            range => seeds = Some(self::range(range)?),
        }
    }
    Ok(Arguments { seeds: seeds.ok_or("which seed?")?, wishes, calls, shows_plan, shows_all })
}

fn range(text: &str) -> Result<Range<u64>, String> {
    match text.split_once("..") {
        Some((first, end)) => Ok(number(first)?..number(end)?),
        None => {
            let seed: u64 = number(text)?;
            Ok(seed..seed.checked_add(1).ok_or("the last seed has no end")?)
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{text}` is neither on nor off")),
    }
}

fn fault(name: &str) -> Result<Fault, String> {
    let found = Fault::ALL.iter().find(|fault| fault.name() == name);
    found.copied().ok_or_else(|| format!("there is no fault `{name}`"))
}
