//! What a page tells in tables: clients, reconciliation, latencies, the environment.

use super::chart::without;
use super::number::{date, grouped, over, percent, plain, rounded, seconds, time_us};
use super::svg::{Markup, escaped};
use super::words::label;
use crate::storm::record::{Class, Run};
use crate::storm::scenario::Retry;

/// Retries by client profile, as a figure beside the plots.
pub(super) fn clients(run: &Run) -> String {
    let title = "Retries by client";
    let by_client = &run.outcome.by_client;
    if by_client.is_empty() {
        return without(title, "The run ended before it could tell.");
    }
    let mut table = Markup::default();
    table.raw("<figure class=\"table\"><figcaption>").element("h3", "", title);
    table.element(
        "p",
        "",
        "Each kind of client, when it tries again after silence, and how long it took from its first datagram until it was registered.",
    );
    table.raw("</figcaption><table><thead><tr>");
    for (class, name) in [
        ("", "Client"),
        ("n", "again after"),
        ("n", "how many"),
        ("n", "attempts each"),
        ("n", "back"),
        ("n", "median"),
        ("n", "99 %"),
    ] {
        table.element("th", class, name);
    }
    table.raw("</tr></thead><tbody>");
    for (name, of) in by_client {
        let retry = run
            .scenario
            .clients
            .iter()
            .find(|client| client.name == *name)
            .map(|client| client.retry);
        let after = match retry {
            Some(Retry::Fixed { after_timeout_secs, .. }) => seconds(after_timeout_secs),
            Some(Retry::Backoff { base_secs, .. }) => format!("{}, doubled", seconds(base_secs)),
            None => String::new(),
        };
        let count = of.user_agents as f64;
        let share = |part: f64, text: fn(f64) -> String| {
            over(part, count).map_or(super::number::NOTHING.to_owned(), text)
        };
        let of_registered = |secs: f64| {
            if of.registered > 0 { seconds(secs) } else { super::number::NOTHING.to_owned() }
        };
        table.raw("<tr>").element("td", "", name);
        for text in [
            after,
            grouped(of.user_agents),
            share(of.attempts as f64, plain),
            share(of.registered as f64, percent),
            of_registered(of.p50_secs),
            of_registered(of.p99_secs),
        ] {
            table.element("td", "n", &text);
        }
        table.raw("</tr>");
    }
    table.raw("</tbody></table></figure>");
    table.into_text()
}

/// Sent = answered + refused + dropped, to the datagram.
pub(super) fn reconciliation(run: &Run, page: &mut Markup) {
    let of = &run.reconciliation;
    let known = |count: Option<u64>| count.map_or("not told".to_owned(), grouped);
    let rows: [(&str, &str, String); 9] = [
        ("sum", "Sent to the server", grouped(of.sent)),
        ("", "Answered, refusals among them", grouped(of.answered)),
        ("sub", "of them refusals", grouped(of.refused)),
        ("", "Not to be answered: ACK, keep-alives, responses", grouped(of.not_to_be_answered)),
        ("", "Read and dropped by the server, by its own count", known(of.dropped_by_server)),
        (
            "",
            "Dropped by the kernel at the server's sockets",
            grouped(of.dropped_at_server_sockets),
        ),
        (
            "",
            "Dropped by the kernel before that (softnet, the whole machine's)",
            grouped(of.dropped_in_backlog),
        ),
        ("", "Dropped at the generator's own sockets", grouped(of.dropped_at_own_sockets)),
        (
            "sum",
            "Not accounted for",
            if of.unaccounted < 0 {
                format!("−{}", grouped(of.unaccounted.unsigned_abs()))
            } else {
                grouped(of.unaccounted.unsigned_abs())
            },
        ),
    ];
    page.raw("<table class=\"narrow\"><tbody>");
    for (class, name, count) in rows {
        page.raw(&format!("<tr class=\"{class}\">"))
            .element("td", "", name)
            .element("td", "n", &count);
        let share = if of.sent > 0 && class != "sum" {
            count.replace(',', "").parse::<f64>().ok()
        } else {
            None
        };
        page.element(
            "td",
            "n soft",
            &share.and_then(|count| over(count, of.sent as f64)).map_or(String::new(), percent),
        );
        page.raw("</tr>");
    }
    page.raw("</tbody></table>");
    if of.sent == 0 {
        page.element("p", "small", "Nothing was sent.");
        return;
    }
    let verdict =
        if of.reconciles { "The counts reconcile" } else { "The counts do not reconcile" };
    let note = if of.note.is_empty() { String::new() } else { format!(": {}", of.note) };
    page.element("p", "small", &format!("{verdict}{note}."));
    if let Some(read) = of.read_by_server {
        page.element("p", "small", &format!("The server says that it read {}.", grouped(read)));
    }
    let mut reasons = std::collections::BTreeMap::<&str, u64>::new();
    for (reason, count) in run.seconds.iter().flat_map(|second| &second.server_drops) {
        *reasons.entry(reason).or_default() += count;
    }
    if !reasons.is_empty() {
        let parts: Vec<String> =
            reasons.iter().map(|(reason, count)| format!("{reason} {}", grouped(*count))).collect();
        page.element(
            "p",
            "small",
            &format!("Dropped by the server, by its reasons: {}.", parts.join(", ")),
        );
    }
}

/// Percentiles of each class.
pub(super) fn latencies(run: &Run, page: &mut Markup) {
    if run.outcome.latency.values().all(|of| of.count == 0) {
        page.element("p", "", "Nothing was answered.");
        return;
    }
    page.element("p", "", "From when the first datagram was due, so that a delay of the generator itself counts. The last column is the 99th percentile before the storm.");
    page.raw("<table><thead><tr><th>Class</th>");
    for name in ["count", "median", "90 %", "99 %", "99.9 %", "longest", "99 % before"] {
        page.element("th", "n", name);
    }
    page.raw("</tr></thead><tbody>");
    for class in Class::ALL {
        let Some(of) = run.outcome.latency.get(class.name()).filter(|of| of.count > 0) else {
            continue;
        };
        let before = run.outcome.latency_before.get(class.name()).filter(|of| of.count > 0);
        page.raw("<tr>").element("td", "", class.name()).element("td", "n", &grouped(of.count));
        for us in [of.p50_us, of.p90_us, of.p99_us, of.p999_us, of.max_us] {
            page.element("td", "n", &time_us(us));
        }
        page.element("td", "n soft", &before.map_or(String::new(), |of| time_us(of.p99_us)));
        page.raw("</tr>");
    }
    page.raw("</tbody></table>");
}

/// Terms and what is said of them.
pub(super) fn pairs(pairs: &[(&'static str, String)], page: &mut Markup) {
    page.raw("<dl>");
    for (term, text) in pairs {
        page.raw("<div>").element("dt", "", term).element("dd", "", text).raw("</div>");
    }
    page.raw("</dl>");
}

/// Machine, versions, capacity, command.
pub(super) fn environment(run: &Run, page: &mut Markup) {
    let about = &run.about;
    let capacity = &run.capacity;
    let mut told = vec![
        ("When", date(about.started_unix_secs)),
        ("Command", about.command.clone()),
        ("Version", about.version.clone()),
        ("Server", format!("{} at {}", about.server, about.target)),
        ("Figures", label(&about.label)),
        (
            "Machine",
            format!(
                "{}, {} CPUs; server on {}, generator on {}; Linux {}",
                about.cpu,
                about.cpus,
                about.server_cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
                about.generator_cpu,
                about.kernel
            ),
        ),
        ("Seed", about.seed.to_string()),
        (
            "Capacity",
            format!(
                "{} registrations/s{}",
                rounded(capacity.kappa),
                capacity.registration_us.map_or(String::new(), |us| format!(
                    ", {} of the server's CPU each",
                    time_us(us)
                ))
            ),
        ),
        (
            "Generator",
            format!(
                "{} messages/s each way and {} registrations/s against an echo; {} datagrams/s when nothing comes back",
                rounded(capacity.echo_messages_per_second),
                rounded(capacity.echo_registrations_per_second),
                rounded(capacity.send_only_per_second)
            ),
        ),
    ];
    if let Some(r) = capacity.refusal_cost {
        told.push((
            "A refusal",
            format!("costs {} of a registration, as measured in the storm", percent(r)),
        ));
    }
    pairs(&told, page);
    if let Some(configuration) = &about.server_configuration {
        page.raw(&format!(
            "<details><summary>The server's configuration</summary><pre>{}</pre></details>",
            escaped(configuration)
        ));
    }
}
