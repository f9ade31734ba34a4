//! `report.html`: one file that explains itself, with its style and drawings in it. It needs no network and no script, and reads in light, in
//! dark, on a phone and on paper.

use super::goals::{Goal, Judgement, goals};
use super::number::{date, over, percent, ratio, rounded, seconds, time_us};
use super::svg::{Markup, escaped};
use super::words::{Ending, label, label_name, verdict};
use super::{plots, story, tables};
use crate::storm::record::{Class, Run};
use crate::storm::tally::Tally;

const STYLE: &str = include_str!("page.css");

/// The page of a run; `whole` holds the latencies of all its seconds.
pub(super) fn render(run: &Run, whole: &Tally) -> String {
    let title = format!("{} {}: {}", run.scenario.id, run.scenario.title, run.about.server);
    let mut page = Markup::default();
    header(run, &mut page);
    headline(run, &mut page);
    section(&mut page, "What must hold", "goals", |page| goals_table(&goals(run), page));
    section(&mut page, "Coming back", "plots", |page| {
        page.raw(&plots::share_registered(run)).raw(&plots::goodput(run));
    });
    section(&mut page, "What the server was asked", "plots", |page| {
        page.raw(&plots::where_datagrams_went(run)).raw(&plots::offered_against_goodput(run));
    });
    section(&mut page, "How long it took", "plots", |page| {
        page.raw(&plots::by_percentile(whole)).raw(&plots::queue_age(run));
    });
    section(&mut page, "Calls meanwhile, and who came back", "plots", |page| {
        page.raw(&plots::calls(run)).raw(&tables::clients(run));
    });
    section(&mut page, "Did the generator keep up", "plots", |page| {
        for plot in plots::generator(run) {
            page.raw(&plot);
        }
    });
    section(&mut page, "Where every datagram went", "", |page| tables::reconciliation(run, page));
    section(&mut page, "Latencies", "", |page| tables::latencies(run, page));
    section(&mut page, "The scenario in words", "", |page| {
        tables::pairs(&story::scenario(run), page);
    });
    section(&mut page, "How to read this", "terms", |page| tables::pairs(&story::terms(), page));
    section(&mut page, "Where and how", "", |page| tables::environment(run, page));
    document(&title, &page.into_text())
}

/// A whole document around a body.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n\
         </body>\n</html>\n",
        escaped(title)
    )
}

pub(super) fn section(page: &mut Markup, title: &str, class: &str, fill: impl FnOnce(&mut Markup)) {
    page.raw(&format!("<section class=\"{class}\">")).element("h2", "", title);
    page.raw("<div class=\"in\">");
    fill(page);
    page.raw("</div></section>\n");
}

fn header(run: &Run, page: &mut Markup) {
    let (ending, sentence) = verdict(run);
    let class = match ending {
        Ending::Held => "held",
        Ending::Missed => "missed",
        Ending::CutShort => "cut",
        Ending::Invalid => "invalid",
    };
    page.raw(&format!("<header class=\"{class}\">"));
    page.element(
        "p",
        "over",
        &format!("Seawall storm report · {}", date(run.about.started_unix_secs)),
    );
    page.element("h1", "", &format!("{} {}", run.scenario.id, run.scenario.title));
    page.element("p", "verdict", &sentence);
    if !run.invalid.is_empty() {
        page.raw("<ul class=\"why\">");
        for why in &run.invalid {
            page.element("li", "", why);
        }
        page.raw("</ul>");
    }
    if run.seconds.iter().any(|second| second.at_secs > 0.0) {
        page.element("p", "lead", &format!("{} {}", story::played(run), story::became(run)));
    } else {
        page.element("p", "lead", "The run ended before anybody came.");
    }
    page.raw("<p class=\"chips\">");
    page.element("span", "chip label", &label_name(&run.about.label));
    page.element("span", "chip", &format!("against {}", run.about.server));
    page.element("span", "chip", &format!("at {}", run.about.target));
    if run.cut_short {
        page.element("span", "chip warn", "cut short");
    }
    page.element(
        "span",
        if run.invalid.is_empty() { "chip" } else { "chip warn" },
        if run.invalid.is_empty() { "valid" } else { "not valid" },
    );
    page.raw("</p>");
    page.element("p", "small", &format!("Figures are {}.", label(&run.about.label)));
    page.raw("</header>\n");
}

/// Four figures that an operator asks for first.
fn headline(run: &Run, page: &mut Markup) {
    let outcome = &run.outcome;
    let tile = |page: &mut Markup, figure: &str, name: &str, more: &str| {
        page.raw("<div>")
            .element("b", "", figure)
            .element("span", "", name)
            .element("small", "", more);
        page.raw("</div>");
    };
    page.raw("<div class=\"tiles\">");
    let t99 = outcome.registered_percent_secs.get(&99).copied();
    match t99 {
        Some(secs) => tile(
            page,
            &seconds(secs),
            "until 99 % were back",
            &outcome
                .t99_over_t_min
                .map_or(String::new(), |t| format!("{} times the shortest possible", ratio(t))),
        ),
        None => tile(
            page,
            &percent(outcome.registered_share),
            "were back at the end",
            "99 % were never reached",
        ),
    }
    tile(
        page,
        &percent(outcome.goodput_share),
        "of capacity put to use",
        &format!("of {} registrations/s", rounded(run.capacity.kappa)),
    );
    let latency = outcome.latency.get(Class::Reg200New.name()).filter(|of| of.count > 0);
    tile(
        page,
        &latency.map_or(super::number::NOTHING.to_owned(), |of| time_us(of.p99_us)),
        "for an admitted registration",
        "99th percentile",
    );
    let calls = &outcome.emergency_calls;
    match over(calls.answered as f64, (calls.answered + calls.refused + calls.lost) as f64) {
        Some(share) => tile(
            page,
            &percent(share),
            "of emergency calls answered",
            &format!("{} lost or refused", calls.refused + calls.lost),
        ),
        None => tile(
            page,
            &outcome.amplification.map_or(super::number::NOTHING.to_owned(), super::number::plain),
            "datagrams for each back",
            "copies and retries included",
        ),
    }
    page.raw("</div>\n");
}

pub(super) fn goals_table(goals: &[Goal], page: &mut Markup) {
    page.raw("<table class=\"goals\"><thead><tr><th>Goal</th><th class=\"n\">Measured</th><th class=\"n\">Asked</th><th></th></tr></thead><tbody>");
    for Goal { name, threshold, measured, judgement } in goals {
        let (class, word) = match judgement {
            Judgement::Met => ("met", "✓ met"),
            Judgement::Missed => ("missed", "✗ missed"),
            Judgement::NotMeasured => ("open", "not measured"),
            Judgement::Published => ("open", "as measured"),
        };
        page.raw(&format!("<tr class=\"{class}\">"));
        page.element("td", "", name)
            .element("td", "n", measured)
            .element("td", "n soft", threshold);
        page.raw("<td>").element("span", "pill", word).raw("</td></tr>");
    }
    page.raw("</tbody></table>");
}
