//! Metrics as text: the names, labels and help by which the world knows what the cores counted. It counts nothing.

mod families;
#[cfg(test)]
mod tests;

use super::names::NameCounts;
use super::snapshot::CoreSnapshot;
use crate::worker::Received;
use families::{Families, Labels, seconds};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use shards::auth::Cause;
use shards::io::{Class, Reason};
use std::fmt;

/// The media type of [`render`]'s text.
pub(in crate::control) const CONTENT_TYPE: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The state of a node as `OpenMetrics` text, which Prometheus reads.
pub(in crate::control) fn render(node: &NodeSnapshot) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(node.clone()));
    let mut text = String::new();
    // Writing into a String fails only where an encoder does, and then what was written so far would lie.
    if encode(&mut text, &registry).is_err() { String::new() } else { text }
}

/// All cores at one time.
#[derive(Clone, Debug)]
pub(in crate::control) struct NodeSnapshot {
    pub(in crate::control) name: String,
    pub(in crate::control) uptime_seconds: f64,
    pub(in crate::control) cores: Vec<CoreSnapshot>,
    /// Seconds since each core's loop last turned.
    pub(in crate::control) heartbeat_ages: Vec<f64>,
    /// What became of the names that cores asked for.
    pub(in crate::control) names: NameCounts,
}

/// A metric with one value a core: name, help, and where the value is.
type PerCore = (&'static str, &'static str, fn(&CoreSnapshot) -> u64);

const COUNTERS: &[PerCore] = &[
    ("sent_datagrams", "Datagrams handed to the kernel", |core| core.worker.sent),
    ("sent_bytes", "Bytes of datagrams handed to the kernel", |core| core.worker.sent_bytes),
    ("send_refused", "Datagrams that the kernel refused to send", |core| core.worker.send_refused),
    ("send_queued", "Datagrams that waited for room in the kernel", |core| core.worker.send_queued),
    ("send_dropped", "Datagrams dropped because too many waited", |core| core.worker.send_dropped),
    ("icmp_errors", "Errors that routers and peers reported", |core| core.worker.icmp_errors),
    ("local_errors", "Errors of this machine for datagrams sent", |core| core.worker.local_errors),
    ("hops_sent", "Datagrams moved to another core", |core| core.worker.hops_sent),
    ("hops_received", "Datagrams taken over from another core", |core| core.worker.hops_received),
    ("hops_dropped", "Datagrams dropped because a ring was full", |core| core.worker.hops_dropped),
    ("hops_refused", "Datagrams that were to move where they can't", |core| {
        core.worker.hops_refused
    }),
    ("letters_sent", "Letters written to another core", |core| core.worker.letters_sent),
    ("letters_received", "Letters from another core", |core| core.worker.letters_received),
    ("letters_dropped", "Letters lost because a ring was full", |core| core.worker.letters_dropped),
    ("questions_asked", "Names that the core wanted the addresses of", |core| {
        core.worker.questions_asked
    }),
    ("questions_dropped", "Names not asked for because too many waited", |core| {
        core.worker.questions_dropped
    }),
    ("wakes_sent", "Bells rung to wake another core", |core| core.worker.wakes_sent),
    ("errands", "Errands run for the control side", |core| core.worker.errands),
    ("rounds", "Rounds of the loop that found something to do", |core| core.worker.rounds),
    ("batches", "Reads that returned a datagram or more", |core| core.worker.batches),
    (
        "parks",
        "Times the core waited for its sockets, those included that found something at once",
        |core| core.worker.parks,
    ),
    ("absorbed", "Inputs that needed no answer", |core| core.shard.absorbed),
    ("bindings_created", "Bindings made", |core| core.shard.bindings_created),
    ("bindings_refreshed", "Bindings given a new expiry", |core| core.shard.bindings_refreshed),
    ("bindings_removed", "Bindings removed by their UA", |core| core.shard.bindings_removed),
    ("bindings_expired", "Bindings that reached their expiry", |core| core.shard.bindings_expired),
    (
        "bindings_replaced",
        "Bindings that made room for another of their address-of-record",
        |core| core.shard.bindings_replaced,
    ),
    ("location_full", "REGISTER requests refused because the location table was full", |core| {
        core.shard.location_full
    }),
    (
        "transactions_evicted",
        "Completed transactions forgotten before Timer J to make room",
        |core| core.gauges.completed_evicted,
    ),
    ("branches", "Copies of requests sent to next hops", |core| core.proxy.branches),
    ("retransmissions", "Messages sent again because nothing came back", |core| {
        core.proxy.retransmissions
    }),
    ("branch_timeouts", "Next hops that did not answer in time", |core| core.proxy.timeouts),
    ("branch_unreachable", "Next hops that could not be reached", |core| core.proxy.unreachable),
    ("own_responses", "Final responses of our own to requests being passed on", |core| {
        core.proxy.own_responses
    }),
    ("cancels_sent", "CANCEL requests sent to next hops", |core| core.proxy.cancels),
    ("acks_forwarded", "ACK requests passed on", |core| core.proxy.acks),
    ("unacknowledged", "Final responses to an INVITE that nobody acknowledged", |core| {
        core.proxy.unacknowledged
    }),
    ("look_ups", "Addresses-of-record looked up on another core", |core| core.proxy.look_ups),
    ("look_ups_repeated", "Look-ups asked again because no answer came", |core| {
        core.proxy.look_ups_repeated
    }),
    ("names_wanted", "Next hops that were names", |core| core.proxy.names),
    ("bad_cookies", "Routes of ours without a cookie that is good", |core| core.proxy.bad_cookies),
    (
        "pending_evicted",
        "Requests and branches forgotten before their time to make room, after their final response",
        |core| core.gauges.calls.evicted,
    ),
];

/// A metric with one value a node.
type PerNode = (&'static str, &'static str, fn(&NameCounts) -> u64);

const NAMES: &[PerNode] = &[
    ("names_asked", "Names whose addresses cores asked for", |names| names.asked),
    ("names_answered", "Names answered with addresses", |names| names.answered),
    ("names_failed", "Names without addresses, or without an answer in time", |names| names.failed),
    ("names_refused", "Names refused because too many were asked for", |names| names.refused),
];

const GAUGES: &[PerCore] = &[
    ("bindings", "Bindings held", |core| core.gauges.bindings as u64),
    ("aors", "Addresses-of-record with at least one binding", |core| core.gauges.aors as u64),
    ("arena_used_bytes", "Bytes of strings of bindings in use", |core| {
        core.gauges.arena_used_bytes as u64
    }),
    ("arena_bytes", "Bytes reserved for strings of bindings", |core| {
        core.gauges.arena_bytes as u64
    }),
    (
        "transactions",
        "Requests that are being passed on, those included that have settled",
        |core| core.gauges.calls.transactions.into(),
    ),
    ("transactions_settled", "Requests whose final response was sent", |core| {
        core.gauges.calls.settled.into()
    }),
    ("branches_held", "Copies of requests that are on their way", |core| {
        core.gauges.calls.branches.into()
    }),
];

/// A metric with one value a core and kind of socket.
type PerSocket = (&'static str, &'static str, fn(&Received) -> u64);

const RECEIVED: &[PerSocket] = &[
    ("received_datagrams", "Datagrams read from sockets", |of| of.datagrams),
    ("received_bytes", "Bytes of datagrams read from sockets", |of| of.bytes),
    ("truncated", "Datagrams longer than limits.message_bytes, dropped", |of| of.truncated),
    ("kernel_overflow", "Datagrams the kernel dropped because a socket was full", |of| {
        of.overflowed
    }),
];

impl Collector for NodeSnapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families { encoder, cores: &self.cores };
        families.info(&self.name)?;
        let uptime = [(Labels(Vec::new()), self.uptime_seconds)];
        families.seconds("uptime_seconds", "Time since the node started", &uptime)?;
        for (name, help, value) in COUNTERS {
            families.counter(name, help, |core, add| add(&[], value(core)))?;
        }
        for (name, help, value) in NAMES {
            families.total(name, help, value(&self.names))?;
        }
        for (name, help, value) in GAUGES {
            families.gauge(name, help, |core, add| add(&[], value(core)))?;
        }
        families.counter("inputs", "Inputs handled, by class", |core, add| {
            for class in Class::ALL {
                add(&[("class", class.label())], core.shard.inputs[class.index()])?;
            }
            Ok(())
        })?;
        families.counter(
            "verdicts",
            "What became of the inputs; they sum up to the inputs",
            |core, add| {
                let (accepted, refused) = answered(core);
                let dropped = core.shard.dropped.iter().sum();
                add(&[("verdict", "replied")], accepted)?;
                add(&[("verdict", "refused")], refused)?;
                add(&[("verdict", "forwarded")], core.shard.forwarded)?;
                add(&[("verdict", "held")], core.shard.held)?;
                add(&[("verdict", "hopped")], core.shard.hopped)?;
                add(&[("verdict", "absorbed")], core.shard.absorbed)?;
                add(&[("verdict", "dropped")], dropped)
            },
        )?;
        families.counter("responses", "Final responses sent, by status code", |core, add| {
            for (status, count) in core.shard.responses() {
                add(&[("code", &status.to_string())], count)?;
            }
            Ok(())
        })?;
        families.counter(
            "dropped",
            "Inputs dropped without an answer, by reason",
            |core, add| {
                for reason in Reason::ALL {
                    add(&[("reason", reason.label())], core.shard.dropped[reason.index()])?;
                }
                Ok(())
            },
        )?;
        families.counter(
            "unauthenticated",
            "Requests that did not show whose they are, by cause",
            |core, add| {
                for cause in Cause::ALL {
                    let both = [&core.shard.challenged, &core.proxy.challenged];
                    let count = both.map(|causes| causes[cause.index()]).iter().sum();
                    add(&[("cause", cause.label())], count)?;
                }
                Ok(())
            },
        )?;
        for (name, help, value) in RECEIVED {
            families.counter(name, help, |core, add| {
                add(&[("socket", "register")], value(&core.worker.register))?;
                add(&[("socket", "rest")], value(&core.worker.rest))
            })?;
        }
        let times = |of: fn(&CoreSnapshot) -> u64| -> Vec<(Labels, f64)> {
            (0..)
                .zip(&self.cores)
                .map(|(id, core)| (Labels::of(id, &[]), seconds(of(core))))
                .collect()
        };
        let parked = times(|core| core.worker.parked_ns);
        families.seconds_counter("parked_seconds", "Time that the core was not needed", &parked)?;
        let errands = times(|core| core.worker.errands_ns);
        families.seconds_counter("errands_seconds", "Time spent on errands", &errands)?;
        let ages: Vec<(Labels, f64)> = (0..)
            .zip(&self.heartbeat_ages)
            .map(|(core, &age)| (Labels::of(core, &[]), age))
            .collect();
        families.seconds(
            "heartbeat_age_seconds",
            "Time since the core's loop last turned",
            &ages,
        )?;
        let service = "Time to handle an input, by class";
        families.histogram("service_seconds", service, |core, class| {
            core.worker.service_time.of(class)
        })?;
        let age = "Time that an input waited in the kernel before it was read, by class";
        families.histogram("queue_age_seconds", age, |core, class| core.worker.queue_age.of(class))
    }
}

/// Final responses of success, and the others.
fn answered(core: &CoreSnapshot) -> (u64, u64) {
    core.shard.responses().fold((0, 0), |(accepted, refused), (status, count)| match status {
        ..300 => (accepted + count, refused),
        300.. => (accepted, refused + count),
    })
}
