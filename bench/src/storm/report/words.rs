//! How a run ended and how its figures were come by, in words that can be read at four in the morning. It judges by [`goals`] alone.

use super::goals::{Judgement, goals};
use super::number::plain;
use crate::storm::record::{Label, Run};

/// How the figures were come by, in a few words.
pub fn label(label: &Label) -> String {
    match label {
        Label::Unscaled => "unscaled: live, the server with whole CPUs".to_owned(),
        Label::Slowed { quota_us, period_us, cgroup } => format!(
            "slowed: live, the server held to {} of CPU time in {} (cgroup v{cgroup})",
            ms(*quota_us),
            ms(*period_us)
        ),
        Label::Simulated => "simulated, with measured service times".to_owned(),
    }
}

/// The first word of it, as runs are told apart by it.
pub(crate) fn label_name(label: &Label) -> String {
    match label {
        Label::Unscaled => "unscaled".to_owned(),
        Label::Slowed { quota_us, period_us, .. } => {
            format!("slowed {} in {}", ms(*quota_us), ms(*period_us))
        }
        Label::Simulated => "simulated".to_owned(),
    }
}

fn ms(us: u32) -> String {
    format!("{} ms", plain(f64::from(us) / 1e3))
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every goal that was measured was met.
    Held,
    /// Some were not.
    Missed,
    /// It was interrupted.
    CutShort,
    /// It may not be believed.
    Invalid,
}

/// How a run ended, and a sentence for it.
pub fn verdict(run: &Run) -> (Ending, String) {
    let goals = goals(run);
    let judged = |judgement| goals.iter().filter(|goal| goal.judgement == judgement).count();
    let (met, missed) = (judged(Judgement::Met), judged(Judgement::Missed));
    if !run.invalid.is_empty() {
        return (
            Ending::Invalid,
            "This run is not valid; do not plan with its figures.".to_owned(),
        );
    }
    if run.cut_short {
        let text = "The run was cut short; it tells only of the time until then.";
        return (Ending::CutShort, text.to_owned());
    }
    match (met, missed) {
        (0, 0) => (Ending::Missed, "Nothing was measured.".to_owned()),
        (_, 0) => (Ending::Held, format!("The server held: all {met} goals were met.")),
        (_, _) => {
            let word = if missed == 1 { "goal was" } else { "goals were" };
            let text =
                format!("The server did not hold: {missed} of {} {word} missed.", met + missed);
            (Ending::Missed, text)
        }
    }
}
