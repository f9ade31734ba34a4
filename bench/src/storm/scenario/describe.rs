//! What scenarios mean, in words and numbers for people. It decides nothing and reads nothing.

use std::fmt::Write;

use super::builtin;
use super::scale::{datagrams_unanswered, protected_share};
use super::{Arrival, Need, Scenario, Size, Wanted, scale};
use crate::storm::record::Scaled;

/// Columns of a terminal.
const COLUMNS: usize = 100;
/// Large enough that rounding to whole user agents does not show where numbers are told in kappa.
const KAPPA_OF_MULTIPLES: f64 = 10_000.0;

/// The scenarios that come with the program, in a table.
pub fn list() -> String {
    let mut text = format!("{:<5}{:<19}{:>6}{:>8}  what happens\n", "", "", "peak", "T_min");
    for builtin in builtin::ALL {
        let scenario = builtin.scenario();
        let full = scale(&scenario, KAPPA_OF_MULTIPLES, None, FULL);
        let peak = match scenario.arrival {
            Arrival::Steady { .. } => "none".to_owned(),
            Arrival::Uniform { .. }
            | Arrival::Ramp { .. }
            | Arrival::Waves { .. }
            | Arrival::Herd { .. } => format!("{}x", rounded(full.multiple)),
        };
        let t_min = if full.t_min_secs > 0.0 { seconds(full.t_min_secs) } else { String::new() };
        let head = format!("{:<5}{:<19}{peak:>6}{t_min:>8}  ", scenario.id, scenario.title);
        let mut about = first_sentence(&scenario.about);
        if !scenario.needs.is_empty() {
            let needs: Vec<&str> = scenario.needs.iter().map(|&need| needed(need)).collect();
            let _ = write!(about, " Needs {}.", needs.join(" and "));
        }
        text.push_str(&hanging(&head, &about));
    }
    text.push_str(
        "\npeak: first attempts, as a multiple of kappa, the registrations a second that the server can finish.\n\
         T_min: the shortest time in which all could be registered, at full size; a quick run plays a fifth.\n\n\
         seawall storm S1         plays a scenario, quick, in about a minute\n\
         seawall storm show S1    what it is made of, and what it means in numbers\n",
    );
    text
}

/// How a scenario is played where nothing else is said: in about a minute.
pub const QUICK: Wanted = Wanted { scale: 0.2, multiple: None };
/// And how it is meant.
const FULL: Wanted = Wanted { scale: 1.0, multiple: None };

/// What a scenario means for a server, as `wanted` and at full size side by side: of one that finishes `kappa` registrations a second, or in multiples
/// of kappa.
pub fn numbers(scenario: &Scenario, kappa: Option<f64>, wanted: Wanted) -> String {
    let own = Wanted { scale: 1.0, ..wanted };
    let unit = Unit { kappa, relative: matches!(scenario.population.size, Size::KappaSeconds(_)) };
    let of = kappa.unwrap_or(KAPPA_OF_MULTIPLES);
    let played = scale(scenario, of, None, wanted);
    let mut columns = vec![played];
    if played.scale < 1.0 {
        columns.push(scale(scenario, of, None, own));
    }
    let mut text = match kappa {
        Some(kappa) => format!("for kappa = {} registrations/s\n", grouped(kappa)),
        None if unit.relative => {
            "in kappa, the registrations a second that the server can finish\n".to_owned()
        }
        None => "its size is fixed: what else it means depends on the server, and takes --kappa\n"
            .to_owned(),
    };
    for (name, cells) in rows(scenario, unit, &columns) {
        let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:>28}")).collect();
        let _ = writeln!(text, "{name:<34}{}", cells.concat());
    }
    text
}

/// What is told, a row each.
fn rows(scenario: &Scenario, unit: Unit, columns: &[Scaled]) -> Vec<(&'static str, Vec<String>)> {
    let mut rows: Vec<(&'static str, Vec<String>)> = Vec::new();
    let mut row = |name, cell: &dyn Fn(&Scaled) -> String| {
        rows.push((name, columns.iter().map(cell).collect()));
    };
    row("part that is played", &|one| {
        if one.scale < 1.0 { rounded(one.scale) } else { "all".to_owned() }
    });
    row("user agents", &|one| unit.count(f64::from(one.user_agents)));
    if scenario.population.behind_one_address > 0 {
        row("  of them behind one address", &|one| grouped(f64::from(one.behind_one_address)));
    }
    row("arrival", &|one| arrival(&one.arrival));
    if unit.is_known() {
        row("  first attempts at its peak", &|one| unit.rate(one.multiple));
        row("  datagrams if nobody is answered", &|one| {
            unit.per_second(datagrams_unanswered(scenario, one))
        });
    }
    if columns[0].outage.is_some() {
        row("outage", &|one| {
            one.outage.map_or(String::new(), |outage| {
                let end = outage.from_secs + outage.for_secs;
                format!("from {} to {}", seconds(outage.from_secs), seconds(end))
            })
        });
    }
    if unit.is_known() {
        if columns[0].steady_per_second > 0.0 {
            row("refreshes of others", &|one| unit.per_second(one.steady_per_second));
        }
        if scenario.calls.is_some() {
            row("calls", &|one| unit.per_second(one.calls_per_second));
        }
        if scenario.emergency_calls.is_some() {
            row("emergency calls", &|one| unit.per_second(one.emergency_calls_per_second));
        }
        if scenario.keep_alive.is_some() {
            row("keep-alives once all are there", &|one| {
                unit.per_second(one.keep_alives_per_second)
            });
        }
    }
    let protected = protected_share(scenario);
    if protected > 0.0 {
        row("left for those who come", &|_| format!("{} %", rounded((1.0 - protected) * 100.0)));
    }
    row("asked for when registering", &|one| format!("{} s", one.expires_secs));
    if unit.is_known() {
        match scenario.arrival {
            Arrival::Steady { .. } => {}
            Arrival::Herd { .. } => row("T_min of a round", &|one| seconds(one.t_min_secs)),
            Arrival::Uniform { .. } | Arrival::Ramp { .. } | Arrival::Waves { .. } => {
                row("T_min", &|one| {
                    if one.t_min_from_secs > 0.0 {
                        format!("{} from its end", seconds(one.t_min_secs))
                    } else {
                        seconds(one.t_min_secs)
                    }
                });
            }
        }
        if columns[0].restart_at_secs.is_some() {
            row("the server dies", &|one| {
                let (at, down) = (one.restart_at_secs.unwrap_or(0.0), one.restart_down_secs);
                format!("at {}, for {}", seconds(at), seconds(down))
            });
        }
        row("watched for at most", &|one| seconds(one.before_secs + one.end_secs + one.after_secs));
    }
    rows
}

/// How sizes are told.
#[derive(Clone, Copy)]
struct Unit {
    kappa: Option<f64>,
    /// Whether the population grows with kappa.
    relative: bool,
}

impl Unit {
    fn is_known(self) -> bool {
        self.kappa.is_some() || self.relative
    }

    fn count(self, count: f64) -> String {
        match self.kappa {
            None if self.relative => {
                format!("{} s x kappa", rounded(count / KAPPA_OF_MULTIPLES))
            }
            None | Some(_) => grouped(count),
        }
    }

    fn per_second(self, per_second: f64) -> String {
        match self.kappa {
            None => format!("{} kappa", rounded(per_second / KAPPA_OF_MULTIPLES)),
            Some(kappa) => {
                format!("{}/s, {} kappa", grouped(per_second), rounded(per_second / kappa))
            }
        }
    }

    fn rate(self, multiple: f64) -> String {
        self.per_second(multiple * self.kappa.unwrap_or(KAPPA_OF_MULTIPLES))
    }
}

fn arrival(arrival: &Arrival) -> String {
    match *arrival {
        Arrival::Steady { for_secs } => format!("none, for {}", seconds(for_secs)),
        Arrival::Uniform { over_secs } => format!("within {}", seconds(over_secs)),
        Arrival::Ramp { tau_secs, most_secs, .. } => {
            format!("tau {}, until {}", seconds(tau_secs), seconds(most_secs))
        }
        Arrival::Waves { count, every_secs, over_secs } => {
            format!("{count} x {} every {}", seconds(over_secs), seconds(every_secs))
        }
        Arrival::Herd { spread, cycles } => {
            format!("{cycles} rounds, within {} %", rounded(spread * 100.0))
        }
    }
}

fn needed(need: Need) -> &'static str {
    match need {
        Need::Tls => "SIP over TLS",
        Need::SlowBackend => "a server with a credential backend that can be slowed down",
    }
}

fn first_sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    text.split_once(". ").map_or(text.clone(), |(first, _)| format!("{first}."))
}

/// Text beside a head, in as many lines as it takes.
fn hanging(head: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = head.to_owned();
    for word in text.split(' ') {
        if line.len() + word.len() > COLUMNS && line.len() > head.len() {
            lines.push_str(line.trim_end());
            lines.push('\n');
            line = " ".repeat(head.len());
        }
        line.push_str(word);
        line.push(' ');
    }
    lines + line.trim_end() + "\n"
}

fn seconds(secs: f64) -> String {
    format!("{} s", rounded(secs))
}

/// Three digits, or all of a whole number.
fn rounded(value: f64) -> String {
    let size = value.abs();
    let digits = match size {
        _ if size >= 99.95 || value.fract() == 0.0 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ if size >= 0.09995 => 3,
        _ => 5,
    };
    let text = format!("{value:.digits$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A whole number with commas between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list() {
        insta::assert_snapshot!("list", list());
    }

    #[test]
    fn a_scenario_in_numbers() {
        let told = |id: &str, kappa| {
            let scenario = builtin::find(id).unwrap().scenario();
            format!("{id} {}", numbers(&scenario, kappa, QUICK))
        };
        let all = [
            told("S0", None),
            told("S1", Some(24_000.0)),
            told("S3", None),
            told("S5", None),
            told("S6", None),
            told("S7", Some(24_000.0)),
            told("S8", None),
            told("S9", Some(24_000.0)),
            told("S10", None),
            told("S14", None),
        ];
        insta::assert_snapshot!("numbers", all.join("\n"));
    }

    #[test]
    fn a_fixed_size_is_told_without_kappa_as_far_as_it_goes() {
        let mut scenario = builtin::find("S1").unwrap().scenario();
        scenario.population.size = Size::UserAgents(50_000);
        let text = numbers(&scenario, None, Wanted { scale: 1.0, multiple: None });
        assert!(text.contains("takes --kappa"), "{text}");
        assert!(text.contains("50,000") && !text.contains("T_min"), "{text}");
        let text = numbers(&scenario, Some(1000.0), Wanted { scale: 1.0, multiple: None });
        // 50,000 within 10 s are 5 times 1000/s.
        assert!(text.contains("5,000/s, 5 kappa"), "{text}");
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (10.0, "10"),
            (105.263, "105"),
            (52.63, "52.6"),
            (3.3333, "3.33"),
            (0.2, "0.2"),
            (0.05556, "0.05556"),
            (0.00025, "0.00025"),
            (99.97, "100"),
        ] {
            assert_eq!(rounded(value), text);
        }
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(999.0), "999");
    }
}
