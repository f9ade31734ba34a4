//! What an operator does while things break: looks bindings up, adds and ends some by hand, and puts other subscribers in the place of
//! those before. It makes errands as the control side does, and knows where an address-of-record lives; it judges nothing.

use super::directory::Directory;
use super::node;
use super::plan::Plan;
use super::random::Random;
use shards::io::CoreId;
use shards::location::{Aor, Here};
use shards::shard::{Command, Errand, Homes};
use shards::wire::Uri;
use std::fmt;
use std::rc::Rc;

/// An errand on its way to a core.
#[derive(Debug)]
pub struct Sent {
    /// The core.
    pub core: CoreId,
    /// The errand.
    pub errand: Errand,
    /// The file of which [`Command::Subscribers`] was made.
    pub directory: Option<Rc<Directory>>,
}

impl Sent {
    /// A command for the home of an address-of-record; `None` where it is none of ours.
    #[must_use]
    pub fn home(
        plan: &Plan,
        start: u64,
        cores: u16,
        name: &[u8],
        command: impl FnOnce(Aor) -> Command,
    ) -> Option<Sent> {
        let aor = aor(plan, start, name)?;
        let core = Homes::all(cores).home(aor.hash().place);
        Some(Sent { core, errand: Errand::new(command(aor)), directory: None })
    }

    /// Other subscribers, for a core.
    #[must_use]
    pub fn subscribers(plan: &Plan, core: CoreId, directory: &Rc<Directory>) -> Option<Sent> {
        let digest = plan.digest.as_ref()?;
        let command = Command::Subscribers(directory.subscribers(&digest.algorithms));
        let errand = Errand::new(command);
        Some(Sent { core, errand, directory: Some(Rc::clone(directory)) })
    }
}

/// An errand in a line: nothing in it differs from run to run.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a>(pub &'a Errand);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Errand { command, result, .. } = self.0;
        match command {
            Command::Page { .. } => f.write_str("a page"),
            Command::LookUp(aor) => write!(f, "look up {}", aor.bytes().escape_ascii()),
            Command::Remove { aor, contact } => {
                let contact = contact.as_deref().unwrap_or(b"all").escape_ascii();
                write!(f, "remove {contact} of {}", aor.bytes().escape_ascii())
            }
            Command::Add { aor, contact, expires_secs, .. } => {
                let (aor, contact) = (aor.bytes().escape_ascii(), contact.escape_ascii());
                write!(f, "add {contact} to {aor} for {expires_secs:?} s")
            }
            Command::Memory => f.write_str("measure"),
            Command::Resolved(_) | Command::Route { .. } => f.write_str("about calls"),
            Command::Subscribers(before) => write!(f, "others instead of {}", before.len()),
        }?;
        write!(f, ": {result:?}")
    }
}

/// What an operator wants with an address-of-record and, maybe, one of its contacts.
#[must_use]
pub fn wish(contact: Option<&[u8]>, random: &mut Random) -> Box<dyn FnOnce(Aor) -> Command> {
    let other = |random: &mut Random| -> Box<[u8]> {
        let desk = format!("sip:desk{}@192.0.2.77", random.below(3));
        random.pick(&[desk.as_bytes(), b"sip:desk@h;x=%31", b"no uri", b""]).into()
    };
    let contact = match contact {
        Some(contact) if random.chance(600) => Box::from(contact),
        Some(_) | None => other(random),
    };
    match random.below(10) {
        0..3 => Box::new(Command::LookUp),
        3..5 => {
            let contact = random.chance(600).then_some(contact);
            Box::new(move |aor| Command::Remove { aor, contact })
        }
        5 => Box::new(|_| Command::Memory),
        _ => {
            let expires_secs = random.pick(&[Some(1), Some(30), Some(4000), None]);
            let q = random.chance(300).then(|| u16::try_from(random.below(1001)).unwrap());
            let paths: [&[u8]; 5] = [b"", b"", b"", b"sip:edge.test;lr", b"tel:1"];
            let path = random.pick(&paths).into();
            Box::new(move |aor| Command::Add { aor, contact, expires_secs, q, path })
        }
    }
}

/// An address-of-record by its canonical name, as the control side knows it; `None` where it is none of ours.
fn aor(plan: &Plan, start: u64, name: &[u8]) -> Option<Aor> {
    let uri = uri(name);
    let uri = Uri::parse(&uri).ok()?;
    let (domains, listeners) = (plan.domains(), plan.listeners());
    let key = plan.keys(start).home;
    let mut aor = Aor::new();
    // An address of ours is a domain where it is reached.
    let is_set = [0, 1].map(node::listener).into_iter().any(|to| {
        let here = Here { domains: &domains, listeners: &listeners, to };
        aor.set(&key, &uri, &here).is_ok() && aor.bytes() == name
    });
    is_set.then_some(aor)
}

/// A URI of a canonical name.
#[must_use]
pub fn uri(name: &[u8]) -> Vec<u8> {
    let (user, domain) = match name.iter().rposition(|&byte| byte == b'@') {
        Some(at) => (Some(&name[..at]), &name[at + 1..]),
        None => (None, name),
    };
    let mut uri = b"sip:".to_vec();
    if let Some(user) = user {
        uri.extend(user.iter().flat_map(|byte| format!("%{byte:02x}").into_bytes()));
        uri.push(b'@');
    }
    uri.extend(domain);
    uri
}
