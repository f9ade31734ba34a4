//! One round of one server: started afresh, filled, measured row by row, and stopped.

use std::error::Error;
use std::time::Duration;

use bench::{CallReport, Extent, Generator, Latency, Limit, Population, Report};
use serde::Serialize;

use crate::rows::{Asked, Row, Session};
use crate::servers::{DOMAIN, Place, Role, Server, Task};

/// Source ports of the generator, and the first of them (outside the ephemeral range).
const PORTS: u16 = 8;
const FIRST_PORT: u16 = 20_000;

/// User agents behind each address and port pair, so that the generator can outrun the servers:
/// with one each it is about as fast as an echo.
const SHARING: u32 = 4;

/// Bindings that a server must be able to hold: some more than the largest population.
const BINDINGS: u32 = 1_100_000;

/// How often a row is measured again because something else took the generator's CPU.
const REPEATS_MAX: u32 = 2;

/// How to measure.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Programs and files.
    pub place: Place,
    /// The server's CPU. The generator runs on the calling thread, pinned elsewhere.
    pub server_cpu: usize,
    /// Requests in flight in the closed loops.
    pub window: u32,
    /// Measured time of a row that is not bounded by a number of requests.
    pub time: Duration,
}

/// One measured row of one server.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Of which row.
    pub row: Row,
    /// Of which server.
    pub server: Server,
    /// What was measured.
    pub report: Measurement,
}

/// What a row has shown.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Measurement {
    /// Of requests to the server.
    Requests(Box<Report>),
    /// Of calls through it.
    Calls(Box<CallReport>),
}

impl Measurement {
    /// Requests answered, or calls completed, a second.
    pub fn rate(&self) -> f64 {
        match self {
            Measurement::Requests(report) => report.answered_per_second,
            Measurement::Calls(report) => report.calls_per_second,
        }
    }

    /// The server's CPU time for each, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        let measured = match self {
            Measurement::Requests(report) => report.server_cpu_us_per_request,
            Measurement::Calls(report) => report.server_cpu_us_per_call,
        };
        measured.unwrap_or(f64::NAN)
    }

    /// Until the answer; of a call: until the 200 to its INVITE.
    pub fn latency(&self) -> Latency {
        match self {
            Measurement::Requests(report) => report.latency,
            Measurement::Calls(report) => report.setup,
        }
    }

    /// Requests, or calls, that did not go as expected.
    pub fn failed(&self) -> u64 {
        match self {
            Measurement::Requests(report) => report.counts.sent - report.counts.answered,
            Measurement::Calls(report) => report.counts.started - report.counts.completed,
        }
    }

    /// What limited it.
    pub fn limit(&self) -> &Limit {
        match self {
            Measurement::Requests(report) => &report.limit,
            Measurement::Calls(report) => &report.limit,
        }
    }

    /// Whether the generator was the limit.
    pub fn generator_limited(&self) -> bool {
        *self.limit() != Limit::NotTheGenerator
    }

    /// Share of time in which the generator was busy, in percent.
    pub fn generator_busy_percent(&self) -> f64 {
        match self {
            Measurement::Requests(report) => report.generator_busy_percent,
            Measurement::Calls(report) => report.generator_busy_percent,
        }
    }

    fn disturbed(&self) -> bool {
        match self {
            Measurement::Requests(report) => report.disturbed(),
            Measurement::Calls(report) => report.disturbed(),
        }
    }

    /// Whether its counts are whole and something was answered.
    fn is_sound(&self) -> bool {
        match self {
            Measurement::Requests(report) => report.reconciled && report.counts.answered > 0,
            Measurement::Calls(report) => report.reconciled && report.counts.completed > 0,
        }
    }
}

impl std::fmt::Display for Measurement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Measurement::Requests(report) => report.fmt(f),
            Measurement::Calls(report) => report.fmt(f),
        }
    }
}

/// Measures those rows of `session` that are `wanted`.
pub fn measure(
    server: Server,
    session: Session,
    wanted: &[Row],
    setting: &Setting,
) -> Result<Vec<Measured>, Box<dyn Error>> {
    let population = Population::new(session.user_agents, PORTS, u32::MAX).sharing(SHARING);
    let users = session.digest.then_some(&population);
    let role = if session.proxy { Role::Proxy } else { Role::Registrar };
    let task = Task { bindings: BINDINGS, users, untouched: false, role };
    let process = server.start(&setting.place, setting.server_cpu, task)?;
    let mut generator = Generator::open(server.address(), DOMAIN, population.clone(), FIRST_PORT)?;
    if let Some(plan) = session.fill(server) {
        let filled = generator.run(&plan)?;
        if !filled.counts.flawless() {
            return Err(format!("{} could not be filled:\n{filled}", server.name()).into());
        }
    }
    let mut measured = Vec::new();
    // The first row of a session without a fill is the fill, so it runs even if only a later one
    // is wanted.
    let fills_itself = session.fill(server).is_none();
    for (index, &row) in session.rows.iter().enumerate() {
        let is_wanted = wanted.contains(&row);
        let is_fill = fills_itself && index == 0;
        if !is_wanted && !is_fill {
            continue;
        }
        let mut asked = row.asked(server, setting.window, setting.time);
        let pid = Some(process.pid());
        // What is bounded by a number of requests has changed the server and can't be repeated.
        let can_be_repeated = match &mut asked {
            Asked::Requests(plan) => {
                plan.server_pid = pid;
                !matches!(plan.extent, Extent::Requests(_))
            }
            Asked::Calls(plan) => {
                plan.server_pid = pid;
                true
            }
        };
        let mut report = run(&mut generator, &asked)?;
        for _ in 0..REPEATS_MAX {
            if !report.disturbed() || !can_be_repeated {
                break;
            }
            report = run(&mut generator, &asked)?;
        }
        if !report.is_sound() {
            return Err(format!("{} answers wrongly:\n{report}", server.name()).into());
        }
        if is_wanted {
            measured.push(Measured { row, server, report });
        }
    }
    Ok(measured)
}

fn run(generator: &mut Generator, asked: &Asked) -> std::io::Result<Measurement> {
    Ok(match asked {
        Asked::Requests(plan) => Measurement::Requests(Box::new(generator.run(plan)?)),
        Asked::Calls(plan) => Measurement::Calls(Box::new(generator.call(plan)?)),
    })
}
