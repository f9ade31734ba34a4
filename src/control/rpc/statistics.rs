//! `stats.get_statistics`: what the cores have published, summed up under the names of Kamailio's groups where Kamailio has such
//! a figure, and under `seawall:` where it has none. It asks no core.

use super::{Fault, Params};
use crate::control::CoreSnapshot;
use serde_json::Value;
use shards::io::{Class, Reason};
use std::ops::RangeInclusive;

/// Group, name, and where the value is.
type Statistic = (&'static str, &'static str, fn(&CoreSnapshot) -> u64);

const STATISTICS: &[Statistic] = &[
    ("core", "drop_replies", |core| dropped(core, &[Reason::BadResponse, Reason::NoTransaction])),
    ("core", "drop_requests", |core| {
        dropped(core, &[Reason::BadRequest, Reason::Amplifies, Reason::ResponseTooLarge])
    }),
    ("core", "rcv_replies", |core| input(core, Class::Response)),
    ("core", "rcv_requests", |core| REQUESTS.iter().map(|&class| input(core, class)).sum()),
    ("core", "rcv_requests_ack", |core| input(core, Class::Ack)),
    ("core", "rcv_requests_cancel", |core| input(core, Class::Cancel)),
    ("core", "rcv_requests_options", |core| input(core, Class::Options)),
    ("core", "rcv_requests_register", |core| {
        REGISTERS.iter().map(|&class| input(core, class)).sum()
    }),
    ("registrar", "accepted_regs", |core| REGISTERS.iter().map(|&class| input(core, class)).sum()),
    ("sl", "1xx_replies", |core| sent(core, 100..=199)),
    ("sl", "200_replies", |core| sent(core, 200..=200)),
    ("sl", "2xx_replies", |core| sent(core, 200..=299)),
    ("sl", "3xx_replies", |core| sent(core, 300..=399)),
    ("sl", "400_replies", |core| sent(core, 400..=400)),
    ("sl", "401_replies", |core| sent(core, 401..=401)),
    ("sl", "403_replies", |core| sent(core, 403..=403)),
    ("sl", "404_replies", |core| sent(core, 404..=404)),
    ("sl", "4xx_replies", |core| sent(core, 400..=499)),
    ("sl", "500_replies", |core| sent(core, 500..=500)),
    ("sl", "5xx_replies", |core| sent(core, 500..=599)),
    ("sl", "6xx_replies", |core| sent(core, 600..=699)),
    ("sl", "sent_replies", |core| sent(core, 100..=699)),
    ("usrloc", "location-contacts", |core| core.gauges.bindings as u64),
    ("usrloc", "location-expires", |core| core.shard.bindings_expired),
    ("usrloc", "location-users", |core| core.gauges.aors as u64),
    ("usrloc", "registered_users", |core| core.gauges.aors as u64),
    ("tmx", "active_transactions", |core| {
        (core.gauges.calls.transactions - core.gauges.calls.settled).into()
    }),
    ("tmx", "inuse_transactions", |core| core.gauges.calls.transactions.into()),
    ("seawall", "bindings_created", |core| core.shard.bindings_created),
    ("seawall", "bindings_refreshed", |core| core.shard.bindings_refreshed),
    ("seawall", "bindings_removed", |core| core.shard.bindings_removed),
    ("seawall", "bindings_replaced", |core| core.shard.bindings_replaced),
    ("seawall", "duplicates", |core| input(core, Class::Duplicate)),
    ("seawall", "errands", |core| core.worker.errands),
    ("seawall", "hops_dropped", |core| core.worker.hops_dropped),
    ("seawall", "hops_received", |core| core.worker.hops_received),
    ("seawall", "keepalives", |core| input(core, Class::Keepalive)),
    ("seawall", "kernel_overflow", |core| {
        core.worker.register.overflowed + core.worker.rest.overflowed
    }),
    ("seawall", "letters_dropped", |core| core.worker.letters_dropped),
    ("seawall", "location_full", |core| core.shard.location_full),
    ("seawall", "questions_dropped", |core| core.worker.questions_dropped),
    ("seawall", "string_bytes_used", |core| core.gauges.arena_used_bytes as u64),
    ("seawall", "transactions_evicted", |core| core.gauges.completed_evicted),
];

const REGISTERS: &[Class] =
    &[Class::RegisterNew, Class::RegisterRefresh, Class::RegisterRemove, Class::RegisterQuery];

const REQUESTS: &[Class] = &[
    Class::Duplicate,
    Class::RegisterNew,
    Class::RegisterRefresh,
    Class::RegisterRemove,
    Class::RegisterQuery,
    Class::Options,
    Class::Invite,
    Class::InDialog,
    Class::Request,
    Class::RequestChallenged,
    Class::Cancel,
    Class::Refusal,
    Class::Ack,
];

fn input(core: &CoreSnapshot, class: Class) -> u64 {
    core.shard.inputs[class.index()]
}

fn sent(core: &CoreSnapshot, codes: RangeInclusive<u16>) -> u64 {
    let responses = core.shard.responses().filter(|(code, _)| codes.contains(code));
    responses.map(|(_, count)| count).sum()
}

fn dropped(core: &CoreSnapshot, reasons: &[Reason]) -> u64 {
    reasons.iter().map(|reason| core.shard.dropped[reason.index()]).sum()
}

/// `stats.get_statistics all`, `group:`, `group:name` or `name`, and several of them.
pub(super) fn select(cores: &[CoreSnapshot], params: Option<Value>) -> Result<Value, Fault> {
    let wanted = Params::all_texts(params)?;
    if wanted.is_empty() {
        return Err(Fault::params(
            "expected `all`, a group as in `usrloc:`, or the name of a statistic",
        ));
    }
    let mut lines = Vec::new();
    for wanted in &wanted {
        let before = lines.len();
        for (group, name, value) in STATISTICS {
            let is_wanted = match wanted.split_once(':') {
                None => wanted == "all" || wanted == name,
                Some((of, "")) => of == *group,
                Some((of, one)) => of == *group && one == *name,
            };
            if is_wanted {
                let sum: u64 = cores.iter().map(value).sum();
                lines.push(Value::from(format!("{group}:{name} = {sum}")));
            }
        }
        if lines.len() == before {
            return Err(Fault::params(format!("there is no statistic or group `{wanted}`")));
        }
    }
    Ok(Value::Array(lines))
}
