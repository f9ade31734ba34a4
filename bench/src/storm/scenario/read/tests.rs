use super::*;

const LEAST: &str = r#"id = "X"
title = "least"
about = "As little as can be said."
honour_retry_after = 0.5
population = { kappa_seconds = 10, bindings = "lapsed", nonces = "none" }
arrival = { shape = "uniform", over_secs = 1 }
registration = { digest = true }
clients = [{ name = "one", share = 1, retry = { kind = "fixed", after_timeout_secs = 30 } }]
end = { before_secs = 5, after_secs = 5, t_min_most = 2, at_least_secs = 40 }
"#;

fn read(text: &str) -> Result<Scenario, Problems> {
    parse(Path::new("x.toml"), text)
}

fn told(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

/// The least file with one line in place of another.
fn with(line: &str, other: &str) -> String {
    assert!(LEAST.contains(line), "{line}");
    LEAST.replace(line, other)
}

#[test]
fn the_least_file_means_what_rfc_3261_suggests() {
    let scenario = read(LEAST).unwrap();
    assert_eq!(scenario.timers, Timers { t1_ms: 500, t2_ms: 4000 });
    assert_eq!(scenario.registration.expires_secs, 3600);
    assert_eq!(scenario.registration.refresh, [Refresh { share: 1.0, at: 0.5 }]);
    assert_eq!(scenario.population.addresses, Addresses::Own);
    let retry = Retry::Fixed { after_timeout_secs: 30.0, after_refusal_secs: 30.0, spread: 0.0 };
    assert_eq!(scenario.clients[0].retry, retry);
    assert_eq!(scenario.network.loss, 0.0);
    let nothing = (scenario.calls, scenario.emergency_calls, scenario.keep_alive, scenario.hostile);
    assert_eq!(nothing, (None, None, None, None));
    assert_eq!((scenario.outage, scenario.backend, scenario.restart), (None, None, None));
}

#[test]
fn every_key_is_read() {
    let text = r#"
        id = "all_keys-1"
        title = "all"
        about = "Everything."
        needs = ["tls", "slow-backend"]
        honour_retry_after = 0.8
        [population]
        user_agents = 5_000
        bindings = "valid"
        nonces = "foreign"
        behind_one_address = 50
        steady_load = 0.1
        [arrival]
        shape = "ramp"
        tau_secs = 6.5
        tail_exponent = 1.5
        tail_share = 0.1
        most_secs = 60
        [outage]
        from_secs = -2.5
        for_secs = 90
        [registration]
        expires_secs = 600
        digest = true
        refresh = [{ share = 0.75, at = 0.5 }, { share = 0.25, at = 0.9 }]
        [[clients]]
        name = "patient"
        share = 0.6
        retry = { kind = "fixed", after_timeout_secs = 120, after_refusal_secs = 1800, spread = 0.1 }
        [[clients]]
        name = "flow"
        share = 0.4
        retry = { kind = "backoff", base_secs = 30, most_secs = 1800 }
        [timers]
        t1_ms = 400
        t2_ms = 3000
        [network]
        loss = 0.05
        [calls]
        per_kappa = 0.02
        ring_secs = 2
        talk_secs = 0.5
        [emergency_calls]
        per_kappa = 0.001
        ring_secs = 1
        talk_secs = 3
        [keep_alive]
        every_secs = 30
        options_share = 0.2
        [hostile]
        share = 0.2
        guessing_share = 0.5
        [backend]
        before_ms = 2
        during_ms = 200
        [restart]
        at_t_min = 0.5
        down_secs = 3
        [end]
        before_secs = 5
        after_secs = 6
        t_min_most = 2
        at_least_secs = 40
    "#;
    let expected = Scenario {
        id: "all_keys-1".to_owned(),
        title: "all".to_owned(),
        about: "Everything.".to_owned(),
        needs: vec![Need::Tls, Need::SlowBackend],
        population: Population {
            size: Size::UserAgents(5000),
            bindings: Bindings::Valid,
            nonces: Nonces::Foreign,
            addresses: Addresses::Own,
            behind_one_address: 50,
            steady_load: 0.1,
        },
        arrival: Arrival::Ramp {
            tau_secs: 6.5,
            tail_exponent: 1.5,
            tail_share: 0.1,
            most_secs: 60.0,
        },
        outage: Some(Outage { from_secs: -2.5, for_secs: 90.0 }),
        registration: Registration {
            expires_secs: 600,
            digest: true,
            refresh: vec![Refresh { share: 0.75, at: 0.5 }, Refresh { share: 0.25, at: 0.9 }],
        },
        clients: vec![
            Client {
                name: "patient".to_owned(),
                share: 0.6,
                retry: Retry::Fixed {
                    after_timeout_secs: 120.0,
                    after_refusal_secs: 1800.0,
                    spread: 0.1,
                },
            },
            Client {
                name: "flow".to_owned(),
                share: 0.4,
                retry: Retry::Backoff { base_secs: 30.0, most_secs: 1800.0 },
            },
        ],
        honour_retry_after: 0.8,
        timers: Timers { t1_ms: 400, t2_ms: 3000 },
        network: Network { loss: 0.05 },
        calls: Some(Calls { per_kappa: 0.02, ring_secs: 2.0, talk_secs: 0.5 }),
        emergency_calls: Some(Calls { per_kappa: 0.001, ring_secs: 1.0, talk_secs: 3.0 }),
        keep_alive: Some(KeepAlive { every_secs: 30.0, options_share: 0.2 }),
        hostile: Some(Hostile { share: 0.2, guessing_share: 0.5 }),
        backend: Some(Backend { before_ms: 2.0, during_ms: 200.0 }),
        restart: Some(Restart { at_t_min: 0.5, down_secs: 3.0 }),
        end: End { before_secs: 5.0, after_secs: 6.0, t_min_most: 2.0, at_least_secs: 40.0 },
    };
    assert_eq!(read(text).unwrap(), expected);
}

#[test]
fn each_shape_has_its_own_keys() {
    let shape = |keys: &str| {
        let text = with("shape = \"uniform\", over_secs = 1", keys).replace("lapsed", "valid");
        read(&text).map(|scenario| scenario.arrival)
    };
    assert_eq!(
        shape("shape = \"steady\", for_secs = 60").unwrap(),
        Arrival::Steady { for_secs: 60.0 }
    );
    assert_eq!(
        shape("shape = \"waves\", count = 4, every_secs = 60, over_secs = 5").unwrap(),
        Arrival::Waves { count: 4, every_secs: 60.0, over_secs: 5.0 }
    );
    assert_eq!(
        shape("shape = \"herd\", spread = 0.02, cycles = 3").unwrap(),
        Arrival::Herd { spread: 0.02, cycles: 3 }
    );
    assert_eq!(
        shape("shape = \"herd\", over_secs = 3").unwrap_err().to_string(),
        "x.toml:6: arrival.spread: is missing, expected a number from 0 to 1\n\
         x.toml:6: arrival.cycles: is missing, expected a whole number from 1 to 1000\n\
         x.toml:6: arrival.over_secs: unknown key, expected `shape`, `spread` or `cycles`"
    );
    // Nobody is told that keys are strangers where it is not known whose they are.
    assert_eq!(
        shape("shape = \"wave\", count = 4").unwrap_err().to_string(),
        "x.toml:6: arrival.shape: `wave` is unknown, expected `steady`, `uniform`, `ramp`, `waves` or `herd`; did you mean \
         `waves`?"
    );
}

#[test]
fn an_empty_file_is_told_what_every_scenario_has() {
    insta::assert_snapshot!("empty", told(""));
}

#[test]
fn a_file_with_many_errors_tells_them_all_in_order() {
    insta::assert_snapshot!(
        "many_errors",
        told(
            r#"id = "my storm"
title = ""
about = 5
needs = ["tsl", "slow-backend"]
honour_retry_after = 1.5
[population]
kappa_seconds = 100
user_agents = 1000
bindings = "none"
nonces = "valid"
addresses = "one"
behind_one_address = 5000
stedy_load = 0.1
[arrival]
shape = "waves"
count = 0
every_secs = 10
over_secs = 20
[outage]
from_secs = -60
[registration]
expires_secs = 10
digest = false
refresh = [{ share = 0.5, at = 0.5 }, { share = 0.4, at = 1.0 }]
[[clients]]
name = "a"
share = 0.5
retry = { kind = "fixed", after_timeout = 30 }
[[clients]]
name = "a"
share = "half"
[[clients]]
name = " "
retry = { kind = "backoff", base_secs = 30, most_secs = 20 }
[timers]
t1_ms = 1000
t2_ms = 500
[network]
loss = 2
[calls]
per_kappa = 0.5
ring_secs = 2
[keepalive]
every_secs = 30
[hostile]
share = 1
guessing_share = 0.5
[restart]
at_t_min = 50
down_secs = 0
[end]
before_secs = 5
after_secs = 5
t_min_most = 0.5
"#
        )
    );
}

#[test]
fn shares_add_up() {
    let third = |share: &str, name: &str| {
        format!(
            "{{ name = \"{name}\", share = {share}, retry = {{ kind = \"fixed\", after_timeout_secs = 30 }} }}"
        )
    };
    let clients = |shares: [&str; 3]| {
        let [a, b, c] = [third(shares[0], "a"), third(shares[1], "b"), third(shares[2], "c")];
        let one = third("1", "one");
        read(&with(&one, &format!("{a}, {b}, {c}")))
    };
    assert_eq!(clients(["0.33", "0.33", "0.33"]).unwrap().clients.len(), 3);
    assert_eq!(clients(["0.2", "0.8", "0"]).unwrap().clients.len(), 3);
    assert_eq!(
        clients(["0.5", "0.3", "0.1"]).unwrap_err().to_string(),
        "x.toml:8: clients.share: all of them add up to 0.9, expected 1"
    );
}

#[test]
fn what_cannot_be_together_is_told() {
    let valid = LEAST.replace("lapsed", "valid");
    let herd = valid.replace(
        "shape = \"uniform\", over_secs = 1",
        "shape = \"herd\", spread = 0.1, cycles = 2",
    );
    for (text, expected) in [
        (
            herd.replace("valid", "lapsed"),
            "x.toml:5: population.bindings: is `lapsed`, expected `valid` beside refreshes, which only bindings have",
        ),
        (
            herd.replace("kappa_seconds = 10", "kappa_seconds = 2000"),
            "x.toml:5: population: so many can't all refresh within one cycle, expected kappa_seconds of at most 1800, what the \
             server can do from one refresh to the next",
        ),
        (
            herd.replace(
                "digest = true",
                "digest = true, refresh = [{ share = 0.5, at = 0.5 }, { share = 0.5, at = 0.9 }]",
            ),
            "x.toml:7: registration.refresh: has several times beside arrival.shape = \"herd\", expected one, as all refresh \
             together",
        ),
        (
            format!("{herd}[restart]\nat_t_min = 0.5\ndown_secs = 1\n"),
            "x.toml:11: restart.at_t_min: is a part of the time to register all, expected an arrival of another shape",
        ),
        (
            format!("{herd}[outage]\nfrom_secs = 1\nfor_secs = 1\n"),
            "x.toml:11: outage.from_secs: stands beside refreshes that are no arrival, expected an arrival of another shape",
        ),
        (
            format!("{LEAST}[backend]\nbefore_ms = 2\nduring_ms = 200\n"),
            "x.toml:10: backend: is a delay that few servers have, expected needs = [\"slow-backend\"] beside it",
        ),
        (
            with("nonces = \"none\"", "nonces = \"none\", steady_load = 0.9")
                + "[calls]\nper_kappa = 0.1\nring_secs = 1\ntalk_secs = 1\n",
            "x.toml:10: calls: calls and population.steady_load take 124 % of the server before anybody registers, expected at \
             most 95 %",
        ),
        (
            with("kappa_seconds = 10", "user_agents = 10, behind_one_address = 11"),
            "x.toml:5: population.behind_one_address: is more than all, expected at most 10",
        ),
        (
            with("kappa_seconds = 10, ", ""),
            "x.toml:5: population.kappa_seconds: is missing, expected it, or user_agents = a number of them",
        ),
        (
            with(
                "shape = \"uniform\", over_secs = 1",
                "shape = \"ramp\", tau_secs = 10, tail_share = 0, tail_exponent = 1, most_secs = 15",
            ),
            "x.toml:6: arrival.most_secs: leaves no room for a ramp, expected at least two tau_secs, 20",
        ),
    ] {
        assert_eq!(told(&text), expected, "{text}");
    }
}
