//! Gates on instruction counts: it runs an operation under Valgrind's callgrind and compares the instructions of one round with
//! a bound. It never judges by wall time, which can be shown beside the count and depends on the machine.
//!
//! The harness is this file and Debian's `valgrind` package: callgrind counts only while [`gate_measured`] is on the
//! stack, and prints the sum. Nothing has to be installed by Cargo for it, which would cost a cold test run more than all of the gates.

pub mod calls;
pub mod digest;
pub mod phones;

use std::fmt::Write as _;
use std::hint::black_box;
use std::ops::Range;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// An operation and the most instructions that one round of it may take.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    /// What is counted, as the report names it.
    pub name: &'static str,
    /// Instructions of a round, at most: what was reached, and a little for other versions of the C library.
    pub bound: u64,
    /// What it has to come down to, where that is not reached.
    pub goal: Option<u64>,
    /// Builds tables of the given size, then calls [`Rounds::measure`] once.
    pub run: fn(size: u32, rounds: Rounds),
}

/// How often an operation is repeated, and whether time is taken.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    count: u32,
    timed: bool,
}

/// Entries of the tables in which instructions are counted: enough that every path is warm, few enough for Valgrind.
const COUNTED_SIZE: u32 = 100_000;
const COUNTED_ROUNDS: u32 = 20_000;
/// Entries of the tables in which time is taken, where most accesses miss the caches.
const TIMED_SIZE: u32 = 1_000_000;
const TIMED_ROUNDS: u32 = 1_000_000;
const PASSES: u32 = 5;

impl Rounds {
    /// How many rounds there will be in all, for what must be prepared ahead.
    #[must_use]
    pub fn total(self) -> u32 {
        if self.timed { self.count * PASSES } else { self.count }
    }

    /// A part of the rounds, for operations that take long.
    #[must_use]
    pub fn one_in(self, part: u32) -> Self {
        Rounds { count: (self.count / part).max(1), ..self }
    }

    /// Repeats an operation, with the number of the round. What it returns is not optimised away.
    pub fn measure<R>(self, mut operation: impl FnMut(u32) -> R) {
        self.pass(|rounds| {
            gate_measured(&mut || {
                for round in rounds.clone() {
                    black_box(operation(round));
                }
            });
        });
    }

    /// As [`measure`](Self::measure), with a preparation before each round that is not counted. It is timed.
    pub fn measure_after<S, R>(
        self,
        state: &mut S,
        mut prepare: impl FnMut(&mut S, u32),
        mut operation: impl FnMut(&mut S) -> R,
    ) {
        self.pass(|rounds| {
            for round in rounds {
                prepare(state, round);
                gate_measured(&mut || {
                    black_box(operation(state));
                });
            }
        });
    }

    /// As [`measure_after`](Self::measure_after), where a round takes several steps, each with a preparation of its own.
    pub fn measure_steps<S, R>(
        self,
        state: &mut S,
        steps: usize,
        mut prepare: impl FnMut(&mut S, u32, usize),
        mut operation: impl FnMut(&mut S) -> R,
    ) {
        self.pass(|rounds| {
            for round in rounds {
                for step in 0..steps {
                    prepare(state, round, step);
                    gate_measured(&mut || {
                        black_box(operation(state));
                    });
                }
            }
        });
    }

    fn pass(self, mut run: impl FnMut(Range<u32>)) {
        if !self.timed {
            run(0..self.count);
            println!("{}", self.count);
            return;
        }
        let mut nanos: Vec<f64> = (0..PASSES)
            .map(|pass| {
                let start = Instant::now();
                run(pass * self.count..(pass + 1) * self.count);
                start.elapsed().as_secs_f64() * 1e9 / f64::from(self.count)
            })
            .collect();
        nanos.sort_by(f64::total_cmp);
        println!("{:.1}", nanos[nanos.len() / 2]);
    }
}

/// Callgrind counts while this function runs.
#[inline(never)]
fn gate_measured(rounds: &mut dyn FnMut()) {
    rounds();
}

/// The `main` of a bench that holds gates. Without arguments it does nothing, so that `cargo test --benches` is quick;
/// `--bench`, as Cargo gives it, runs all gates, or those whose name contains a further argument; `--time` adds wall time.
pub fn main(gates: &[Gate]) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, name] = &arguments[..]
        && let Some(gate) = gates.iter().find(|gate| gate.name == name)
    {
        let asked = match mode.as_str() {
            "--counted" => Some((COUNTED_SIZE, Rounds { count: COUNTED_ROUNDS, timed: false })),
            "--timed" => Some((TIMED_SIZE, Rounds { count: TIMED_ROUNDS, timed: true })),
            // The name is a filter.
            _ => None,
        };
        if let Some((size, rounds)) = asked {
            (gate.run)(size, rounds);
            return ExitCode::SUCCESS;
        }
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("gates: run them with `cargo bench -p perf --bench gates [-- NAME]`");
        return ExitCode::SUCCESS;
    }
    let wanted = arguments.iter().find(|argument| !argument.starts_with("--"));
    let chosen: Vec<&Gate> = gates
        .iter()
        .filter(|gate| wanted.is_none_or(|wanted| gate.name.contains(wanted.as_str())))
        .collect();
    match report(&chosen, arguments.iter().any(|argument| argument == "--time")) {
        Ok((table, exceeded)) => {
            print!("{table}");
            if exceeded == 0 && !chosen.is_empty() {
                return ExitCode::SUCCESS;
            }
            println!("{exceeded} of {} gates exceeded", chosen.len());
        }
        Err(reason) => println!("gates: {reason}"),
    }
    ExitCode::FAILURE
}

/// The table of all gates, and how many exceed their bounds.
fn report(gates: &[&Gate], time: bool) -> Result<(String, usize), String> {
    let nanos = if time { "    ns (1M)" } else { "" };
    let mut table = format!("{:<44} {:>8} {:>8} {:>8}{nanos}\n", "", "Ir", "bound", "goal");
    let mut exceeded = 0;
    for gate in gates {
        let instructions = counted(gate.name)?;
        let nanos = if time { timed(gate.name)? } else { String::new() };
        let goal = gate.goal.map_or(String::new(), |goal| goal.to_string());
        let verdict = if instructions > gate.bound as f64 { "  EXCEEDED" } else { "" };
        exceeded += usize::from(!verdict.is_empty());
        let line = format!(
            "{:<44} {instructions:>8.0} {:>8} {goal:>8} {nanos:>10}{verdict}",
            gate.name, gate.bound
        );
        let _ = writeln!(table, "{}", line.trim_end());
    }
    Ok((table, exceeded))
}

/// Instructions of one round, counted by callgrind in a process of its own, which prints how many rounds there were.
fn counted(name: &str) -> Result<f64, String> {
    let own =
        std::env::current_exe().map_err(|error| format!("cannot find this executable: {error}"))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*gate_measured*"])
        .arg("--callgrind-out-file=/dev/null")
        .arg(own)
        .args(["--counted", name])
        .output()
        .map_err(|error| {
            format!("cannot run valgrind ({error}): install Debian's package valgrind")
        })?;
    let log = String::from_utf8_lossy(&output.stderr);
    let total = collected(&log).filter(|&total| output.status.success() && total > 0);
    let rounds = String::from_utf8_lossy(&output.stdout).trim().parse::<u32>().ok();
    let per_round = total.zip(rounds).map(|(total, rounds)| total as f64 / f64::from(rounds));
    per_round.ok_or_else(|| format!("'{name}' under valgrind: {}\n{log}", output.status))
}

/// The sum in callgrind's summary, the line `==123== Collected : 456`.
fn collected(log: &str) -> Option<u64> {
    log.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// Nanoseconds of one round, the median of several passes, as printed by a process of its own.
fn timed(name: &str) -> Result<String, String> {
    let own =
        std::env::current_exe().map_err(|error| format!("cannot find this executable: {error}"))?;
    let output =
        Command::new(own).args(["--timed", name]).output().map_err(|error| error.to_string())?;
    let nanos = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !nanos.is_empty() {
        Ok(nanos)
    } else {
        Err(format!("'{name}': {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_read_from_callgrinds_summary() {
        let log = "==9== Callgrind, a call-graph generating cache profiler\n==9== Events    : Ir\n==9== Collected : 20010003\n";
        assert_eq!(collected(log), Some(20_010_003));
        assert_eq!(collected("valgrind: no such file"), None);
    }
}
