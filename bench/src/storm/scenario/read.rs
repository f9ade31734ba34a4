//! From a scenario's file to a [`Scenario`], or everything that is wrong with the file. It decides what may be said, never what it
//! means for a server.
//!
//! Keys are named as the fields of [`Scenario`]. A table for each of its parts; what has no table does not happen. Times are numbers in the unit
//! that the key's name ends in. Only what RFC 3261 or common sense has a value for may be left out.

use std::ops::RangeInclusive;
use std::path::Path;

use toml_tree::{Field, Problems, Section};

use super::scale::{PROTECTED_MOST, protected_share};
use super::{
    Addresses, Arrival, Backend, Bindings, Calls, Client, End, Hostile, KeepAlive, Need, Network,
    Nonces, Outage, Population, Refresh, Registration, Restart, Retry, Scenario, Size, Timers,
};

/// No scenario is watched longer than a day.
const SECS_MOST: f64 = 86_400.0;
/// What is called instantaneous still takes a millisecond, the tick of the crowd's timers.
const SECS_LEAST: f64 = 0.001;
/// As many as the load generator can name.
const USER_AGENTS_MOST: u32 = 50_000_000;
/// RFC 3261 17.1.1.1.
const TIMERS: Timers = Timers { t1_ms: 500, t2_ms: 4000 };
/// RFC 3261 10.2.1.1 suggests it where nothing is asked for.
const EXPIRES_SECS: u32 = 3600;
/// Most phones refresh after half of what they were granted.
const REFRESH_AT: f64 = 0.5;

const CLIENTS_EXPECTED: &str = "tables [[clients]] with name, share and retry";

/// Reads a file.
///
/// # Errors
/// Everything that is wrong with it, by line.
pub fn read(file: &Path) -> Result<Scenario, Problems> {
    parse(file, &toml_tree::text(file)?)
}

/// Reads the text of a file, whose name is for the messages.
///
/// # Errors
/// Everything that is wrong with it, by line.
pub fn parse(file: &Path, text: &str) -> Result<Scenario, Problems> {
    toml_tree::read(file, text, document)
}

/// What stands in for a value that is absent or wrong is never kept: the problem is.
fn document(mut root: Section<'_, '_>) -> Scenario {
    let id = id(&mut root);
    let title = words(&mut root, "title", "a name as in \"power-step\"");
    let about = words(&mut root, "about", "what happens, in a few sentences");
    let needs = root.words("needs", &[("tls", Need::Tls), ("slow-backend", Need::SlowBackend)]);
    let honour_retry_after = share(&mut root, "honour_retry_after");
    let arrival_section = demanded(&mut root, "arrival");
    let outage_section = root.table("outage");
    let population_section = demanded(&mut root, "population");
    let registration_section = demanded(&mut root, "registration");
    let end = end(demanded(&mut root, "end"));
    let arrival = arrival(arrival_section);
    let outage = outage(outage_section, arrival, end.before_secs);
    let registration = registration(registration_section, arrival);
    let population = population(population_section, arrival, &registration);
    root.require("clients", CLIENTS_EXPECTED);
    let clients = root.tables("clients");
    if clients.as_ref().is_some_and(Vec::is_empty) {
        root.problem_of("clients", &format!("is empty, expected {CLIENTS_EXPECTED}"));
    }
    let scenario = Scenario {
        id,
        title,
        about,
        population,
        arrival: arrival.unwrap_or(Arrival::Uniform { over_secs: SECS_LEAST }),
        outage,
        clients: self::clients(clients.unwrap_or_default()),
        honour_retry_after,
        timers: timers(root.table("timers")),
        network: network(root.table("network")),
        calls: calls(root.table("calls")),
        emergency_calls: calls(root.table("emergency_calls")),
        keep_alive: keep_alive(root.table("keep_alive")),
        hostile: hostile(root.table("hostile"), registration.digest),
        backend: backend(root.table("backend")),
        restart: restart(root.table("restart"), arrival),
        needs: needs.iter().flatten().map(|field| field.value).collect(),
        registration,
        end,
    };
    needs_and_backend(&root, needs.as_deref(), scenario.backend.is_some());
    time_is_left(&root, &scenario);
    root.finish();
    scenario
}

/// It names the folder of a run, too.
fn id(root: &mut Section<'_, '_>) -> String {
    const EXPECTED: &str = "1 to 32 letters, digits, `-` or `_`, as in \"S1\"";
    root.require("id", EXPECTED);
    let Some(field) = root.string("id", EXPECTED) else { return String::new() };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !(1..=32).contains(&field.value.len()) || !field.value.bytes().all(plain) {
        root.problem(&field, format!("`{}` won't do, expected {EXPECTED}", field.value));
    }
    field.value.to_owned()
}

fn words(section: &mut Section<'_, '_>, key: &'static str, expected: &str) -> String {
    section.require(key, expected);
    let Some(field) = section.string(key, expected) else { return String::new() };
    if field.value.trim().is_empty() {
        section.problem(&field, format!("is empty, expected {expected}"));
    }
    field.value.trim().to_owned()
}

fn population(
    mut section: Section<'_, '_>,
    arrival: Option<Arrival>,
    registration: &Registration,
) -> Population {
    const SIZE: &str = "it, or user_agents = a number of them";
    let kappa_seconds =
        section.float("kappa_seconds", SECS_LEAST..=SECS_MOST, "seconds of the server's capacity");
    let user_agents = section.number("user_agents", 1..=USER_AGENTS_MOST, "");
    let size = match (kappa_seconds, user_agents) {
        (Some(_), Some(field)) => {
            section.problem(&field, "stands beside kappa_seconds, expected one of them");
            Size::UserAgents(field.value)
        }
        (None, Some(field)) => Size::UserAgents(field.value),
        (Some(field), None) => Size::KappaSeconds(field.value),
        (None, None) => {
            section.require("kappa_seconds", SIZE);
            Size::UserAgents(1)
        }
    };
    let bindings_of = [("lapsed", Bindings::Lapsed), ("valid", Bindings::Valid)];
    let bindings = word(&mut section, "bindings", &bindings_of);
    let nonces_of =
        [("none", Nonces::None), ("valid", Nonces::Valid), ("foreign", Nonces::Foreign)];
    let nonces = word(&mut section, "nonces", &nonces_of);
    if let Some(field) = &bindings
        && field.value == Bindings::Lapsed
        && matches!(arrival, Some(Arrival::Steady { .. } | Arrival::Herd { .. }))
    {
        let message = "is `lapsed`, expected `valid` beside refreshes, which only bindings have";
        section.problem(field, message);
    }
    if let Some(field) = &nonces
        && field.value != Nonces::None
        && !registration.digest
    {
        let message = "stands beside registration.digest = false, where nobody is challenged, expected `none`";
        section.problem(field, message);
    }
    let addresses = [("own", Addresses::Own), ("one", Addresses::One)];
    let addresses = section.word("addresses", &addresses).map_or(Addresses::Own, |one| one.value);
    let behind_one_address = section.number("behind_one_address", 0..=USER_AGENTS_MOST, "");
    if let Some(field) = &behind_one_address {
        if addresses == Addresses::One && field.value > 0 {
            let message = "stands beside addresses = \"one\", expected one of them";
            section.problem(field, message);
        }
        if let Size::UserAgents(all) = size
            && field.value > all
        {
            section.problem(field, format!("is more than all, expected at most {all}"));
        }
    }
    let steady_load = section.float("steady_load", 0.0..=PROTECTED_MOST, "of kappa");
    section.finish();
    Population {
        size,
        bindings: bindings.map_or(Bindings::Lapsed, |field| field.value),
        nonces: nonces.map_or(Nonces::None, |field| field.value),
        addresses,
        behind_one_address: behind_one_address.map_or(0, |field| field.value),
        steady_load: steady_load.map_or(0.0, |field| field.value),
    }
}

fn arrival(mut section: Section<'_, '_>) -> Option<Arrival> {
    let shapes = ["steady", "uniform", "ramp", "waves", "herd"].map(|shape| (shape, shape));
    // Without a shape nobody knows which other keys belong here.
    let shape = word(&mut section, "shape", &shapes)?;
    let arrival = match shape.value {
        "steady" => Arrival::Steady { for_secs: secs(&mut section, "for_secs") },
        "uniform" => Arrival::Uniform { over_secs: secs(&mut section, "over_secs") },
        "ramp" => ramp(&mut section),
        "waves" => waves(&mut section),
        _ => Arrival::Herd {
            spread: float(&mut section, "spread", 0.0..=1.0, ""),
            cycles: number(&mut section, "cycles", 1..=1000, ""),
        },
    };
    section.finish();
    Some(arrival)
}

fn ramp(section: &mut Section<'_, '_>) -> Arrival {
    let tau_secs = secs(section, "tau_secs");
    let tail_exponent = float(section, "tail_exponent", 0.1..=10.0, "");
    let tail_share = share(section, "tail_share");
    section.require("most_secs", "the seconds after which nobody comes");
    let most = section.float("most_secs", SECS_LEAST..=SECS_MOST, "seconds");
    if let Some(field) = &most
        && field.value < 2.0 * tau_secs
    {
        let least = 2.0 * tau_secs;
        section.problem(
            field,
            format!("leaves no room for a ramp, expected at least two tau_secs, {least}"),
        );
    }
    let most_secs = most.map_or(SECS_MOST, |field| field.value);
    Arrival::Ramp { tau_secs, tail_exponent, tail_share, most_secs }
}

fn waves(section: &mut Section<'_, '_>) -> Arrival {
    let count = number(section, "count", 1..=1000, "");
    let every_secs = secs(section, "every_secs");
    section.require("over_secs", "the seconds in which a wave arrives");
    let over = section.float("over_secs", SECS_LEAST..=SECS_MOST, "seconds");
    if let Some(field) = &over
        && every_secs > 0.0
        && field.value > every_secs
    {
        section.problem(
            field,
            format!("is longer than from wave to wave, expected at most every_secs, {every_secs}"),
        );
    }
    Arrival::Waves { count, every_secs, over_secs: over.map_or(SECS_LEAST, |field| field.value) }
}

fn outage(
    mut section: Section<'_, '_>,
    arrival: Option<Arrival>,
    before_secs: f64,
) -> Option<Outage> {
    if !section.is_present() {
        return None;
    }
    let from = section.float("from_secs", -SECS_MOST..=SECS_MOST, "seconds");
    section.require("from_secs", "seconds from the start of the arrival, as in 0");
    if let Some(field) = &from {
        if field.value < -before_secs {
            let message = format!(
                "begins before the run does, expected at least -end.before_secs, {}",
                -before_secs
            );
            section.problem(field, message);
        }
        if matches!(arrival, Some(Arrival::Steady { .. } | Arrival::Herd { .. })) {
            let message =
                "stands beside refreshes that are no arrival, expected an arrival of another shape";
            section.problem(field, message);
        }
    }
    let for_secs = secs(&mut section, "for_secs");
    section.finish();
    Some(Outage { from_secs: from.map_or(0.0, |field| field.value), for_secs })
}

fn registration(mut section: Section<'_, '_>, arrival: Option<Arrival>) -> Registration {
    // A registrar may refuse less than a minute, and many do.
    let expires = section.number("expires_secs", 60..=604_800, "seconds");
    section.require("digest", "whether the server challenges, true or false");
    let digest = section.boolean("digest").is_none_or(|field| field.value);
    let refresh = match section.tables("refresh") {
        None => vec![Refresh { share: 1.0, at: REFRESH_AT }],
        Some(tables) => {
            let mut shares = Vec::new();
            let mut refreshes = Vec::new();
            for mut table in tables {
                shares.push(share_field(&mut table));
                // Whoever refreshes at the end of a binding is late.
                let at = float(&mut table, "at", 0.05..=0.95, "of what was granted");
                table.finish();
                refreshes.push(Refresh {
                    share: shares.last().cloned().flatten().map_or(0.0, |one| one.value),
                    at,
                });
            }
            add_up(&section, &shares);
            refreshes
        }
    };
    if matches!(arrival, Some(Arrival::Herd { .. })) && refresh.len() > 1 {
        let message = "has several times beside arrival.shape = \"herd\", expected one, as all refresh together";
        section.problem_of("refresh", message);
    }
    if refresh.is_empty() {
        section.problem_of("refresh", "is empty, expected tables with share and at");
    }
    section.finish();
    Registration {
        expires_secs: expires.map_or(EXPIRES_SECS, |field| field.value),
        digest,
        refresh,
    }
}

fn clients(tables: Vec<Section<'_, '_>>) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    let mut shares = Vec::new();
    let count = tables.len();
    for (place, mut section) in tables.into_iter().enumerate() {
        section.require("name", "a name as in \"fixed-30\"");
        let name = section.string("name", "a name");
        if let Some(field) = &name {
            if field.value.trim().is_empty() {
                section.problem(field, "is empty, expected a name");
            } else if clients.iter().any(|client| client.name == field.value) {
                section.problem(
                    field,
                    format!("`{}` is named twice, expected each name once", field.value),
                );
            }
        }
        shares.push(share_field(&mut section));
        section.require("retry", "a table as in { kind = \"fixed\", after_timeout_secs = 30 }");
        let retry = retry(section.table("retry"));
        if place + 1 == count {
            add_up(&section, &shares);
        }
        section.finish();
        clients.push(Client {
            name: name.map_or(String::new(), |field| field.value.to_owned()),
            share: shares.last().cloned().flatten().map_or(0.0, |field| field.value),
            retry,
        });
    }
    clients
}

fn retry(mut section: Section<'_, '_>) -> Retry {
    let kinds = [("fixed", false), ("backoff", true)];
    let Some(kind) = word(&mut section, "kind", &kinds) else {
        return Retry::Fixed { after_timeout_secs: 0.0, after_refusal_secs: 0.0, spread: 0.0 };
    };
    let retry = if kind.value {
        let base_secs = secs(&mut section, "base_secs");
        section.require("most_secs", "the longest back-off in seconds");
        let most = section.float("most_secs", SECS_LEAST..=SECS_MOST, "seconds");
        if let Some(field) = &most
            && field.value < base_secs
        {
            section
                .problem(field, format!("is less than base_secs, expected at least {base_secs}"));
        }
        Retry::Backoff { base_secs, most_secs: most.map_or(SECS_MOST, |field| field.value) }
    } else {
        let after_timeout_secs = secs(&mut section, "after_timeout_secs");
        // Most phones do not tell one failure from another.
        let after_refusal = section.float("after_refusal_secs", SECS_LEAST..=SECS_MOST, "seconds");
        let spread = section.float("spread", 0.0..=1.0, "");
        Retry::Fixed {
            after_timeout_secs,
            after_refusal_secs: after_refusal.map_or(after_timeout_secs, |field| field.value),
            spread: spread.map_or(0.0, |field| field.value),
        }
    };
    section.finish();
    retry
}

fn timers(mut section: Section<'_, '_>) -> Timers {
    let t1 = section.number("t1_ms", 10..=10_000, "milliseconds");
    let t2 = section.number("t2_ms", 10..=60_000, "milliseconds");
    let t1_ms = t1.map_or(TIMERS.t1_ms, |field| field.value);
    let t2_ms = t2.as_ref().map_or(TIMERS.t2_ms, |field| field.value);
    if t2_ms < t1_ms {
        let message = format!("is less than T1, expected at least {t1_ms}");
        section.problem_of(if t2.is_some() { "t2_ms" } else { "t1_ms" }, &message);
    }
    section.finish();
    Timers { t1_ms, t2_ms }
}

fn network(mut section: Section<'_, '_>) -> Network {
    let loss = section.float("loss", 0.0..=1.0, "");
    section.finish();
    Network { loss: loss.map_or(0.0, |field| field.value) }
}

fn calls(mut section: Section<'_, '_>) -> Option<Calls> {
    if !section.is_present() {
        return None;
    }
    let calls = Calls {
        per_kappa: float(
            &mut section,
            "per_kappa",
            0.0..=1.0,
            "calls for each registration of kappa",
        ),
        ring_secs: float(&mut section, "ring_secs", 0.0..=180.0, "seconds"),
        talk_secs: float(&mut section, "talk_secs", 0.0..=3600.0, "seconds"),
    };
    section.finish();
    Some(calls)
}

fn keep_alive(mut section: Section<'_, '_>) -> Option<KeepAlive> {
    if !section.is_present() {
        return None;
    }
    let keep_alive = KeepAlive {
        every_secs: float(&mut section, "every_secs", 1.0..=3600.0, "seconds"),
        options_share: share(&mut section, "options_share"),
    };
    section.finish();
    Some(keep_alive)
}

fn hostile(mut section: Section<'_, '_>, digest: bool) -> Option<Hostile> {
    if !section.is_present() {
        return None;
    }
    let share_of_all = float(&mut section, "share", 0.0..=0.99, "of all REGISTERs");
    let guessing = section.float("guessing_share", 0.0..=1.0, "");
    if let Some(field) = &guessing
        && field.value > 0.0
        && !digest
    {
        section.problem(field, "guesses passwords, expected registration.digest = true with it");
    }
    section.finish();
    Some(Hostile { share: share_of_all, guessing_share: guessing.map_or(0.0, |field| field.value) })
}

fn backend(mut section: Section<'_, '_>) -> Option<Backend> {
    if !section.is_present() {
        return None;
    }
    let backend = Backend {
        before_ms: float(&mut section, "before_ms", 0.0..=60_000.0, "milliseconds"),
        during_ms: float(&mut section, "during_ms", 0.0..=60_000.0, "milliseconds"),
    };
    section.finish();
    Some(backend)
}

fn restart(mut section: Section<'_, '_>, arrival: Option<Arrival>) -> Option<Restart> {
    if !section.is_present() {
        return None;
    }
    let restart = Restart {
        at_t_min: float(&mut section, "at_t_min", 0.0..=1.0, "of the shortest time"),
        down_secs: secs(&mut section, "down_secs"),
    };
    if matches!(arrival, Some(Arrival::Steady { .. } | Arrival::Herd { .. })) {
        let message = "is a part of the time to register all, expected an arrival of another shape";
        section.problem_of("at_t_min", message);
    }
    section.finish();
    Some(restart)
}

fn end(mut section: Section<'_, '_>) -> End {
    let end = End {
        before_secs: float(&mut section, "before_secs", 0.0..=3600.0, "seconds"),
        after_secs: float(&mut section, "after_secs", 0.0..=3600.0, "seconds"),
        t_min_most: float(&mut section, "t_min_most", 1.0..=100.0, "times the shortest time"),
        at_least_secs: float(&mut section, "at_least_secs", 0.0..=SECS_MOST, "seconds"),
    };
    section.finish();
    end
}

/// A slow backend is part of a scenario and needed by it, or neither.
fn needs_and_backend(root: &Section<'_, '_>, needs: Option<&[Field<Need>]>, backend: bool) {
    let needed = needs.unwrap_or_default().iter().find(|field| field.value == Need::SlowBackend);
    match (needed, backend) {
        (Some(field), false) => {
            root.problem(
                field,
                "`slow-backend` is needed, but nothing says how slow, expected a table [backend]",
            );
        }
        (None, true) => root.problem_of(
            "backend",
            "is a delay that few servers have, expected needs = [\"slow-backend\"] beside it",
        ),
        (Some(_), true) | (None, false) => {}
    }
}

/// Something of the server is left for those who come.
fn time_is_left(root: &Section<'_, '_>, scenario: &Scenario) {
    let protected = protected_share(scenario);
    if protected > PROTECTED_MOST {
        let key = if scenario.calls.is_some() { "calls" } else { "population" };
        let message = format!(
            "calls and population.steady_load take {:.0} % of the server before anybody registers, expected at most {:.0} %",
            protected * 100.0,
            PROTECTED_MOST * 100.0
        );
        root.problem_of(key, &message);
    }
    let (Arrival::Herd { .. }, Size::KappaSeconds(size), [refresh]) =
        (scenario.arrival, scenario.population.size, &*scenario.registration.refresh)
    else {
        return;
    };
    let most = (1.0 - protected) * refresh.at * f64::from(scenario.registration.expires_secs);
    if protected < 1.0 && size > most {
        let message = format!(
            "so many can't all refresh within one cycle, expected kappa_seconds of at most {most:.0}, what the server can do from \
             one refresh to the next"
        );
        root.problem_of("population", &message);
    }
}

/// A table that no scenario is without.
fn demanded<'a, 't>(root: &mut Section<'a, 't>, key: &'static str) -> Section<'a, 't> {
    root.require(key, &format!("a table `[{key}]`"));
    root.table(key)
}

fn word<T: Copy>(
    section: &mut Section<'_, '_>,
    key: &'static str,
    words: &[(&str, T)],
) -> Option<Field<T>> {
    let names: Vec<&str> = words.iter().map(|&(name, _)| name).collect();
    section.require(key, &toml_tree::one_of(&names));
    section.word(key, words)
}

fn number(
    section: &mut Section<'_, '_>,
    key: &'static str,
    range: RangeInclusive<u32>,
    unit: &str,
) -> u32 {
    let least = *range.start();
    section.require(key, &format!("a whole number from {least} to {}", range.end()));
    section.number(key, range, unit).map_or(least, |field| field.value)
}

fn float(
    section: &mut Section<'_, '_>,
    key: &'static str,
    range: RangeInclusive<f64>,
    unit: &str,
) -> f64 {
    let least = *range.start();
    let space = if unit.is_empty() { "" } else { " " };
    section.require(key, &format!("a number from {least} to {}{space}{unit}", range.end()));
    section.float(key, range, unit).map_or(least, |field| field.value)
}

fn secs(section: &mut Section<'_, '_>, key: &'static str) -> f64 {
    float(section, key, SECS_LEAST..=SECS_MOST, "seconds")
}

fn share(section: &mut Section<'_, '_>, key: &'static str) -> f64 {
    float(section, key, 0.0..=1.0, "")
}

/// The share of one of several kinds, which are added up later.
fn share_field(section: &mut Section<'_, '_>) -> Option<Field<f64>> {
    section.require("share", "a number from 0 to 1");
    section.float("share", 0.0..=1.0, "")
}

/// Shares add up to 1, to the hundredth: three of 0.33 are a whole to those who write them.
fn add_up(section: &Section<'_, '_>, shares: &[Option<Field<f64>>]) {
    let Some(shares) = shares.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else {
        return;
    };
    let sum: f64 = shares.iter().map(|field| field.value).sum();
    if let Some(last) = shares.last()
        && (sum - 1.0).abs() > 0.0101
    {
        let sum = (sum * 1e4).round() / 1e4;
        section.problem(last, format!("all of them add up to {sum}, expected 1"));
    }
}

#[cfg(test)]
mod tests;
