//! From a scenario to numbers for one server and one generator: how many, how fast, and the shortest time that it could take. It
//! measures nothing.
//!
//! A quick run plays a part of the population within the same part of the time, so that everything keeps its size relative to
//! kappa: the multiple of the arrival, refreshes, keep-alives. What belongs to SIP and to phones (RFC 3261's timers, what they wait before
//! they try again) keeps its length, and so weighs more in a quick run.

use super::super::record::{Capacity, Scaled};
use super::{Arrival, Nonces, Outage, Retry, Scenario, Size};

/// The most that others may take of a server, as a share: some of it has to be left for those who come.
pub(super) const PROTECTED_MOST: f64 = 0.95;
/// Shares of user agents whose registration `T_min` waits for: of a ramp all but its last stragglers, as T99 does.
const ALL: f64 = 1.0;
const ALL_BUT_STRAGGLERS: f64 = 0.99;
/// The least that phones may ask for, in seconds: registrars refuse less, so a quick run does not go below.
const EXPIRES_SECS_LEAST: f64 = 60.0;
/// More have no numbers in the generator.
const USER_AGENTS_MOST: f64 = 50_000_000.0;

/// What a complete call costs a server, in registrations. Measured on one core: 27.9 us by Seawall and 60.8 us by Kamailio, against
/// 8.4 and 17.7 for both legs of a challenge, 4.5 and 10.6 for a nonce used again, 4.0 and 8.5 without digest.
const CALL_IN_BOTH_LEGS: f64 = 3.4;
const CALL_IN_USED_NONCES: f64 = 6.0;
const CALL_IN_BARE_REGISTERS: f64 = 7.0;
/// What a generator sends for a complete call, and receives as many: both ends of 13 messages.
const MESSAGES_OF_A_CALL: f64 = 7.0;
/// Part of its time that a generator may plan to be busy; the rest is for what no plan foresees.
const BUSY_MOST: f64 = 0.8;
/// RFC 3261 17.1.2.2: Timer F is 64 T1.
const TIMER_F_IN_T1: u32 = 64;
/// Steps into which an arrival is cut where a sum over it is taken.
const STEPS: u32 = 4000;

/// How much of a scenario is to be played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Part of the full size and duration; above 0 and at most 1.
    pub scale: f64,
    /// First attempts at the arrival's peak as a multiple of kappa, in place of the scenario's. Nothing is stretched for it in a steady load.
    pub multiple: Option<f64>,
}

/// What a generator can do in a second, as it proved before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Headroom {
    /// Messages each way.
    pub messages: f64,
    /// Registrations that are answered, as the scenario's user agents make them.
    pub registrations: f64,
    /// Datagrams sent when nothing comes back.
    pub sends: f64,
}

impl From<&Capacity> for Headroom {
    fn from(capacity: &Capacity) -> Headroom {
        Headroom {
            messages: capacity.echo_messages_per_second,
            registrations: capacity.echo_registrations_per_second,
            sends: capacity.send_only_per_second,
        }
    }
}

/// The scenario in numbers for a server that finishes `kappa` registrations a second. Where the headroom is known and the arrival's peak is more
/// than the generator can send, should nobody be answered in time, the arrival is stretched until it fits, and `multiple`
/// is less than `multiple_asked`.
pub fn scale(
    scenario: &Scenario,
    kappa: f64,
    headroom: Option<Headroom>,
    wanted: Wanted,
) -> Scaled {
    let asked = unstretched(scenario, kappa, wanted.scale);
    let natural = asked.multiple;
    let most = match scenario.arrival {
        Arrival::Steady { .. } => natural,
        Arrival::Uniform { .. }
        | Arrival::Ramp { .. }
        | Arrival::Waves { .. }
        | Arrival::Herd { .. } => wanted.multiple.unwrap_or(natural),
    };
    let at = |multiple| at_multiple(scenario, kappa, &asked, multiple);
    let Some(headroom) = headroom else { return at(most) };
    let fits = |multiple| generator_busy(scenario, &at(multiple), kappa, headroom) <= BUSY_MOST;
    let multiple = if fits(most) { most } else { greatest(most, fits) };
    Scaled { multiple_asked: most, ..at(multiple) }
}

/// What registrations are not to take from the server, as a share of it: others' refreshes, and calls.
pub fn protected_share(scenario: &Scenario) -> f64 {
    let call = match (scenario.registration.digest, scenario.population.nonces) {
        (false, _) => CALL_IN_BARE_REGISTERS,
        (true, Nonces::Valid) => CALL_IN_USED_NONCES,
        (true, Nonces::None | Nonces::Foreign) => CALL_IN_BOTH_LEGS,
    };
    let calls = [&scenario.calls, &scenario.emergency_calls].into_iter().flatten();
    scenario.population.steady_load + calls.map(|calls| calls.per_kappa * call).sum::<f64>()
}

/// The share of its time that a generator is busy at the worst moment: whoever is beyond the server's capacity is not answered at all, and resends.
pub fn generator_busy(scenario: &Scenario, scaled: &Scaled, kappa: f64, headroom: Headroom) -> f64 {
    let left = kappa * (1.0 - protected_share(scenario));
    let peak = scaled.multiple * kappa;
    let answered = peak.min(left);
    let unanswered = match scaled.outage {
        Some(_) => 1.0,
        None => 1.0 - answered / peak.max(f64::MIN_POSITIVE),
    };
    let (first, resent) = datagrams_at_worst(scenario, scaled);
    let others = (unanswered * (first + resent) * ours_with_hostile(scenario)
        + scaled.keep_alives_per_second)
        / headroom.sends;
    let calls = scaled.calls_per_second + scaled.emergency_calls_per_second;
    let work = (answered + scaled.steady_per_second) / headroom.registrations
        + calls * MESSAGES_OF_A_CALL / headroom.messages;
    others + work
}

/// Datagrams a second for REGISTER, at the moment at which they are most, if nobody is answered and all resend.
pub(super) fn datagrams_unanswered(scenario: &Scenario, scaled: &Scaled) -> f64 {
    let (first, resent) = datagrams_at_worst(scenario, scaled);
    (first + resent) * ours_with_hostile(scenario)
}

/// All REGISTERs for each one that a user agent sends.
fn ours_with_hostile(scenario: &Scenario) -> f64 {
    1.0 / (1.0 - scenario.hostile.map_or(0.0, |hostile| hostile.share))
}

/// A part of the scenario with the arrival's own peak.
fn unstretched(scenario: &Scenario, kappa: f64, wanted: f64) -> Scaled {
    let expires = f64::from(scenario.registration.expires_secs);
    let full = match scenario.population.size {
        Size::KappaSeconds(secs) => secs * kappa,
        Size::UserAgents(count) => f64::from(count),
    };
    let least = match scenario.arrival {
        // Their time is a part of what was granted, which has a least.
        Arrival::Steady { .. } | Arrival::Herd { .. } => EXPIRES_SECS_LEAST / expires,
        Arrival::Uniform { .. } | Arrival::Ramp { .. } | Arrival::Waves { .. } => 0.0,
    };
    let part = wanted.max(least).min(1.0).min(USER_AGENTS_MOST / full);
    let population = (full * part).max(1.0);
    let expires_secs = (expires * part).max(EXPIRES_SECS_LEAST).min(expires);
    let calls = |calls: Option<super::Calls>| calls.map_or(0.0, |calls| calls.per_kappa * kappa);
    let outage = scenario.outage.map(|outage| Outage {
        from_secs: outage.from_secs * part,
        for_secs: outage.for_secs * part,
    });
    let mut scaled = Scaled {
        user_agents: whole(population),
        behind_one_address: whole(
            (f64::from(scenario.population.behind_one_address) * part).min(population),
        ),
        scale: part,
        multiple: 0.0,
        multiple_asked: 0.0,
        arrival: stretched(scenario.arrival, part),
        arrival_secs: 0.0,
        outage,
        expires_secs: whole(expires_secs),
        t_min_secs: 0.0,
        t_min_from_secs: 0.0,
        restart_at_secs: None,
        restart_down_secs: scenario.restart.map_or(0.0, |restart| restart.down_secs * part),
        steady_per_second: scenario.population.steady_load * kappa,
        calls_per_second: calls(scenario.calls),
        emergency_calls_per_second: calls(scenario.emergency_calls),
        // Both the population and the time between two shrink.
        keep_alives_per_second: scenario
            .keep_alive
            .map_or(0.0, |keep_alive| population / part / keep_alive.every_secs),
        before_secs: scenario.end.before_secs,
        after_secs: scenario.end.after_secs,
        end_secs: 0.0,
    };
    scaled.multiple = peak_share(&scaled, scenario) * population / kappa;
    scaled
}

/// The same with another peak, and what follows from it.
fn at_multiple(scenario: &Scenario, kappa: f64, natural: &Scaled, multiple: f64) -> Scaled {
    let by = natural.multiple / multiple;
    let mut scaled = Scaled { multiple, multiple_asked: multiple, ..*natural };
    scaled.arrival = match scaled.arrival {
        Arrival::Steady { .. } => scaled.arrival,
        Arrival::Herd { spread, cycles } => Arrival::Herd { spread: spread * by, cycles },
        other @ (Arrival::Uniform { .. } | Arrival::Ramp { .. } | Arrival::Waves { .. }) => {
            stretched(other, by)
        }
    };
    scaled.arrival_secs = arrival_secs(&scaled, scenario);
    let left = kappa * (1.0 - protected_share(scenario));
    let all_secs = f64::from(scaled.user_agents) / left;
    let end = scenario.end;
    match scaled.arrival {
        Arrival::Steady { for_secs } => scaled.end_secs = for_secs,
        Arrival::Herd { cycles, .. } => {
            scaled.t_min_secs = all_secs.max(scaled.arrival_secs);
            let others = f64::from(cycles - 1) * interval_secs(&scaled, scenario);
            scaled.end_secs = others + (end.t_min_most * scaled.t_min_secs).max(end.at_least_secs);
        }
        Arrival::Uniform { .. } | Arrival::Ramp { .. } | Arrival::Waves { .. } => {
            let until = shortest(&scaled, all_secs);
            // Before the end of an outage that was there first nobody could be registered.
            let dark = scaled.outage.filter(|outage| outage.from_secs <= 0.0);
            scaled.t_min_from_secs =
                dark.map_or(0.0, |outage| (outage.from_secs + outage.for_secs).max(0.0));
            let t_min_secs = until - scaled.t_min_from_secs;
            scaled.restart_at_secs = scenario
                .restart
                .map(|restart| scaled.t_min_from_secs + restart.at_t_min * t_min_secs);
            scaled.t_min_secs = t_min_secs + scaled.restart_down_secs;
            scaled.end_secs = scaled.t_min_from_secs
                + (end.t_min_most * scaled.t_min_secs).max(end.at_least_secs);
        }
    }
    scaled
}

/// All times of an arrival so many times as long.
fn stretched(arrival: Arrival, by: f64) -> Arrival {
    match arrival {
        Arrival::Steady { for_secs } => Arrival::Steady { for_secs: for_secs * by },
        Arrival::Uniform { over_secs } => Arrival::Uniform { over_secs: over_secs * by },
        Arrival::Ramp { tau_secs, tail_exponent, tail_share, most_secs } => Arrival::Ramp {
            tau_secs: tau_secs * by,
            tail_exponent,
            tail_share,
            most_secs: most_secs * by,
        },
        Arrival::Waves { count, every_secs, over_secs } => {
            Arrival::Waves { count, every_secs: every_secs * by, over_secs: over_secs * by }
        }
        // Its time is a part of what is granted.
        Arrival::Herd { .. } => arrival,
    }
}

/// The most of the population that begins in a second, as a share of it.
fn peak_share(scaled: &Scaled, scenario: &Scenario) -> f64 {
    match scaled.arrival {
        Arrival::Steady { .. } => {
            let granted = f64::from(scaled.expires_secs);
            scenario.registration.refresh.iter().map(|one| one.share / (one.at * granted)).sum()
        }
        Arrival::Uniform { over_secs } => 1.0 / over_secs,
        Arrival::Ramp { tau_secs, tail_exponent, tail_share, .. } => {
            // The ramp is steepest at its start, the stragglers are most at tau.
            let at_start = (1.0 - tail_share) / tau_secs;
            let at_tau = at_start * (-1.0f64).exp() + tail_share * tail_exponent / tau_secs;
            at_start.max(at_tau)
        }
        Arrival::Waves { count, over_secs, .. } => 1.0 / (f64::from(count) * over_secs),
        Arrival::Herd { .. } => 1.0 / arrival_secs(scaled, scenario),
    }
}

fn arrival_secs(scaled: &Scaled, scenario: &Scenario) -> f64 {
    match scaled.arrival {
        Arrival::Steady { .. } => 0.0,
        Arrival::Uniform { over_secs } => over_secs,
        Arrival::Ramp { most_secs, .. } => most_secs,
        Arrival::Waves { count, every_secs, over_secs } => {
            f64::from(count - 1) * every_secs + over_secs
        }
        Arrival::Herd { spread, .. } => 2.0 * spread * interval_secs(scaled, scenario),
    }
}

/// Seconds from one refresh of a herd to the next.
fn interval_secs(scaled: &Scaled, scenario: &Scenario) -> f64 {
    let at = scenario.registration.refresh.first().map_or(1.0, |refresh| refresh.at);
    f64::from(scaled.expires_secs) * at
}

/// The share of the population that has begun by `secs`.
fn begun(scaled: &Scaled, secs: f64) -> f64 {
    let ramp = |from: f64, over: f64| ((secs - from) / over).clamp(0.0, 1.0);
    match scaled.arrival {
        Arrival::Steady { .. } => 0.0,
        Arrival::Uniform { over_secs } => ramp(0.0, over_secs),
        Arrival::Ramp { tau_secs, tail_exponent, tail_share, most_secs } => {
            let by = |secs: f64| {
                let ramp = 1.0 - (-secs.max(0.0) / tau_secs).exp();
                let tail = 1.0 - (tau_secs / secs.max(tau_secs)).powf(tail_exponent);
                (ramp, tail)
            };
            // What would be later than the last is drawn again, each of its own kind.
            let (now, most) = (by(secs.min(most_secs)), by(most_secs));
            (1.0 - tail_share) * now.0 / most.0 + tail_share * now.1 / most.1
        }
        Arrival::Waves { count, every_secs, over_secs } => {
            let waves = (0..count).map(|wave| ramp(f64::from(wave) * every_secs, over_secs));
            waves.sum::<f64>() / f64::from(count)
        }
        Arrival::Herd { .. } => ramp(0.0, scaled.arrival_secs),
    }
}

/// When all could be registered, where registering all takes `all_secs`. A server that never idles while anybody waits
/// is done when its last busy time ends: that began at some t, and from then on it did what came after t, outages aside.
fn shortest(scaled: &Scaled, all_secs: f64) -> f64 {
    let all = match scaled.arrival {
        Arrival::Ramp { .. } => ALL_BUT_STRAGGLERS,
        Arrival::Steady { .. }
        | Arrival::Uniform { .. }
        | Arrival::Waves { .. }
        | Arrival::Herd { .. } => ALL,
    };
    let dark_after = |secs: f64| {
        scaled.outage.map_or(0.0, |outage| {
            let end = outage.from_secs + outage.for_secs;
            (end - secs.max(outage.from_secs)).max(0.0)
        })
    };
    times(scaled)
        .map(|secs| (secs, begun(scaled, secs)))
        .filter(|&(_, begun)| begun <= all)
        .map(|(secs, begun)| secs + dark_after(secs) + (all - begun) * all_secs)
        .fold(0.0, f64::max)
}

/// Datagrams a second, at the moment at which they are most: of first sends, and of what is sent again where nobody is answered. What
/// an outage swallows is not sent.
fn datagrams_at_worst(scenario: &Scenario, scaled: &Scaled) -> (f64, f64) {
    let population = f64::from(scaled.user_agents);
    let width = scaled.arrival_secs / f64::from(STEPS);
    if width == 0.0 {
        return (0.0, 0.0);
    }
    let dark_until = scaled.outage.map_or(f64::MIN, |outage| outage.from_secs + outage.for_secs);
    let later = resent_after_secs(scenario);
    let rate = |secs: f64| {
        population * (begun(scaled, secs) - begun(scaled, secs - width)).max(0.0) / width
    };
    let mut worst = (0.0, 0.0);
    if dark_until > 0.0 {
        // Whoever is in an attempt when an outage ends sends within T2.
        let within = f64::from(scenario.timers.t2_ms) / 1e3;
        worst.1 = population * attempting(scenario, scaled, dark_until) / within;
    }
    // A moment at which somebody sends is one of the arrival, or later by a timer.
    for after in std::iter::once(0.0).chain(later.iter().copied()) {
        for moment in times(scaled).skip(1).step_by(40).map(|secs| secs + after) {
            if moment < dark_until {
                continue;
            }
            let (first, resent) =
                (rate(moment), later.iter().map(|later| rate(moment - later)).sum::<f64>());
            if first + resent > worst.0 + worst.1 {
                worst = (first, resent);
            }
        }
    }
    worst
}

/// The share of the population that is in the middle of an attempt at `secs`, where none was ever answered.
fn attempting(scenario: &Scenario, scaled: &Scaled, secs: f64) -> f64 {
    // So many of each client, who come one after the other and draw all that is drawn evenly.
    const SAMPLES: u32 = 400;
    let lasts = f64::from(TIMER_F_IN_T1 * scenario.timers.t1_ms) / 1e3;
    let evenly = |sample: u32, stride: u32| {
        (f64::from(sample.wrapping_mul(stride) % SAMPLES) + 0.5) / f64::from(SAMPLES)
    };
    let mut share = 0.0;
    for client in &scenario.clients {
        for sample in 0..SAMPLES {
            let mut begins = beginning(scaled, evenly(sample, 1));
            let mut failures = 0;
            while begins + lasts <= secs {
                failures += 1;
                begins += lasts + wait_secs(client.retry, failures, evenly(sample, 7 * failures));
            }
            if begins <= secs {
                share += client.share / f64::from(SAMPLES);
            }
        }
    }
    share
}

/// When that part of the population has begun.
fn beginning(scaled: &Scaled, part: f64) -> f64 {
    let (mut before, mut after) = (0.0, scaled.arrival_secs);
    for _ in 0..32 {
        let middle = f64::midpoint(before, after);
        if begun(scaled, middle) < part { before = middle } else { after = middle }
    }
    after
}

/// What a client waits after so many failures by silence, for a draw from 0 to 1.
fn wait_secs(retry: Retry, failures: u32, draw: f64) -> f64 {
    match retry {
        Retry::Fixed { after_timeout_secs, spread, .. } => {
            after_timeout_secs * (1.0 + spread * (2.0 * draw - 1.0))
        }
        Retry::Backoff { base_secs, most_secs } => {
            let whole = (base_secs * f64::from(failures).exp2()).min(most_secs);
            whole * (0.5 + draw / 2.0)
        }
    }
}

/// When an unanswered REGISTER is sent again, counted from the first time: RFC 3261 17.1.2.2, Timer E until Timer F.
fn resent_after_secs(scenario: &Scenario) -> Vec<f64> {
    let (t1, t2) = (scenario.timers.t1_ms, scenario.timers.t2_ms);
    let mut after = Vec::new();
    let (mut wait, mut at) = (t1, t1);
    while at < TIMER_F_IN_T1 * t1 {
        after.push(f64::from(at) / 1e3);
        wait = (2 * wait).min(t2);
        at += wait;
    }
    after
}

/// Moments of the arrival: its start, its end, and [`STEPS`] between them.
fn times(scaled: &Scaled) -> impl Iterator<Item = f64> {
    let width = scaled.arrival_secs / f64::from(STEPS);
    (0..=STEPS).map(move |step| f64::from(step) * width)
}

/// The greatest multiple that fits, found by halving. Not below 1, where nothing is resent and a longer arrival helps nobody.
fn greatest(most: f64, fits: impl Fn(f64) -> bool) -> f64 {
    let (mut good, mut bad) = (most.min(1.0), most);
    for _ in 0..24 {
        let middle = f64::midpoint(good, bad);
        if fits(middle) { good = middle } else { bad = middle }
    }
    good
}

/// A count.
#[allow(clippy::cast_possible_truncation, reason = "a count below the most user agents")]
fn whole(count: f64) -> u32 {
    count.round() as u32
}

#[cfg(test)]
mod tests;
