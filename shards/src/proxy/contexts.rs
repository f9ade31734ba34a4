//! What is on its way: response contexts (RFC 3261 16.2) with their branches, their messages and their timers. It owns their memory,
//! which is fixed, and never decides what becomes of a message.
//!
//! A context whose final response was sent has settled: it stays to absorb what is sent again, and makes room for a new one where
//! none is left, the oldest first. The same holds for branches. What has not settled keeps its place.

use super::branch::{Claim, Seal};
use crate::io::{Instant, LocalAddr, Peer};
use crate::store::{Arena, Chain, Full, Handle, Memory, Ref, Slab, Table, Wheel};
use crate::transaction::{Fingerprint, T1, client, server};
use crate::wire::Method;

/// No context, and no branch.
pub(super) const NONE: u32 = u32::MAX;

/// A request that is passed on, RFC 3261 16.2: the server transaction, and what its responses are gathered in.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) fingerprint: Fingerprint,
    pub(super) server: Server,
    /// The packet's source.
    pub(super) source: Peer,
    /// Where responses go, RFC 3261 18.2.2.
    pub(super) reply_to: Peer,
    /// Where the request arrived, and from where responses leave.
    pub(super) local: LocalAddr,
    /// What the To tag of our own responses is made of.
    pub(super) seed: u64,
    /// The request as it was received; nothing once no response of our own and no further branch can be needed.
    pub(super) request: Option<Ref>,
    /// What it waits for before it can be passed on.
    pub(super) waits: Waits,
    /// The target set, and how much of it was tried.
    pub(super) targets: Option<Ref>,
    pub(super) targets_at: u16,
    /// The best final response so far, RFC 3261 16.7 step 6.
    pub(super) best: Option<Best>,
    /// The response that was sent last, where it may have to be sent again.
    pub(super) last: Option<Ref>,
    /// The branch made last, head of the list through [`Branch::next`].
    pub(super) first: u32,
    /// Branches without a final response.
    pub(super) pending: u16,
    /// How many branches may be on their way at the same time, RFC 5393 5.
    pub(super) breadth: u16,
    /// A CANCEL has come.
    pub(super) is_cancelled: bool,
    /// A user of ours has sent it.
    pub(super) is_from_user: bool,
    pub(super) timers: Timers,
}

/// The state of a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Invite(server::InviteState),
    Other(server::State),
}

/// What a context waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waits {
    /// Nothing, or the responses of its branches.
    Nothing,
    /// The bindings of an address-of-record that lives on another core; how often that was asked.
    Location { attempts: u8 },
}

/// A final response, in the order of RFC 3261 16.7 step 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Best {
    pub(super) status: u16,
    /// As it will be sent; `None` where nobody sent it: a time that ran out, or a next hop that was not reached.
    pub(super) response: Option<Ref>,
}

/// One copy of a request on its way to a next hop: a client transaction.
#[derive(Debug)]
pub(super) struct Branch {
    /// Whose branch it is; `NONE` where that is over.
    pub(super) context: u32,
    /// The branch of the same context that was made before.
    pub(super) next: u32,
    pub(super) client: Client,
    /// Stands for the method.
    pub(super) method: u32,
    /// What its Via branch is recognised by.
    pub(super) seal: Seal,
    /// Where it is sent to, and from.
    pub(super) to: Peer,
    pub(super) from: LocalAddr,
    /// What was sent; nothing once it needs not be sent again, cancelled or acknowledged.
    pub(super) request: Option<Ref>,
    /// The addresses that its next hop has besides; see `further`.
    pub(super) further: Option<Ref>,
    pub(super) cancel: Cancel,
    pub(super) timers: Timers,
}

/// The state of a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// The address of its next hop is not known yet. The port is in [`Branch::to`].
    Resolving,
    Invite(client::InviteState),
    Other(client::State),
}

/// How far a branch is cancelled, RFC 3261 9.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    No,
    /// As soon as a provisional response has come.
    Wanted,
    /// The CANCEL was sent and not answered.
    Sent,
    Answered,
}

/// When something is due, `Instant::NEVER` where it is not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    /// To send again: Timer A, E or G.
    pub(super) resend: Instant,
    /// The interval after that, in units of T1.
    pub(super) interval: u8,
    /// To end, or to give up.
    pub(super) end: Instant,
    /// For when the wheel has it; it may be too early, never too late.
    armed: Instant,
}

impl Timers {
    pub(super) const NONE: Timers =
        Timers { resend: Instant::NEVER, interval: 0, end: Instant::NEVER, armed: Instant::NEVER };

    /// What was due is due again after the interval, counted from when it was due: being late once makes nothing later.
    pub(super) fn repeat(&mut self, now: Instant) {
        self.resend = self.resend.plus(T1 * u32::from(self.interval)).max(now);
    }

    fn next(&self) -> Instant {
        self.resend.min(self.end)
    }
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Context(u32),
    Branch(u32),
}

#[derive(Debug)]
pub(super) struct Contexts {
    contexts: Slab<Context>,
    branches: Slab<Branch>,
    index: Table,
    arena: Arena,
    context_timers: Wheel,
    branch_timers: Wheel,
    settled: Chain,
    settled_branches: Chain,
    /// What made room for others before its time.
    evicted: u64,
}

impl Contexts {
    /// Bytes that a context takes besides its messages.
    pub(super) const CONTEXT_BYTES: usize =
        Slab::<Context>::bytes(1) + Table::bytes(1_000_000) / 1_000_000 + 12 + Chain::bytes(1);
    /// Bytes that a branch takes besides its message.
    pub(super) const BRANCH_BYTES: usize = Slab::<Branch>::bytes(1) + 12 + Chain::bytes(1);

    pub(super) fn new(contexts: u32, branches: u32, arena_bytes: usize) -> Self {
        Contexts {
            contexts: Slab::new(contexts),
            branches: Slab::new(branches),
            index: Table::new(contexts),
            arena: Arena::new(arena_bytes),
            context_timers: Wheel::new(contexts),
            branch_timers: Wheel::new(branches),
            settled: Chain::new(contexts),
            settled_branches: Chain::new(branches),
            evicted: 0,
        }
    }

    /// The context of a request, where it is not over.
    #[inline]
    pub(super) fn find(&self, fingerprint: Fingerprint) -> Option<u32> {
        let is_it = |id| self.contexts.at(id).is_some_and(|one| one.fingerprint == fingerprint);
        self.index.find(fingerprint.place(), is_it)
    }

    /// Whether a request can be taken on. What has settled gives way.
    pub(super) fn has_room(&mut self) -> bool {
        if self.contexts.len() == self.contexts.capacity() && !self.evict() {
            return false;
        }
        self.has_branch()
    }

    /// Takes a request on.
    ///
    /// # Errors
    /// [`Full`] where there is no room for it or its message.
    pub(super) fn open(&mut self, context: Context) -> Result<u32, Full> {
        let (fingerprint, request) = (context.fingerprint, context.request);
        let opened = self.contexts.insert(context).and_then(|handle| {
            let indexed = self.index.insert(fingerprint.place(), handle.index);
            if indexed.is_err() {
                self.contexts.remove_at(handle.index);
            }
            indexed.map(|()| handle.index)
        });
        if opened.is_err()
            && let Some(request) = request
        {
            self.arena.remove(request);
        }
        opened
    }

    /// Keeps a message. What has settled gives way, as far as one message may ask for.
    pub(super) fn keep(&mut self, message: &[u8]) -> Result<Ref, Full> {
        /// A large message must not cost everybody's.
        const EVICTED_MAX: usize = 64;
        for _ in 0..EVICTED_MAX {
            match self.arena.insert(message) {
                Ok(kept) => return Ok(kept),
                Err(Full) if self.evict() => {}
                Err(Full) => return Err(Full),
            }
        }
        self.arena.insert(message)
    }

    /// Whether more than half of the memory for messages is taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.arena.is_half_full()
    }

    pub(super) fn bytes(&self, message: Ref) -> &[u8] {
        self.arena.get(message)
    }

    /// Gives up a message that is not needed any more.
    pub(super) fn drop(&mut self, message: Option<Ref>) {
        if let Some(message) = message {
            self.arena.remove(message);
        }
    }

    pub(super) fn context(&self, id: u32) -> Option<&Context> {
        self.contexts.at(id)
    }

    pub(super) fn context_mut(&mut self, id: u32) -> Option<&mut Context> {
        self.contexts.at_mut(id)
    }

    /// What stands for a context elsewhere: it finds nothing once the context is over.
    pub(super) fn handle(&self, id: u32) -> Option<Handle> {
        self.contexts.handle_at(id)
    }

    /// The context of a handle, unless it is over.
    pub(super) fn id_of(&self, handle: Handle) -> Option<u32> {
        self.contexts.get(handle).map(|_| handle.index)
    }

    pub(super) fn branch(&self, id: u32) -> Option<&Branch> {
        self.branches.at(id)
    }

    pub(super) fn branch_mut(&mut self, id: u32) -> Option<&mut Branch> {
        self.branches.at_mut(id)
    }

    pub(super) fn branch_id_of(&self, handle: Handle) -> Option<u32> {
        self.branches.get(handle).map(|_| handle.index)
    }

    /// The branch that a Via branch claims to be of. Its place alone says nothing: anybody may name one, and so do responses to what
    /// had the same place before a restart.
    pub(super) fn branch_id_for(&self, claim: Claim<'_>) -> Option<u32> {
        let branch = self.branches.at(claim.index)?;
        branch.seal.is(claim.seal).then_some(claim.index)
    }

    /// Adds a branch to its context, or one that has none.
    ///
    /// # Errors
    /// [`Full`], and nothing has changed.
    pub(super) fn add_branch(&mut self, mut branch: Branch) -> Result<Handle, Full> {
        if !self.has_branch() {
            return Err(Full);
        }
        let context = branch.context;
        if let Some(context) = self.contexts.at(context) {
            branch.next = context.first;
        }
        let handle = self.branches.insert(branch)?;
        if let Some(context) = self.contexts.at_mut(context) {
            context.first = handle.index;
            context.pending += 1;
        }
        Ok(handle)
    }

    /// The branches of a context, the newest first. They may be changed, but none added or ended, in between.
    pub(super) fn next_branch(&self, context: u32, after: Option<u32>) -> Option<u32> {
        let next = match after {
            None => self.contexts.at(context)?.first,
            Some(branch) => self.branches.at(branch)?.next,
        };
        (next != NONE).then_some(next)
    }

    /// A branch has got its final response: it stays to absorb and to acknowledge what is sent again.
    pub(super) fn settle_branch(&mut self, id: u32) {
        if self.settled_branches.push(id)
            && let Some(branch) = self.branches.at(id)
            && let Some(context) = self.contexts.at_mut(branch.context)
        {
            context.pending -= 1;
        }
    }

    /// A branch is over.
    pub(super) fn end_branch(&mut self, id: u32) {
        self.settle_branch(id);
        let Some(branch) = self.branches.remove_at(id) else { return };
        self.settled_branches.remove(id);
        self.branch_timers.cancel(id);
        self.drop(branch.request);
        self.drop(branch.further);
        let Some(context) = self.contexts.at_mut(branch.context) else { return };
        if context.first == id {
            context.first = branch.next;
            return;
        }
        let mut before = context.first;
        while let Some(other) = self.branches.at_mut(before) {
            if other.next == id {
                other.next = branch.next;
                return;
            }
            before = other.next;
        }
        debug_assert!(false, "a branch that its context does not know");
    }

    /// The final response of a context was sent.
    pub(super) fn settle(&mut self, id: u32) {
        self.settled.push(id);
    }

    /// A context is over. Branches that still have to acknowledge go on without it, the others end with it.
    pub(super) fn end(&mut self, id: u32) {
        let mut next = self.contexts.at(id).map_or(NONE, |context| context.first);
        while let Some(branch) = self.branches.at_mut(next) {
            let branch_id = next;
            next = branch.next;
            branch.context = NONE;
            branch.next = NONE;
            if branch.client != Client::Invite(client::InviteState::Completed) {
                self.end_branch(branch_id);
            }
        }
        let Some(context) = self.contexts.remove_at(id) else { return };
        self.index.remove(context.fingerprint.place(), |other| other == id);
        self.settled.remove(id);
        self.context_timers.cancel(id);
        let best = context.best.and_then(|best| best.response);
        for message in [context.request, context.targets, context.last, best] {
            self.drop(message);
        }
    }

    /// Lets the wheel know when a context is due.
    pub(super) fn arm(&mut self, id: u32) {
        if let Some(context) = self.contexts.at_mut(id) {
            arm(&mut self.context_timers, id, &mut context.timers);
        }
    }

    /// Lets the wheel know when a branch is due.
    pub(super) fn arm_branch(&mut self, id: u32) {
        if let Some(branch) = self.branches.at_mut(id) {
            arm(&mut self.branch_timers, id, &mut branch.timers);
        }
    }

    /// What is due next at `now`. Each timer that is touched takes one from `budget`. The caller arms it again.
    pub(super) fn pop(&mut self, now: Instant, budget: &mut u32) -> Option<Due> {
        while let Some(id) = self.branch_timers.pop(now, budget) {
            if let Some(branch) = self.branches.at_mut(id)
                && is_due(&mut self.branch_timers, id, &mut branch.timers, now)
            {
                return Some(Due::Branch(id));
            }
        }
        while let Some(id) = self.context_timers.pop(now, budget) {
            if let Some(context) = self.contexts.at_mut(id)
                && is_due(&mut self.context_timers, id, &mut context.timers, now)
            {
                return Some(Due::Context(id));
            }
        }
        None
    }

    /// When [`pop`](Self::pop) has something to give, at the earliest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match (self.branch_timers.deadline(), self.context_timers.deadline()) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.contexts.len()
    }

    pub(super) fn branches_len(&self) -> u32 {
        self.branches.len()
    }

    pub(super) fn settled_len(&self) -> u32 {
        self.settled.len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// How full its tables are: contexts, branches and messages.
    pub(super) fn memory(&self) -> [Memory; 3] {
        let (contexts, branches) = (self.contexts.capacity(), self.branches.capacity());
        let usage = self.arena.usage();
        let message_bytes =
            usage.string_bytes + usage.rounding_bytes + usage.class_free_bytes + usage.free_bytes;
        [
            Memory::of_places(
                self.contexts.len(),
                contexts,
                contexts as usize * Self::CONTEXT_BYTES,
            ),
            Memory::of_places(
                self.branches.len(),
                branches,
                branches as usize * Self::BRANCH_BYTES,
            ),
            Memory {
                used_bytes: message_bytes - usage.free_bytes,
                reserved_bytes: Arena::bytes(message_bytes),
                entries: None,
                capacity: None,
            },
        ]
    }

    /// Walks the invariants: every context is found, every branch is in the list of its context, pending ones are counted, and
    /// whatever waits has a timer.
    ///
    /// # Panics
    /// Where one is broken.
    pub(super) fn check(&self) {
        self.contexts.check();
        self.branches.check();
        self.index.check();
        self.arena.check();
        self.context_timers.check();
        self.branch_timers.check();
        self.settled.check();
        self.settled_branches.check();
        let mut listed = 0;
        for (handle, context) in self.contexts.scan(0..self.contexts.used_places()) {
            assert_eq!(self.find(context.fingerprint), Some(handle.index), "a context not found");
            assert_armed(handle.index, &context.timers, &self.context_timers);
            let (mut next, mut pending) = (context.first, 0);
            while let Some(branch) = self.branches.at(next) {
                assert_eq!(branch.context, handle.index, "a branch in another's list");
                pending += u16::from(!self.settled_branches.holds(next));
                listed += 1;
                assert!(listed <= self.branches.len(), "a list that meets itself");
                next = branch.next;
            }
            assert_eq!(pending, context.pending, "pending branches counted");
            let is_settled = self.settled.holds(handle.index);
            assert!(
                is_settled || pending > 0 || context.timers.next() != Instant::NEVER,
                "a context that waits for nothing"
            );
        }
        for (handle, branch) in self.branches.scan(0..self.branches.used_places()) {
            listed += u32::from(branch.context == NONE);
            assert_armed(handle.index, &branch.timers, &self.branch_timers);
            let goes_on = branch.timers.next() != Instant::NEVER || branch.context != NONE;
            assert!(goes_on, "a branch that never ends");
        }
        assert_eq!(listed, self.branches.len(), "a branch without its context");
        assert_eq!(self.index.len(), self.contexts.len());
    }

    fn has_branch(&mut self) -> bool {
        if self.branches.len() < self.branches.capacity() {
            return true;
        }
        match self.settled_branches.oldest() {
            Some(oldest) => {
                self.evicted += 1;
                self.end_branch(oldest);
                true
            }
            None => self.evict() && self.branches.len() < self.branches.capacity(),
        }
    }

    /// Ends the context that settled first; false where none has.
    fn evict(&mut self) -> bool {
        let Some(oldest) = self.settled.oldest() else { return false };
        self.evicted += 1;
        self.end(oldest);
        true
    }
}

/// What stands for a method in a branch, RFC 3261 17.1.3: only what has our branch is compared at all.
pub(super) fn method_hash(method: Method<'_>) -> u32 {
    // FNV-1a.
    method
        .name()
        .iter()
        .fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn arm(wheel: &mut Wheel, id: u32, timers: &mut Timers) {
    let next = timers.next();
    if next < timers.armed {
        timers.armed = next;
        wheel.schedule(id, next);
    }
}

/// Whether a timer that fired is due; otherwise it is armed for when it is.
fn is_due(wheel: &mut Wheel, id: u32, timers: &mut Timers, now: Instant) -> bool {
    timers.armed = Instant::NEVER;
    if timers.next() <= now {
        return true;
    }
    arm(wheel, id, timers);
    false
}

fn assert_armed(id: u32, timers: &Timers, wheel: &Wheel) {
    let next = timers.next();
    assert!(next == Instant::NEVER || timers.armed <= next, "a timer that comes too late");
    assert_eq!(timers.armed != Instant::NEVER, wheel.is_scheduled(id), "a timer that is lost");
}
