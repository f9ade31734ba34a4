//! What was played and what came of it, in sentences: the scenario as a reader can check it against the file, without a figure that was
//! not in the run.

use super::number::{grouped, percent, plain, ratio, rounded, seconds, time_us};
use crate::storm::record::Run;
use crate::storm::scenario::{Arrival, Bindings, Nonces, Retry, Size};

/// What was played against what, in a sentence or two.
pub(crate) fn played(run: &Run) -> String {
    let scaled = &run.scaled;
    let who = format!("{} user agents", grouped(u64::from(scaled.user_agents)));
    let how = match run.scenario.arrival {
        Arrival::Steady { .. } => format!("{who} refreshed their registrations, each by itself"),
        Arrival::Uniform { .. } => {
            format!("{who} came back within {}", seconds(scaled.arrival_secs))
        }
        Arrival::Ramp { .. } => {
            format!("{who} came back over {}, most of them at once", seconds(scaled.arrival_secs))
        }
        Arrival::Waves { count, .. } => {
            format!("{who} came back in {count} waves over {}", seconds(scaled.arrival_secs))
        }
        Arrival::Herd { cycles, .. } => format!("{who} refreshed together, {cycles} times"),
    };
    let kappa = rounded(run.capacity.kappa);
    let multiple = match run.scenario.arrival {
        Arrival::Steady { .. } => format!("The server can finish {kappa} registrations a second."),
        Arrival::Uniform { .. }
        | Arrival::Ramp { .. }
        | Arrival::Waves { .. }
        | Arrival::Herd { .. } => format!(
            "At the peak that is {} times the {kappa} registrations a second that the server can finish{}.",
            plain(scaled.multiple),
            if scaled.multiple < scaled.multiple_asked * 0.995 {
                format!(" (the scenario asks for {} times)", plain(scaled.multiple_asked))
            } else {
                String::new()
            }
        ),
    };
    format!("{how}. {multiple}")
}

/// What became of them, in a sentence.
pub(crate) fn became(run: &Run) -> String {
    let outcome = &run.outcome;
    let at = |percent: u32| outcome.registered_percent_secs.get(&percent).copied();
    let registered = percent(outcome.registered_share);
    match (run.scenario.arrival, at(99)) {
        (Arrival::Steady { .. }, _) => format!("{registered} were registered at the end."),
        (_, Some(t99)) => format!(
            "99 % of them were registered after {}{}.",
            seconds(t99),
            outcome.t99_over_t_min.map_or(String::new(), |over| format!(
                ", {} times the shortest possible time of {}",
                ratio(over),
                seconds(run.scaled.t_min_secs)
            ))
        ),
        (_, None) => {
            let end = run.seconds.last().map_or(0.0, |second| second.at_secs.max(0.0));
            format!(
                "After {} {registered} of them were registered; 99 % were never reached.",
                seconds(end)
            )
        }
    }
}

/// The scenario, sentence by sentence: title of the subject and what it is.
pub(crate) fn scenario(run: &Run) -> Vec<(&'static str, String)> {
    let scenario = &run.scenario;
    let population = &scenario.population;
    let mut told = vec![("What happens", scenario.about.clone())];
    let size = match population.size {
        Size::KappaSeconds(secs) => {
            format!("As many as the server can register in {}", seconds(secs))
        }
        Size::UserAgents(count) => format!("{} user agents", grouped(u64::from(count))),
    };
    let bindings = match population.bindings {
        Bindings::Lapsed => "The server holds no bindings of them",
        Bindings::Valid => "The server still holds their bindings",
    };
    let nonces = match population.nonces {
        Nonces::None => "they hold no nonce, so that the first request is challenged",
        Nonces::Valid => "they hold a nonce of the server",
        Nonces::Foreign => {
            "they hold a nonce of another server, so that the first request is challenged as stale"
        }
    };
    told.push((
        "Who",
        format!(
            "{size}; played at {} of that, {} user agents. {bindings}; {nonces}.",
            percent(run.scaled.scale),
            grouped(u64::from(run.scaled.user_agents))
        ),
    ));
    if run.scaled.behind_one_address > 0 {
        let text = format!(
            "{} of them are behind one address.",
            grouped(u64::from(run.scaled.behind_one_address))
        );
        told.push(("Where", text));
    }
    told.push(("When", arrival(&run.scaled.arrival)));
    if let Some(outage) = run.scaled.outage {
        let text = format!(
            "From {} on nothing gets through in either direction for {}.",
            seconds(outage.from_secs),
            seconds(outage.for_secs)
        );
        told.push(("Outage", text));
    }
    let clients = scenario.clients.iter().map(|client| {
        format!("{} {}: {}", percent(client.share), client.name, retry(&client.retry))
    });
    told.push(("After a failure", format!("{}.", clients.collect::<Vec<_>>().join("; "))));
    told.push((
        "Retry-After",
        format!(
            "{} wait as long as the server asks them to.",
            percent(scenario.honour_retry_after)
        ),
    ));
    meanwhile(run, &mut told);
    told
}

fn meanwhile(run: &Run, told: &mut Vec<(&'static str, String)>) {
    let scenario = &run.scenario;
    if scenario.network.loss > 0.0 {
        let text = format!("{} of the datagrams, each way.", percent(scenario.network.loss));
        told.push(("Lost on the way", text));
    }
    for (name, calls, rate) in [
        ("Calls", scenario.calls, run.scaled.calls_per_second),
        ("Emergency calls", scenario.emergency_calls, run.scaled.emergency_calls_per_second),
    ] {
        let Some(calls) = calls else { continue };
        let text = format!(
            "{} a second, answered after {} and hung up after {}.",
            plain(rate),
            seconds(calls.ring_secs),
            seconds(calls.talk_secs)
        );
        told.push((name, text));
    }
    if let Some(keep_alive) = scenario.keep_alive {
        let text = format!(
            "Every {}; {} of them OPTIONS, the others two empty lines.",
            seconds(keep_alive.every_secs),
            percent(keep_alive.options_share)
        );
        told.push(("Keep-alives", text));
    }
    if let Some(hostile) = scenario.hostile {
        let text = format!(
            "{} of all REGISTERs are none of theirs; {} of these guess passwords, the others use names that do not exist.",
            percent(hostile.share),
            percent(hostile.guessing_share)
        );
        told.push(("Hostile", text));
    }
    if let Some(backend) = scenario.backend {
        let text = format!(
            "A look-up of credentials takes {} before the arrival and {} from it on.",
            time_us(backend.before_ms * 1e3),
            time_us(backend.during_ms * 1e3)
        );
        told.push(("Credentials", text));
    }
    if let Some(at_secs) = run.scaled.restart_at_secs {
        let text = format!(
            "The server dies {} after the start of the arrival and comes back {} later.",
            seconds(at_secs),
            seconds(run.scaled.restart_down_secs)
        );
        told.push(("Restart", text));
    }
}

fn arrival(arrival: &Arrival) -> String {
    match arrival {
        Arrival::Steady { for_secs } => {
            format!("Each by itself, spread over its refresh interval, for {}.", seconds(*for_secs))
        }
        Arrival::Uniform { over_secs } => {
            format!("All within {}, evenly.", seconds(*over_secs))
        }
        Arrival::Ramp { tau_secs, tail_share, most_secs, .. } => format!(
            "At a rate that falls off with a time constant of {}; {} are stragglers that take longer, the last of them {}.",
            seconds(*tau_secs),
            percent(*tail_share),
            seconds(*most_secs)
        ),
        Arrival::Waves { count, every_secs, over_secs } => format!(
            "In {count} equal waves, one every {}, each within {}.",
            seconds(*every_secs),
            seconds(*over_secs)
        ),
        Arrival::Herd { spread, cycles } => format!(
            "All refresh within ±{} of the same part of what they were granted, {cycles} times.",
            percent(*spread)
        ),
    }
}

fn retry(retry: &Retry) -> String {
    match retry {
        Retry::Fixed { after_timeout_secs, after_refusal_secs, spread } => {
            let spread = match *spread {
                0.0 => String::new(),
                spread => format!(" ±{}", percent(spread)),
            };
            if after_timeout_secs.to_bits() == after_refusal_secs.to_bits() {
                format!("again after {}{spread}", seconds(*after_timeout_secs))
            } else {
                format!(
                    "again {} after silence and {} after a refusal{spread}",
                    seconds(*after_timeout_secs),
                    seconds(*after_refusal_secs)
                )
            }
        }
        Retry::Backoff { base_secs, most_secs } => format!(
            "again after 50 to 100 % of {}, doubled each time up to {}",
            seconds(*base_secs),
            seconds(*most_secs)
        ),
    }
}

/// The terms of a report, two sentences each.
pub(super) fn terms() -> Vec<(&'static str, String)> {
    [
        (
            "Capacity, kappa",
            "Registrations a second that this server can finish when user agents come one after the other, measured before the storm. \
             Everything else is held against it.",
        ),
        (
            "Goodput",
            "Registrations that were finished, a second. Work that ends in a repetition or a refusal does not count.",
        ),
        (
            "Shortest possible time, T_min",
            "How long it would take if the server spent all of its capacity on registrations that succeed, and were never idle. No \
             server can be faster, and T99 / T_min says how close it came.",
        ),
        (
            "T99",
            "The time from the start of the arrival until 99 % of the user agents were registered. The last per cent is left out \
             because a single phone that waits half an hour by itself would decide it.",
        ),
        (
            "Datagrams per user agent",
            "All datagrams sent to the server over user agents registered. A registration with a challenge takes two; a phone that gets \
             no answer sends eleven in 32 seconds, so a high number means that silence made the storm worse.",
        ),
        (
            "Retry-After, p",
            "A server that refuses can say when to come back. p is the share of user agents that listen; the others come back when they like.",
        ),
        (
            "r, the cost of a refusal",
            "What it costs to read a request and turn it away, as a part of what a registration costs. At ten times capacity, r = 10 % \
             leaves nothing at all, and r = 1.1 % leaves nine tenths.",
        ),
        (
            "Latency percentiles",
            "“99 %: 40 ms” says that of a hundred requests one took longer than 40 ms. Percentiles are never averaged; they are read \
             from histograms of every single request.",
        ),
        (
            "T1",
            "After half a second without an answer a SIP client sends its request again (RFC 3261 17.1). A server that answers later \
             makes its own load.",
        ),
        (
            "Dropped by the kernel, or by the server",
            "The kernel drops what finds a full queue, which costs the server nothing. What the server drops it has read first, which does.",
        ),
        (
            "Fairness",
            "Jain's index over the times to register of those who honour Retry-After: 1 where all took equally long, less the more \
             they differ.",
        ),
        (
            "Unscaled, slowed, simulated",
            "Unscaled: the server had its whole CPUs. Slowed: it was held to a share of CPU time, so that ten times its capacity can \
             be sent at all, and the pauses themselves add delay; simulated: computed from measured times. Figures of different \
             kinds are not compared.",
        ),
        (
            "Valid",
            "A run is valid when the generator kept up and every datagram was found again. Otherwise the page says so at its top, and \
             its figures are good for nothing but finding out why.",
        ),
    ]
    .map(|(term, text)| (term, text.to_owned()))
    .into()
}
