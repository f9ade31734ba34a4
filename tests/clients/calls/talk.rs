//! Two people who call each other, talk, and hang up: baresip on both sides, each way, ended by either. What one plays the other has to
//! hear.

use super::phone::{Line, Phone};
use super::server::{Server, is_reference};
use super::two_cores;
use crate::digest::subscribers;
use crate::trial;
use libtest_mimic::Trial;
use std::net::Ipv4Addr;
use std::time::Duration;
use tests::process::{Folder, Setup, free_port};

pub(crate) fn trials() -> Vec<Trial> {
    let all = [("IPv4", false, false), ("IPv6", true, false), ("digest", false, true)];
    all.into_iter()
        .map(|(label, is_ipv6, asks)| {
            trial(format!("calls: two people talk ({label})"), move || talks(is_ipv6, asks))
        })
        .collect()
}

/// What each plays, in hertz.
pub(crate) const TONES: [u32; 2] = [400, 1_000];

fn talks(is_ipv6: bool, asks: bool) -> Result<(), String> {
    let folder = Folder::new();
    let mut setup: Setup = two_cores();
    if asks {
        setup.more.push_str(&subscribers(&["alice", "bob"], &folder)?);
    }
    let server = Server::start(&setup)?;
    let proxy = server.at(is_ipv6);
    let start = |user, tone| {
        let password = asks.then_some("secret");
        let control = (Ipv4Addr::LOCALHOST, free_port()).into();
        let line = Line { user, password, proxy, ip: proxy.ip(), control, namespace: None, tone };
        Phone::start(&folder.path, &line)
    };
    let mut phones = [start("alice", TONES[0])?, start("bob", TONES[1])?];
    every_way(&mut phones, &["sip:bob@sip.test", "sip:alice@sip.test"])
        .map_err(|why| format!("{why}\n{}", server.log()))?;
    for (own, phone) in phones.iter().enumerate() {
        hears(phone, TONES[1 - own], TONES[own])?;
    }
    if let (true, Some(seawall)) = (asks && !is_reference(), server.seawall()) {
        // Each of the four INVITEs was challenged at least.
        seawall.metrics(|metrics| metrics.responses(407) >= 4)?;
    }
    for phone in phones {
        phone.ends()?;
    }
    server.stop()
}

/// Each calls the other twice, by these URIs, and each call is ended by the one and the other.
pub(crate) fn every_way(phones: &mut [Phone; 2], uris: &[&str; 2]) -> Result<(), String> {
    for (caller, ends) in [(0, 0), (0, 1), (1, 1), (1, 0)] {
        let what = format!("phone {caller} calls, phone {ends} hangs up");
        let fails = |why: String| format!("{what}: {why}");
        phones[caller].tell("dial", uris[caller]).map_err(fails)?;
        for phone in phones.iter_mut() {
            phone.awaits("CALL_ESTABLISHED").map_err(fails)?;
        }
        // Long enough to hear each other.
        std::thread::sleep(Duration::from_millis(500));
        phones[ends].tell("hangup", "").map_err(fails)?;
        for phone in phones.iter_mut() {
            phone.awaits("CALL_CLOSED").map_err(fails)?;
        }
    }
    Ok(())
}

/// Most of what a phone heard is the tone of the other, and nearly nothing its own.
pub(crate) fn hears(phone: &Phone, other: u32, own: u32) -> Result<(), String> {
    let heard = phone.heard(&[other, own])?;
    if heard[0] > 0.7 && heard[1] < 0.1 {
        Ok(())
    } else {
        Err(format!(
            "the other's tone is {:.2} of what it heard, its own {:.2}",
            heard[0], heard[1]
        ))
    }
}
