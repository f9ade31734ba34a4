//! `seawall run`: brings a node of shards up as configured, waits for signals, and takes it down in good order. It knows
//! the parts and their order, and does none of their work.

use crate::cli::summary;
use crate::config::{
    Config, Limits, existing_secret, mebibytes, memory_bytes, number_of_start, secret,
};
use crate::control::{
    Admin, CoreSnapshot, Cores, Directory, Names, Observed, Parts, Token, log, notify,
};
use crate::node::{self, ERRANDS, Plan, Rings, Running, Sockets};
use crate::reload::Reload;
use crate::subscribers;
use crate::sys;
use crate::sys::signal::{Signal, Signals};
use crate::worker::{self, Board, Clock, Handler};
use shards::auth::Subscribers;
use shards::io::{CoreId, Datagram, Input, Instant, Outbox, Outcome, UnixTime};
use shards::proxy;
use shards::shard::{Errand, Gauges, Homes, Keys, Metrics, Settings, Shard};
use shards::store::Prefetch;
use std::io::ErrorKind;
use std::net::{IpAddr, TcpListener};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tracing::{info, warn};

/// Which cores the kernel delivers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// Every core receives, and is the home of its share.
    ToHomes,
    /// The first core receives everything and is the home of nothing, so that every datagram moves.
    ToTheFirstCore,
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// One sentence about what this machine does not give.
///
/// # Panics
/// Where everything goes to the first core and there is no other.
pub fn serve(config: &Config, delivery: Delivery) -> Result<(), String> {
    log::init();
    end_on_panic();
    // Before any thread starts, so that none of them takes a signal.
    let signals = Signals::block().map_err(|error| format!("signals can't be blocked: {error}"))?;
    let limits = Limits::derive(config);
    info!("seawall {}", env!("CARGO_PKG_VERSION"));
    for line in summary(config, &limits) {
        info!("{line}");
    }
    fits(limits.total_bytes(), memory_bytes())?;
    let listener = bind_admin(config)?;
    let token = token(config)?;
    let keys = keys(config)?;
    let subscribers = subscribers(config, &keys)?;
    let settings = settings(config, &limits, &keys, &subscribers, delivery);
    let directory = Directory::new(&settings[0]);
    let mut running = start(config, &limits, delivery, settings)?;
    for remark in &running.remarks {
        info!("{remark}");
    }
    let watched = Arc::new(Watched {
        boards: running.boards.clone(),
        clock: running.clock,
        draining: AtomicBool::new(false),
    });
    let switchboard = running.switchboard.take().expect("the node has just started");
    let parts = Parts {
        name: config.node.name.clone(),
        observed: Arc::clone(&watched) as _,
        cores: Cores::new(switchboard, ERRANDS),
        directory,
        names: names(config),
        token: token.clone(),
    };
    let admin = Admin::start(listener, parts)
        .map_err(|error| format!("the admin thread can't be started: {error}"))?;
    info!("ready");
    tell_manager(notify::ready());

    wait_for_end(
        &signals,
        &Reload { running: config, names: keys.auth.names, token, admin: &admin },
    )?;
    info!("draining; a second signal ends at once");
    watched.draining.store(true, Ordering::Relaxed);
    tell_manager(notify::stopping());
    running.drain();
    end_on_signal(signals)?;
    let drained = running.join();
    log::finish();
    if !drained {
        return Err("a worker did not end in time; what it had not sent yet is lost".to_owned());
    }
    info!("drained");
    Ok(())
}

/// What is reserved is occupied only as it is used, but it has to be there when it is.
fn fits(reserved: usize, machine: Option<usize>) -> Result<(), String> {
    match machine {
        Some(machine) if reserved > machine => Err(format!(
            "the configuration reserves {}, and this machine has {}: lower location.max_bindings, location.binding_bytes or proxy.max_transactions",
            mebibytes(reserved),
            mebibytes(machine)
        )),
        Some(_) | None => Ok(()),
    }
}

/// The admin address comes first: where it is in use, nothing has served yet.
fn bind_admin(config: &Config) -> Result<Option<TcpListener>, String> {
    let Some(admin) = &config.admin else { return Ok(None) };
    let error = match Admin::bind(admin.listen) {
        Ok(listener) => return Ok(Some(listener)),
        Err(error) => error,
    };
    let reason = if error.kind() == ErrorKind::AddrInUse {
        "it is in use".to_owned()
    } else if error.kind() == ErrorKind::AddrNotAvailable {
        "no interface has this address".to_owned()
    } else {
        error.to_string()
    };
    let sentence = format!("the admin address tcp {} can't be bound: {reason}", admin.listen);
    if admin.required {
        return Err(sentence);
    }
    warn!("{sentence}; going on without metrics and health");
    Ok(None)
}

/// The token of the admin address, where it has one.
fn token(config: &Config) -> Result<Option<Arc<Token>>, String> {
    let file = config.admin.as_ref().and_then(|admin| admin.token_file.clone());
    let token = file.map(Token::load).transpose();
    let token = token.map_err(|error| format!("the admin token can't be had: {error}"))?;
    Ok(token.map(Arc::new))
}

/// Who looks names up. A node without name servers serves all the same: it knows its users by their addresses.
fn names(config: &Config) -> Names {
    let listeners: Vec<_> = config.listeners.iter().map(|listener| listener.udp).collect();
    let names = Names::new(&config.proxy.resolvers, &listeners).unwrap_or_else(|sentence| {
        warn!("{sentence}; nothing is sent to next hops that are names");
        Names::none()
    });
    let of_neighbours = config.neighbours.iter().flat_map(|neighbour| {
        let next_hop = match &neighbour.next_hop {
            Some(proxy::NextHop::Name { host, .. }) => Some(host.as_bytes()),
            Some(proxy::NextHop::Address(_)) | None => None,
        };
        let domains = neighbour.domains.iter().map(|domain| domain.as_str().as_bytes());
        domains.chain(next_hop)
    });
    names.with_neighbours(of_neighbours)
}

/// The keys of this node, which also know what was sealed with the secret before.
fn keys(config: &Config) -> Result<Keys, String> {
    let secret = secret(config.node.secret_file.as_deref())
        .map_err(|error| format!("the secret can't be had: {error}"))?;
    let start = number_of_start()
        .map_err(|error| format!("a number for this start can't be had: {error}"))?;
    let keys = Keys::derive(&secret).for_start(start);
    let Some(previous) = &config.node.previous_secret_file else { return Ok(keys) };
    let previous = existing_secret(previous)
        .map_err(|error| format!("the previous secret can't be had: {error}"))?;
    Ok(keys.with_previous(&previous))
}

/// What each core is told, with the keys of this node.
fn settings(
    config: &Config,
    limits: &Limits,
    keys: &Keys,
    subscribers: &Arc<Subscribers>,
    delivery: Delivery,
) -> Vec<Settings> {
    let mut settings = config.shard_settings(limits, keys, subscribers);
    let host = host(config);
    settings.iter_mut().for_each(|core| core.proxy.host = Arc::clone(&host));
    if delivery == Delivery::ToTheFirstCore {
        assert!(limits.cores > 1, "a core that is no home needs one that is");
        let homes = Homes { first: CoreId(1), count: limits.cores - 1 };
        settings.iter_mut().for_each(|core| core.homes = homes);
    }
    settings
}

/// The addresses of this host, where a listener is reached at all of them. Without them the one that a message reached is known.
fn host(config: &Config) -> Arc<[IpAddr]> {
    if !config.listeners.iter().any(|listener| listener.udp.ip().is_unspecified()) {
        return Arc::new([]);
    }
    let addresses = sys::interfaces::addresses().unwrap_or_else(|error| {
        warn!("the addresses of this host can't be had: {error}");
        Vec::new()
    });
    addresses.into()
}

/// Reads the subscribers and tells what there is to tell; nobody without authentication. A reload calls it too, and keeps those
/// before where it fails.
fn subscribers(config: &Config, keys: &Keys) -> Result<Arc<Subscribers>, String> {
    let Some(loaded) = subscribers::load(config, keys.auth.names)? else {
        return Ok(Arc::new(Subscribers::nobody()));
    };
    for remark in loaded.remarks() {
        warn!("{remark}");
    }
    info!("{loaded}, in {:.1} s", loaded.took.as_secs_f64());
    Ok(loaded.subscribers)
}

fn start(
    config: &Config,
    limits: &Limits,
    delivery: Delivery,
    settings: Vec<Settings>,
) -> Result<Running<Shard>, String> {
    let (mut cores, remark) = node::cores_on(&config.node.cpus)?;
    // The configuration was checked against the same set of CPUs; it can only have shrunk since.
    if let Some(remark) = remark {
        return Err(remark);
    }
    match delivery {
        Delivery::ToHomes => {}
        Delivery::ToTheFirstCore => {
            cores.iter_mut().skip(1).for_each(|core| core.receives = false);
        }
    }
    let listeners = config.listeners.iter().map(|listener| listener.udp).collect();
    let plan = Plan {
        io: config.node.io,
        spin: Duration::from_micros(u64::from(config.node.spin_before_park_us)),
        sockets: Sockets {
            steer: true,
            rest_buffer_bytes: limits.rest_socket_bytes,
            register_buffer_bytes: limits.register_socket_bytes,
            send_buffer_bytes: limits.send_socket_bytes,
        },
        rings: Rings { hops: limits.ring_hops, bytes: limits.ring_bytes },
        worker: worker::Settings {
            batch: limits.batch,
            datagram_bytes_max: limits.shard.message_bytes,
            ..worker::Settings::default()
        },
        ..Plan::new(cores, listeners)
    };
    node::start(&plan, move |core, _| {
        Shard::new(settings[usize::from(core.0)].clone())
            .with_prefetch(Prefetch(sys::prefetch::line))
    })
}

/// Returns at the first signal to end, reloading at SIGHUP.
fn wait_for_end(signals: &Signals, reload: &Reload<'_>) -> Result<(), String> {
    loop {
        if signal(signals)? == Signal::Hangup {
            reload.run();
        } else {
            return Ok(());
        }
    }
}

fn signal(signals: &Signals) -> Result<Signal, String> {
    signals.wait().map_err(|error| format!("signals can't be waited for: {error}"))
}

/// Ends the process at the next signal to end, whatever is still running.
fn end_on_signal(signals: Signals) -> Result<(), String> {
    let waiting = std::thread::Builder::new().name("second-signal".to_owned()).spawn(move || {
        // Where signals can't be waited for, draining still ends by itself.
        while let Ok(signal) = signal(&signals) {
            if signal != Signal::Hangup {
                warn!("ending at once");
                process::exit(1);
            }
        }
    });
    // It is never joined: it ends with the process.
    waiting.map(drop).map_err(|error| format!("a thread can't be started: {error}"))
}

fn tell_manager(told: std::io::Result<()>) {
    if let Err(error) = told {
        warn!("the service manager can't be told: {error}");
    }
}

/// A panic anywhere ends the process with one line: no core serves on while another is gone.
pub fn end_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let what = text.unwrap_or("no message").replace('\n', " ");
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        eprintln!("seawall: panic in thread {}{place}: {what}", thread.name().unwrap_or("unnamed"));
        process::abort();
    }));
}

/// What a shard counts and how full it is, as its worker publishes it.
#[derive(Clone, Debug, Default)]
pub struct ShardCounts {
    metrics: Metrics,
    proxy: proxy::Metrics,
    gauges: Gauges,
}

impl Handler for Shard {
    type Metrics = ShardCounts;
    type Errand = Errand;

    fn foresee(&mut self, datagrams: &[Datagram<'_>]) {
        Shard::foresee(self, datagrams);
    }

    fn handle(
        &mut self,
        now: Instant,
        wall: UnixTime,
        input: Input<'_>,
        out: &mut Outbox,
    ) -> Outcome {
        Shard::handle(self, now, wall, input, out)
    }

    fn run(&mut self, now: Instant, wall: UnixTime, errand: &mut Errand, out: &mut Outbox) {
        Shard::run(self, now, wall, errand, out);
    }

    fn expire(&mut self, now: Instant, budget: u32, out: &mut Outbox) {
        Shard::expire(self, now, budget, out);
    }

    fn deadline(&self) -> Option<Instant> {
        Shard::deadline(self)
    }

    fn publish(&self, into: &mut ShardCounts) {
        into.metrics.clone_from(self.metrics());
        into.proxy = *self.proxy_metrics();
        into.gauges = self.gauges();
    }
}

/// The node as the control plane sees it: the cores' boards.
#[derive(Debug)]
struct Watched {
    boards: Vec<Arc<Board<ShardCounts>>>,
    clock: Clock,
    draining: AtomicBool,
}

impl Observed for Watched {
    fn snapshots(&self) -> Vec<CoreSnapshot> {
        let snapshot = |board: &Arc<Board<ShardCounts>>| {
            let shown = *board.read();
            CoreSnapshot {
                worker: shown.worker,
                shard: shown.handler.metrics,
                proxy: shown.handler.proxy,
                gauges: shown.handler.gauges,
            }
        };
        self.boards.iter().map(snapshot).collect()
    }

    fn heartbeat_ages(&self) -> Vec<Duration> {
        let now = self.clock.now();
        self.boards.iter().map(|board| board.silent_for(now)).collect()
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Machine;

    #[test]
    fn more_than_the_machine_has_is_refused_before_anything_starts() {
        assert_eq!(fits(1 << 30, Some(1 << 30)), Ok(()));
        assert_eq!(fits(1 << 60, None), Ok(()));
        let told = fits(3 << 30, Some(2 << 30)).unwrap_err();
        assert!(
            told.starts_with(
                "the configuration reserves 3,072.0 MiB, and this machine has 2,048.0 MiB: "
            ),
            "{told}"
        );
    }

    #[test]
    fn an_admin_address_in_use_ends_the_start_only_where_a_file_asks_for_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = Config::builtin(&Machine::this());
        let admin = config.admin.as_mut().unwrap();
        admin.listen = taken.local_addr().unwrap();
        assert!(bind_admin(&config).unwrap().is_none());
        config.admin.as_mut().unwrap().required = true;
        let expected = format!(
            "the admin address tcp {} can't be bound: it is in use",
            taken.local_addr().unwrap()
        );
        assert_eq!(bind_admin(&config).unwrap_err(), expected);
    }
}
