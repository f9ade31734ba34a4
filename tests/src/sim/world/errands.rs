//! The operator's part of a world: which errands are sent to the cores, when they arrive, and who is told of a new password.

use super::{Coming, World};
use crate::sim::directory::Directory;
use crate::sim::operator::{self, Sent};
use crate::sim::plan::Plan;
use shards::io::CoreId;
use shards::location::Aor;
use shards::shard::Command;
use std::rc::Rc;
use std::time::Duration;

impl World<'_> {
    /// An operator does something by hand.
    pub(super) fn operate(&mut self) {
        if self.plan.digest.is_some() && self.random.chance(100) {
            self.replace_subscribers();
            return;
        }
        let names: Vec<_> = self.oracle.reference().aors().cloned().collect();
        let name = if names.is_empty() || self.random.chance(200) {
            format!("desk{}@{}", self.random.below(3), Plan::DOMAIN).into_bytes()
        } else {
            self.random.pick(&names)
        };
        let bindings = self.oracle.reference().bindings(&name, self.now);
        let contacts: Vec<_> = bindings.map(|binding| binding.uri.clone()).collect();
        let contact = (!contacts.is_empty()).then(|| self.random.pick(&contacts));
        let wish = operator::wish(contact.as_deref(), &mut self.random);
        if let Some(sent) = self.for_home(&name, wish) {
            self.send_errand(sent);
        }
    }

    /// Puts another file in the place of the one before; whose password is another is told so sooner or later.
    fn replace_subscribers(&mut self) {
        let mut directory = Directory::clone(&self.directory);
        let changed = directory.revise(&mut self.random);
        self.directory = Rc::new(directory);
        self.note(format!("the operator changes {}", changed.join(", ")));
        for core in 0..u16::try_from(self.node.cores()).unwrap() {
            if let Some(sent) = Sent::subscribers(self.plan, CoreId(core), &self.directory) {
                self.send_errand(sent);
            }
        }
        for user in changed {
            let at = self.now.plus(self.random.exponential(Duration::from_secs(20)));
            let password = self.directory.password_for(&user);
            self.agenda.plan(at, Coming::Told { user, password });
        }
    }

    /// Everybody is in the file again, and knows his password.
    pub(super) fn restore_subscribers(&mut self) {
        if self.plan.digest.is_none() {
            return;
        }
        let mut directory = Directory::clone(&self.directory);
        directory.restore();
        self.directory = Rc::new(directory);
        for core in 0..u16::try_from(self.node.cores()).unwrap() {
            if let Some(sent) = Sent::subscribers(self.plan, CoreId(core), &self.directory) {
                self.run_errand(sent);
            }
        }
        for agent in &mut self.agents {
            let password = self.directory.password_for(&agent.user);
            agent.is_told(password);
        }
    }

    /// What an operator has bound for longer than anybody else may is removed by hand.
    pub(super) fn remove_what_outlives_all(&mut self) {
        let reference = self.oracle.reference();
        let latest = self.now.plus_secs(self.plan.policy.max_expires_secs);
        let outlives = |aor: &&Vec<u8>| {
            reference.bindings(aor, self.now).any(|binding| binding.expires > latest)
        };
        let names: Vec<_> = reference.aors().filter(outlives).cloned().collect();
        for name in names {
            let wish = Box::new(|aor| Command::Remove { aor, contact: None });
            if let Some(sent) = self.for_home(&name, wish) {
                self.run_errand(sent);
            }
        }
    }

    /// An errand for the home of an address-of-record.
    pub(super) fn for_home(
        &self,
        name: &[u8],
        wish: Box<dyn FnOnce(Aor) -> Command>,
    ) -> Option<Sent> {
        let cores = u16::try_from(self.node.cores()).unwrap();
        Sent::home(self.plan, self.start, cores, name, wish)
    }

    fn send_errand(&mut self, sent: Sent) {
        let at = self.now.plus(self.random.exponential(Duration::from_millis(5)));
        self.last_errand_at = self.last_errand_at.max(at);
        let coming = Coming::Errand { start: self.start, sent: Box::new(sent) };
        self.agenda.plan(self.last_errand_at, coming);
    }

    pub(super) fn run_errand(&mut self, sent: Sent) {
        if !self.is_judged() {
            let unsent = self.at_the_node(|node, scene| node.run(sent, scene));
            debug_assert!(unsent.is_empty(), "errands are answered otherwise");
        }
    }
}
