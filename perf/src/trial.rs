//! One round of one server: started afresh, filled, measured row by row, and stopped.

use std::error::Error;
use std::time::Duration;

use bench::{Extent, Generator, Population, Report};

use crate::rows::{Row, Session};
use crate::servers::{DOMAIN, Place, Server, Task};

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
    pub report: Report,
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
    let task = Task { bindings: BINDINGS, users, untouched: false };
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
        let mut plan = row.plan(server, setting.window, setting.time);
        plan.server_pid = Some(process.pid());
        let mut report = generator.run(&plan)?;
        // What is bounded by a number of requests has changed the server and can't be repeated.
        for _ in 0..REPEATS_MAX {
            if !report.disturbed() || matches!(plan.extent, Extent::Requests(_)) {
                break;
            }
            report = generator.run(&plan)?;
        }
        if !report.reconciled || report.counts.answered == 0 {
            return Err(format!("{} answers wrongly:\n{report}", server.name()).into());
        }
        if is_wanted {
            measured.push(Measured { row, server, report });
        }
    }
    Ok(measured)
}
