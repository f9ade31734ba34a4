//! The generator: sockets and user agents that outlive single runs. It carries out one plan after
//! the other on the calling thread.

use std::io;
use std::net::SocketAddrV4;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::calls::{CallPlan, CallReport, Calls};
use crate::digest::Accounts;
use crate::flood::{Flood, Flooded, Flooding, Payload};
use crate::meter::nanoseconds;
use crate::plan::{Credentials, Plan};
use crate::population::{Population, mix};
use crate::report::Report;
use crate::run::{Digest, Run};
use crate::sockets::{self, Port};
use crate::sys::ReceiveBatch;
use crate::template::{Registering, Template};
use crate::watch::Processes;

/// The first CSeq of all: ten digits, so that a message keeps its length for a billion laps.
pub(crate) const CSEQ_MIN: u32 = 1_000_000_000;

/// Sockets and user agents that outlive single runs, so that refreshes follow registrations.
pub struct Generator {
    target: SocketAddrV4,
    domain: String,
    population: Population,
    ports: Vec<Port>,
    receive: ReceiveBatch,
    /// From the first run on that needs them.
    accounts: Option<Accounts>,
    knowing: bool,
    next_cseq: u32,
}

impl Generator {
    /// Opens `ports` source ports from `first_port` on (0: any) for a population that registers
    /// in `domain` at `target`: a loopback address, or any where the population is all at one that this machine has.
    pub fn open(
        target: SocketAddrV4,
        domain: &str,
        population: Population,
        first_port: u16,
    ) -> io::Result<Generator> {
        if !target.ip().is_loopback() && population.one_address().is_none() {
            let what =
                format!("{target} is not a loopback address: others have no way back to many");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let ports = sockets::open(target, population.ports(), first_port)?;
        Ok(Generator {
            target,
            domain: domain.to_owned(),
            population,
            ports,
            receive: ReceiveBatch::new(),
            accounts: None,
            knowing: true,
            next_cseq: CSEQ_MIN,
        })
    }

    /// Takes their passwords from all user agents: they guess, and never right.
    #[must_use]
    pub fn guessing(mut self) -> Generator {
        self.knowing = false;
        self
    }

    /// Starts the CSeq of the next run at `cseq`, for user agents that registered in a run of
    /// another process.
    pub fn continue_from_cseq(&mut self, cseq: u32) {
        self.next_cseq = cseq.clamp(CSEQ_MIN, i32::MAX as u32);
    }

    /// The sockets, what the user agents know of digest, and the CSeq of the next run, for whoever goes on with the same user agents.
    pub(crate) fn into_parts(self) -> (Vec<Port>, Option<Accounts>, u32) {
        (self.ports, self.accounts, self.next_cseq)
    }

    /// The CSeq of the next run.
    pub(crate) fn next_cseq(&self) -> u32 {
        self.next_cseq
    }

    /// The numbers of the source ports.
    pub(crate) fn port_numbers(&self) -> Vec<u16> {
        self.ports.iter().map(|port| port.number).collect()
    }

    /// The user agents.
    pub fn population(&self) -> &Population {
        &self.population
    }

    /// Carries out one plan on the calling thread.
    pub fn run(&mut self, plan: &Plan) -> io::Result<Report> {
        let run_id = fresh_run_id();
        let template = plan.workload.template(&self.domain, run_id, self.population.one_address());
        for port in &mut self.ports {
            port.outgoing.prefill(template.text());
        }
        let digest = match plan.workload.credentials() {
            Credentials::Never => None,
            Credentials::WhenAsked | Credentials::Kept => {
                let (population, domain, knowing) = (&self.population, &self.domain, self.knowing);
                let accounts =
                    self.accounts.get_or_insert_with(|| Accounts::new(population, domain, knowing));
                if plan.workload.is_echo() {
                    accounts.pretend();
                }
                let registering = Registering::usual(domain, run_id, population.one_address());
                let template = Template::with_credentials(&registering);
                Some(Digest { accounts, template })
            }
        };
        let (population, target) = (&self.population, self.target);
        let mut run = Run::new(plan, population, target, template, digest, run_id, self.next_cseq);
        let server = plan.server_pid.map(Processes::under).transpose()?;
        let window = run.carry_out(&mut self.ports, &mut self.receive, server.as_ref())?;
        let outcome = run.finish(window);
        self.next_cseq = outcome.cseq_last + 1;
        Ok(Report::new(plan, self.target, &self.population, outcome))
    }

    /// Carries out one plan of calls on the calling thread. Who is called must have registered.
    pub fn call(&mut self, plan: &CallPlan) -> io::Result<CallReport> {
        let server = plan.server_pid.map(Processes::under).transpose()?;
        let (population, ports, target) = (&self.population, &self.ports[..], self.target);
        let calls = Calls::new(plan, population, &self.domain, target, ports, fresh_run_id());
        calls.carry_out(&mut self.receive, server.as_ref())
    }

    /// Sends what `flood` says whatever comes back, on the calling thread.
    pub fn flood(&mut self, flood: &Flood) -> io::Result<Flooded> {
        let template = flood.payload.template(&self.domain, fresh_run_id());
        for port in &mut self.ports {
            port.outgoing.prefill(template.text());
        }
        let accounts = match flood.payload {
            Payload::Guess => {
                let what = "who guesses needs nonces from a run before";
                let none = || io::Error::new(io::ErrorKind::InvalidInput, what);
                Some(self.accounts.as_mut().ok_or_else(none)?)
            }
            Payload::Register | Payload::Malformed | Payload::KeepAlive | Payload::Junk => None,
        };
        let mut sending =
            Flooding::new(flood, &self.population, template, accounts, self.next_cseq);
        let flooded = sending.carry_out(&mut self.ports, &mut self.receive, self.target.port())?;
        self.next_cseq = sending.cseq_last() + 1;
        Ok(flooded)
    }
}

/// A number that no earlier run of this machine's day used, so that no server takes a request
/// for a retransmission of one from another run.
pub(crate) fn fresh_run_id() -> u32 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (mix(nanoseconds(since_epoch)) >> 32) as u32
}
