//! Where every datagram went, and whether a run may be believed. It is arithmetic on what others counted.

use super::kernel::Counters;
use super::metrics::Scrape;
use crate::storm::record::Reconciliation;

/// What was counted of a whole run, from before its first datagram until nothing came any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    /// Datagrams handed to the kernel for the server.
    pub(super) sent: u64,
    /// Datagrams read from our sockets.
    pub(super) read: u64,
    /// Of those final responses: any to a REGISTER or OPTIONS, and in calls those that were waited for.
    pub(super) answers: u64,
    /// Requests that ended in a refusal.
    pub(super) refused: u64,
    /// Datagrams sent that nobody answers: ACKs, responses, CRLFs.
    pub(super) not_to_be_answered: u64,
    /// What the kernel counted.
    pub(super) kernel: Counters,
    /// What the server counted, where it has metrics that are understood.
    pub(super) server: Option<Scrape>,
    /// The server died on purpose, and its counts with it.
    pub(super) restarted: bool,
}

/// Settles what became of what was sent.
pub(super) fn reconcile(sums: &Sums) -> Reconciliation {
    let mut settled = Reconciliation {
        sent: sums.sent,
        refused: sums.refused,
        dropped_at_server_sockets: sums.kernel.server_drops,
        dropped_in_backlog: sums.kernel.backlog_drops,
        dropped_at_own_sockets: sums.kernel.own_drops,
        ..Reconciliation::default()
    };
    match &sums.server {
        Some(server) if !sums.restarted => by_metrics(&mut settled, sums, server),
        Some(_) | None => by_answers(&mut settled, sums),
    }
    settled
}

/// The server says itself what it did with each datagram, so that nothing may be left over.
fn by_metrics(settled: &mut Reconciliation, sums: &Sums, server: &Scrape) {
    let verdicts = |names: &[&str]| names.iter().map(|name| server.verdict(name)).sum::<u64>();
    let dropped: u64 = server.dropped.values().sum();
    settled.read_by_server = Some(server.received);
    settled.answered = verdicts(&["replied", "refused"]);
    settled.not_to_be_answered =
        verdicts(&["forwarded", "held", "hopped", "absorbed"]) + server.keep_alives;
    settled.dropped_by_server = Some(dropped);
    settled.unaccounted = difference(
        settled.sent,
        settled.answered
            + settled.not_to_be_answered
            + dropped
            + settled.dropped_at_server_sockets
            + settled.dropped_in_backlog,
    );
    let unread = difference(server.sent, sums.read + settled.dropped_at_own_sockets);
    settled.reconciles = settled.unaccounted == 0 && unread == 0;
    settled.note = match (settled.unaccounted, unread) {
        (0, 0) => "Every datagram sent is found in the server's own counts or in the kernel's drops, and every datagram that the \
                   server sent was read. Not to be answered is what the server absorbed or passed on."
            .to_owned(),
        (left, 0) => format!(
            "{left} of the datagrams sent are neither in the server's own counts nor in the kernel's drops."
        ),
        (left, unread) => format!(
            "{left} of the datagrams sent are neither in the server's own counts nor in the kernel's drops, and {unread} of those \
             that the server sent were not read."
        ),
    };
}

/// What is not answered cannot be told from what a server absorbed in silence; only more answers than requests would be wrong. The kernel drops
/// at a socket whatever comes, so that some of what nobody answers is among its drops, and must not be counted twice.
fn by_answers(settled: &mut Reconciliation, sums: &Sums) {
    let dropped = settled.dropped_at_server_sockets + settled.dropped_in_backlog;
    settled.answered = sums.answers;
    let neither = difference(settled.sent, sums.answers + dropped);
    let taken_in = u64::try_from(neither).unwrap_or(0);
    settled.not_to_be_answered = sums.not_to_be_answered.min(taken_in);
    settled.unaccounted =
        difference(settled.sent, sums.answers + dropped + settled.not_to_be_answered);
    // A server may answer one datagram twice, where it repeats a final response by itself.
    let tolerated = i64::try_from(sums.sent / 1000).unwrap_or(i64::MAX);
    let unasked = difference(sums.answers, sums.sent.saturating_sub(sums.not_to_be_answered));
    settled.reconciles = settled.unaccounted >= -tolerated && unasked <= tolerated;
    settled.note = if !settled.reconciles {
        "More answers came than datagrams were sent that ask for one.".to_owned()
    } else if sums.restarted {
        format!(
            "The server that died has taken its counts with it, and so what it had read and what waited for it. What is left over was \
             lost with it, or absorbed in silence; {} of it found no socket while there was none.",
            sums.kernel.no_port
        )
    } else {
        "The server has no metrics that are understood: what is left over was absorbed or dropped by it in silence.".to_owned()
    };
}

/// What the generator's own trouble was.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// How late sends were at the 99th percentile, in microseconds.
    pub(super) lateness_p99_us: f64,
    /// How often the kernel could not take a datagram at once.
    pub(super) blocked: u64,
    /// Share of time in which its thread did not run although it wanted to.
    pub(super) preempted: f64,
    /// Why kappa may be the generator's own.
    pub(super) kappa: Option<String>,
    /// The server ended by itself.
    pub(super) server_ended: Option<String>,
}

/// Lateness beyond which latencies are not the server's alone: a hundredth of the first retransmission.
const LATENESS_P99_US_MAX: f64 = 5_000.0;
const PREEMPTED_SHARE_MAX: f64 = 0.05;
/// One of so many sends may wait for the kernel.
const BLOCKED_OF_MAX: u64 = 1_000;

/// Why a run may not be believed.
pub(super) fn invalid(settled: &Reconciliation, trouble: &Trouble) -> Vec<String> {
    let mut why = Vec::new();
    if let Some(log) = &trouble.server_ended {
        why.push(format!("the server ended by itself during the run:\n{log}"));
    }
    if settled.dropped_at_own_sockets > 0 {
        let dropped = settled.dropped_at_own_sockets;
        why.push(format!(
            "the generator's own sockets overflowed: {dropped} datagrams were dropped there"
        ));
    }
    if trouble.lateness_p99_us > LATENESS_P99_US_MAX {
        let late_ms = trouble.lateness_p99_us / 1e3;
        why.push(format!(
            "the generator fell behind: 1 % of what was due left more than {late_ms:.1} ms late"
        ));
    }
    if trouble.blocked * BLOCKED_OF_MAX > settled.sent {
        let blocked = trouble.blocked;
        why.push(format!("the kernel had no room for what the generator sent, {blocked} times"));
    }
    if trouble.preempted > PREEMPTED_SHARE_MAX {
        let percent = trouble.preempted * 100.0;
        why.push(format!("something else had the generator's CPU for {percent:.0} % of the time"));
    }
    if let Some(kappa) = &trouble.kappa {
        why.push(format!("kappa may be the generator's limit and not the server's: {kappa}"));
    }
    if !settled.reconciles {
        why.push(format!("the counts do not reconcile: {}", settled.note));
    }
    why
}

fn difference(whole: u64, parts: u64) -> i64 {
    let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
    signed(whole) - signed(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums() -> Sums {
        let server = Scrape {
            received: 900,
            sent: 820,
            verdicts: [("replied", 500), ("refused", 300), ("absorbed", 60), ("forwarded", 20)]
                .map(|(name, count)| (name.to_owned(), count))
                .into(),
            dropped: [("too-old".to_owned(), 20)].into(),
            ..Scrape::default()
        };
        Sums {
            sent: 1000,
            read: 820,
            answers: 800,
            refused: 40,
            not_to_be_answered: 30,
            kernel: Counters { server_drops: 100, ..Counters::default() },
            server: Some(server),
            restarted: false,
        }
    }

    #[test]
    fn with_metrics_nothing_may_be_left_over() {
        let settled = reconcile(&sums());
        assert!(settled.reconciles && settled.unaccounted == 0, "{settled:?}");
        assert_eq!((settled.answered, settled.not_to_be_answered), (800, 80));
        assert!(invalid(&settled, &Trouble::default()).is_empty());

        let missing = reconcile(&Sums { sent: 1001, ..sums() });
        assert!(!missing.reconciles && missing.unaccounted == 1, "{missing:?}");
        let why = invalid(&missing, &Trouble::default());
        assert!(why[0].contains("1 of the datagrams sent"), "{why:?}");

        let unread = reconcile(&Sums { read: 819, ..sums() });
        assert!(!unread.reconciles && unread.note.contains("1 of those"), "{unread:?}");
    }

    #[test]
    fn without_metrics_silence_is_possible_and_too_many_answers_are_not() {
        let silent = reconcile(&Sums { server: None, ..sums() });
        assert!(silent.reconciles && silent.unaccounted == 70, "{silent:?}");
        assert_eq!((silent.read_by_server, silent.dropped_by_server), (None, None));
        // What was dropped and what was answered leave no room for more.
        let chatty = reconcile(&Sums { server: None, answers: 902, ..sums() });
        assert!(!chatty.reconciles && chatty.note.starts_with("More answers"), "{chatty:?}");
        // Nothing was dropped, and more was answered than asked.
        let kernel = Counters::default();
        let chatty = reconcile(&Sums { server: None, answers: 972, kernel, ..sums() });
        assert!(!chatty.reconciles && chatty.note.starts_with("More answers"), "{chatty:?}");
        let kernel = Counters { no_port: 123, ..sums().kernel };
        let restarted = reconcile(&Sums { restarted: true, sent: 1500, kernel, ..sums() });
        assert!(restarted.note.contains("123 of it"), "{restarted:?}");
        assert!(restarted.reconciles && restarted.unaccounted == 570, "{restarted:?}");
    }

    #[test]
    fn what_nobody_answers_may_be_among_the_drops_and_is_not_counted_twice() {
        let settled = reconcile(&Sums { server: None, answers: 890, ..sums() });
        assert!(settled.reconciles && settled.unaccounted == 0, "{settled:?}");
        assert_eq!(settled.not_to_be_answered, 10, "20 of the 30 were dropped");
    }

    #[test]
    fn a_generator_that_fell_behind_says_how() {
        let settled = reconcile(&Sums {
            kernel: Counters { server_drops: 100, own_drops: 3, ..Counters::default() },
            read: 817,
            ..sums()
        });
        assert!(settled.reconciles, "{settled:?}");
        let trouble = Trouble {
            lateness_p99_us: 6000.0,
            blocked: 2,
            preempted: 0.2,
            kappa: Some("busy".into()),
            server_ended: Some("panicked".into()),
        };
        let why = invalid(&settled, &trouble).join("; ");
        for part in ["3 datagrams", "6.0 ms", "2 times", "20 %", "busy", "panicked"] {
            assert!(why.contains(part), "{part}: {why}");
        }
    }
}
