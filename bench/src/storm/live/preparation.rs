//! Who there is in a run, and what the server holds of them before it begins: names and sockets are given out here, and the closed loop
//! registers whoever is to be registered beforehand.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::capacity::{self, PORTS};
use super::traffic::{CallsPart, Part};
use super::{Error, while_doing};
use crate::calls::{CallPlan, Ring};
use crate::generator::{CSEQ_MIN, Generator, fresh_run_id};
use crate::pace::Pace;
use crate::plan::{Extent, Workload};
use crate::population::Population;
use crate::sockets::Port;
use crate::storm::crowd::{Crowd, Setup};
use crate::storm::record::Scaled;
use crate::storm::scenario::{self, Addresses, Bindings, Nonces, Scenario};
use crate::template::USUAL_EXPIRES_SECS;

/// User agents with which the capacity is measured. They have the lowest numbers, and no part in the storm.
pub(super) const CAPACITY_USER_AGENTS: u32 = 1 << 18;
/// Callees of ordinary calls, and as many callers.
const CALL_USER_AGENTS: u32 = 2048;
const EMERGENCY_USER_AGENTS: u32 = 64;
const CALL_PORTS: u16 = 2;
/// First source ports towards a server that may have met us before, outside the ephemeral range: a contact of another port would be another.
pub(super) const CAPACITY_PORT: u16 = 21_000;
const CROWD_PORT: u16 = CAPACITY_PORT + PORTS;
const ASKING_PORT: u16 = CROWD_PORT + PORTS;
const ORDINARY_PORT: u16 = ASKING_PORT + PORTS;
const EMERGENCY_PORT: u16 = ORDINARY_PORT + CALL_PORTS;
/// Seconds between two refreshes of a user agent that is steady load.
const OTHERS_EVERY_SECS: f64 = 10.0;
const OTHERS_MOST: f64 = 500_000.0;
/// The domain that callers are from. They have no account and need none: a server of another domain sends their calls.
const ELSEWHERE: &str = "elsewhere.test";

/// Everybody's names, by population.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    pub(super) capacity: Population,
    pub(super) ordinary: Population,
    pub(super) emergency: Population,
    /// The scenario's user agents, and behind them others who are steady load.
    pub(super) crowd: Population,
    pub(super) others: u32,
}

impl Cast {
    /// Those whom the capacity is measured with.
    pub(super) fn for_capacity(source: Option<Ipv4Addr>) -> Population {
        at(Population::new(CAPACITY_USER_AGENTS, PORTS, u32::MAX), source)
    }

    /// All of a scenario, who speak from `source` if that is the only address there is.
    pub(super) fn new(scaled: &Scaled, scenario: &Scenario, source: Option<Ipv4Addr>) -> Cast {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded above")]
        let others = (scaled.steady_per_second * OTHERS_EVERY_SECS).min(OTHERS_MOST) as u32;
        let mut first = CAPACITY_USER_AGENTS;
        let mut next = |size: u32, ports| {
            let population = Population::new(size, ports, u32::MAX).starting_at(first);
            first += size;
            at(population, source)
        };
        // Whoever is registered beforehand is where the crowd says that all are.
        let shared = match scenario.population.addresses {
            Addresses::Own => None,
            Addresses::One => source.or_else(|| Some(Population::shared_address())),
        };
        Cast {
            ordinary: next(CALL_USER_AGENTS, CALL_PORTS),
            emergency: next(EMERGENCY_USER_AGENTS, CALL_PORTS),
            crowd: at(next(scaled.user_agents + others, PORTS), shared),
            capacity: Cast::for_capacity(source),
            others,
        }
    }

    /// Those who need an account of the server.
    pub(super) fn subscribers(&self) -> [&Population; 4] {
        [&self.capacity, &self.ordinary, &self.emergency, &self.crowd]
    }

    /// Bindings at most.
    pub(super) fn bindings(&self) -> u32 {
        self.subscribers().iter().map(|population| population.size()).sum()
    }
}

/// Opens sockets for user agents who may have registered with this server in an earlier run, and so go on with a higher CSeq (RFC 3261
/// 10.3, step 7): nobody sends more than one REGISTER a second for long.
pub(super) fn open(
    target: SocketAddrV4,
    domain: &str,
    population: &Population,
    first_port: u16,
) -> Result<Generator, Error> {
    let mut generator = Generator::open(target, domain, population.clone(), first_port)
        .map_err(while_doing("opening the generator's sockets"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let since_2025 = u32::try_from(now.saturating_sub(SECS_OF_2025)).unwrap_or(0);
    generator.continue_from_cseq(CSEQ_MIN.saturating_add(since_2025));
    Ok(generator)
}

/// The start of that year, in seconds since 1970.
const SECS_OF_2025: u64 = 1_735_689_600;

/// A population at one address, if there is one.
fn at(population: Population, address: Option<Ipv4Addr>) -> Population {
    match address {
        Some(address) => population.at(address),
        None => population,
    }
}

/// What all registrations have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) scaled: &'a Scaled,
    pub(super) target: SocketAddrV4,
    /// The one address from which all speak, where they can't have one each.
    pub(super) source: Option<Ipv4Addr>,
    pub(super) domain: &'a str,
    pub(super) seed: u64,
    pub(super) cpu: usize,
    /// The server may have bindings of an earlier run: everybody speaks from the same port again.
    pub(super) met_before: bool,
}

impl Stage<'_> {
    /// Registers whoever is registered beforehand, and hands over all that the storm is played with.
    pub(super) fn set<'a>(&'a self, cast: &'a Cast) -> Result<Part<'a>, Error> {
        let (crowd, ports) = self.crowd(cast)?;
        let mut calls = Vec::new();
        let rates = [
            (self.scenario.calls, self.scaled.calls_per_second, &cast.ordinary, false),
            (
                self.scenario.emergency_calls,
                self.scaled.emergency_calls_per_second,
                &cast.emergency,
                true,
            ),
        ];
        for (calling, rate, population, emergency) in rates {
            if let Some(calling) = calling.filter(|_| rate > 0.0) {
                let port = if emergency { EMERGENCY_PORT } else { ORDINARY_PORT };
                let ports = self.callees(population, port)?;
                let plan = self.call_plan(&calling, rate, emergency);
                calls.push(CallsPart { plan, population, ports, run_id: fresh_run_id() });
            }
        }
        Ok(Part {
            crowd,
            ports,
            calls,
            scaled: *self.scaled,
            target: self.target,
            source: self.source,
            domain: self.domain,
            loss: self.scenario.network.loss,
            seed: self.seed,
            cpu: self.cpu,
        })
    }

    fn crowd(&self, cast: &Cast) -> Result<(Crowd, Vec<Port>), Error> {
        let Stage { scenario, scaled, .. } = self;
        let own = scaled.user_agents;
        let bound = scenario.population.bindings == Bindings::Valid;
        let digest = scenario.registration.digest;
        let mut generator = self.generator(&cast.crowd, CROWD_PORT)?;
        let ports = generator.port_numbers();
        if bound {
            capacity::fill(&mut generator, self.filling(), 0..own + cast.others)?;
        } else if cast.others > 0 {
            capacity::fill(&mut generator, self.filling(), own..own + cast.others)?;
        }
        // Who has a nonce but no binding has asked for the one and not got the other.
        let mut asked = None;
        if !bound && digest && scenario.population.nonces != Nonces::None {
            let mut guessing = self.generator(&cast.crowd, ASKING_PORT)?.guessing();
            guessing.continue_from_cseq(generator.next_cseq());
            capacity::ask(&mut guessing, 0..own + cast.others)?;
            let (_, accounts, cseq) = guessing.into_parts();
            generator.continue_from_cseq(cseq);
            asked = accounts;
        }
        let setup = Setup {
            target: self.target,
            domain: self.domain.to_owned(),
            run_id: fresh_run_id(),
            seed: self.seed,
            ports,
            population: cast.crowd.clone(),
            at: self.source,
            others: cast.others,
        };
        let mut crowd = Crowd::new(scenario, scaled, &setup);
        let (ports, accounts, cseq) = generator.into_parts();
        crowd.adopt(asked.as_ref().or(accounts.as_ref()), cseq, USUAL_EXPIRES_SECS, bound);
        Ok((crowd, ports))
    }

    /// The sockets of callees that are registered.
    fn callees(&self, population: &Population, port: u16) -> Result<Vec<Port>, Error> {
        let mut generator = self.generator(population, port)?;
        capacity::fill(&mut generator, self.filling(), 0..population.size())?;
        Ok(generator.into_parts().0)
    }

    fn generator(&self, population: &Population, port: u16) -> Result<Generator, Error> {
        let first_port = if self.met_before { port } else { 0 };
        open(self.target, self.domain, population, first_port)
    }

    fn filling(&self) -> Workload {
        if self.scenario.registration.digest {
            Workload::RegisterChallenged
        } else {
            Workload::RegisterInitial
        }
    }

    fn call_plan(&self, calling: &scenario::Calls, rate: f64, emergency: bool) -> CallPlan {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let interval_ns = (1e9 / rate).clamp(1.0, 3.6e12) as u64;
        let forever = Extent::For(Duration::MAX);
        let mut plan = CallPlan::new(Pace::Every { interval_ns }, forever);
        plan.ring = Ring::For(Duration::from_secs_f64(calling.ring_secs.max(0.0)));
        plan.talk = Duration::from_secs_f64(calling.talk_secs.max(0.0));
        plan.t1 = Duration::from_millis(self.scenario.timers.t1_ms.into());
        plan.emergency = emergency;
        plan.from_domain = Some(ELSEWHERE.to_owned());
        plan
    }
}
