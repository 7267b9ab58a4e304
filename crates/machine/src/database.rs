//! One database: its keys in pages, and an index of their deadlines.
//!
//! A key lives in one of 16,384 pages, chosen by a hash with a fixed key, and each page is an ordered map behind an
//! [`Arc`]. That gives three things at once:
//!
//! * a snapshot is a clone of the page pointers; a write copies only the page that it changes (copy on write);
//! * a SCAN cursor is the number of a page: it holds on any replica, and across restarts and snapshots;
//! * every iteration has one order, the same everywhere: by page, then by key.
//!
//! A lock that a client session holds has no deadline of its own: the index beside has it under its session, and when that
//! ends, it does as if its deadline had passed.
//!
//! A slot whose deadline has passed stays where it is until it is reclaimed, and does not exist for any command
//! until then: whoever reads says at which [`Stamp`].

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::sync::Arc;

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};
use siphasher::sip::SipHasher13;

use crate::entry::Seen;
use crate::identifiers::{ClientSessionId, FencingToken, Stamp, Version};
use crate::value::{Held, Holder, Living, Value};
use crate::waiting::Ends;

/// Pages in a database that was ever written: as many as Redis Cluster has hash slots. With a million keys a page
/// has about 60, so that the first write to it after a snapshot copies a few KiB.
pub(crate) const PAGES: usize = 16_384;

/// What a key costs beside its own bytes and its value's: the slot, its share of tree nodes, and allocations.
const SLOT_BYTES: usize = 160;

/// What a deadline costs: its node in the index.
const DEADLINE_BYTES: usize = 64;

/// A share of a database's keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Page {
    pub(crate) slots: BTreeMap<Bytes, Slot>,
    /// The greatest version that a slot had when it left the page, so that WATCH notices a key that came and went.
    pub(crate) removed: Version,
}

/// What a key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) value: Value,
    /// The last millisecond of cluster time at which the key exists.
    pub(crate) deadline: Option<Stamp>,
    pub(crate) token: FencingToken,
    pub(crate) version: Version,
}

impl Slot {
    /// The client session that it lasts as long as, if it is a lock that one holds.
    pub(crate) fn client_session(&self) -> Option<ClientSessionId> {
        match &self.value {
            Value::Lock(lock) => match lock.held {
                Held::Alone { holder: Holder::Session(id), .. } => Some(id),
                Held::Alone { holder: Holder::Owner(_), .. } | Held::Shared(_) => None,
            },
            Value::String(_)
            | Value::List(_)
            | Value::Hash(_)
            | Value::Set(_)
            | Value::SortedSet(_)
            | Value::Semaphore(_) => None,
        }
    }

    /// Whether its time is not the key's alone, but that of those who hold it: a lock that a session holds, or readers; or one
    /// that is nobody's for a while when it is lost, which must not be somebody's again.
    pub(crate) fn has_time_of_holders(&self) -> bool {
        let is_special = match &self.value {
            Value::Lock(lock) => matches!(lock.held, Held::Shared(_)) || lock.delay_ms > 0,
            Value::Semaphore(_) => true,
            _ => false,
        };
        is_special || self.client_session().is_some()
    }

    /// The sessions that have a share of it, or had one.
    fn sharing_sessions(&self) -> BTreeSet<ClientSessionId> {
        match &self.value {
            Value::Lock(lock) => lock.sharing_sessions(),
            Value::Semaphore(semaphore) => semaphore.sessions(),
            _ => BTreeSet::new(),
        }
    }

    /// How many share it, or did.
    pub(crate) fn shares(&self) -> usize {
        match &self.value {
            Value::Lock(lock) => lock.parts_len(),
            Value::Semaphore(semaphore) => semaphore.grants_len(),
            _ => 0,
        }
    }

    /// Its token, unless it is that of a lock whose holder has lost it, while nobody else may have it, or of a semaphore, of
    /// which each who has permits has a token of his own.
    pub(crate) fn current_token(&self, living: Living<'_>) -> Option<FencingToken> {
        let is_nobodys = match &self.value {
            Value::Lock(lock) => lock.is_delayed(self.deadline, living.now) || lock.is_vacant(living),
            Value::Semaphore(_) => true,
            _ => false,
        };
        (!is_nobodys).then_some(self.token)
    }

    /// Whether a token is one that is good for something still.
    pub(crate) fn has_token(&self, token: FencingToken, living: Living<'_>) -> bool {
        match &self.value {
            Value::Semaphore(semaphore) => semaphore.grant(token, living).is_some(),
            _ => self.current_token(living) == Some(token),
        }
    }

    /// Whether nobody has it, though its key is there until it is reclaimed.
    pub(crate) fn is_vacant(&self, living: Living<'_>) -> bool {
        match &self.value {
            Value::Lock(lock) => lock.is_vacant(living),
            Value::Semaphore(semaphore) => semaphore.is_vacant(living),
            _ => false,
        }
    }

    /// What ends here without a command, of a lock that is shared and of a semaphore what ends first.
    pub(crate) fn ends(&self, living: Living<'_>) -> Ends {
        let (first, sessions) = match &self.value {
            Value::Lock(lock) => {
                let readers = lock.readers(living).filter_map(Holder::session);
                (lock.first_end(living), self.client_session().into_iter().chain(readers).collect())
            }
            Value::Semaphore(semaphore) => {
                let sessions = semaphore.grants(living).filter_map(|(_, grant)| grant.holder.session());
                (semaphore.first_end(living), sessions.collect())
            }
            _ => (None, BTreeSet::new()),
        };
        Ends { at: first.or(self.deadline), sessions }
    }

    /// Whether its deadline has not passed. Only its database knows whether it exists: see [`Database::has`].
    ///
    /// Stamps are cut to milliseconds: a key set within millisecond `s` for `t` milliseconds has lived that long
    /// for certain only after millisecond `s + t` is over. Hence its deadline itself still belongs to it.
    fn is_in_time(&self, now: Stamp) -> bool {
        let is_revived = bug::on(Bug::RevivedKeys) && now.0 % 2 == 1;
        self.deadline.is_none_or(|deadline| now <= deadline) || is_revived || bug::on(Bug::NoExpiry)
    }

    /// What it takes in memory with its key, in bytes, as far as the limit on data is concerned.
    pub(crate) fn bytes(&self, key: &[u8]) -> u64 {
        let deadline = if self.deadline.is_some() { DEADLINE_BYTES } else { 0 };
        (SLOT_BYTES + key.len() + self.value.bytes() + deadline) as u64
    }
}

/// One of the databases that SELECT chooses from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Database {
    /// Empty until the first write, then [`PAGES`] of them.
    pages: Vec<Arc<Page>>,
    /// A bit for each page, 64 together, which says whether it was ever written: where there are few keys, few were.
    written: Vec<u64>,
    /// As [`Page::removed`], for slots that left with a whole database: at each flush the version it found.
    flushed: Version,
    /// Every slot with a deadline, soonest first.
    deadlines: BTreeSet<(Stamp, Bytes)>,
    /// The keys of locks that client sessions hold.
    held: BTreeMap<ClientSessionId, BTreeSet<Bytes>>,
    /// Those of sessions that have ended: they do not exist, and are there until they are reclaimed.
    orphaned: BTreeMap<ClientSessionId, BTreeSet<Bytes>>,
    /// How many these are.
    orphans: usize,
    /// The keys of semaphores and locks of which sessions have shares, each with others or alone.
    shared: BTreeMap<ClientSessionId, BTreeSet<Bytes>>,
    /// Those of sessions that have ended, from which these are to be removed.
    left: BTreeMap<ClientSessionId, BTreeSet<Bytes>>,
    /// The present stamp: deadlines before it have passed.
    now: Stamp,
    /// How many have passed, so that nobody has to count them.
    expired: usize,
    keys: usize,
    bytes: u64,
}

impl Database {
    /// Lets time pass. Costs a step for each key that expires by it, and returns how many these are.
    pub(crate) fn advance(&mut self, now: Stamp) -> usize {
        let newly = self.deadlines.range((self.now, Bytes::new())..(now, Bytes::new())).count();
        self.expired += newly;
        self.now = now;
        newly
    }

    /// The present stamp.
    pub(crate) fn now(&self) -> Stamp {
        self.now
    }

    /// Slots, the expired ones included.
    pub(crate) fn keys(&self) -> usize {
        self.keys
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// The pages that were ever written, with their numbers, last first.
    pub(crate) fn written_pages(&self) -> impl Iterator<Item = (usize, &Arc<Page>)> {
        let groups = self.written.iter().enumerate().rev().filter(|(_, bits)| **bits != 0);
        let numbers = groups.flat_map(|(group, &bits)| {
            let mut left = bits;
            std::iter::from_fn(move || {
                let last = left.checked_ilog2()?;
                left &= !(1 << last);
                Some(64 * group + last as usize)
            })
        });
        numbers.map(|number| (number, &self.pages[number]))
    }

    /// The keys that exist.
    pub(crate) fn live_keys(&self) -> usize {
        self.keys - self.expired - self.orphans
    }

    /// Whether a slot that is here exists for commands.
    pub(crate) fn has(&self, slot: &Slot, now: Stamp) -> bool {
        let is_orphaned = slot.client_session().is_some_and(|id| self.orphaned.contains_key(&id));
        slot.is_in_time(now) && !is_orphaned
    }

    /// Whether it does at present.
    pub(crate) fn has_now(&self, slot: &Slot) -> bool {
        self.has(slot, self.now)
    }

    /// A session has ended: what it holds does not exist from now on.
    pub(crate) fn end_client_session(&mut self, id: ClientSessionId) {
        if let Some(keys) = self.held.remove(&id).filter(|_| !bug::on(Bug::OutlivedSession)) {
            self.orphans += keys.len();
            self.orphaned.insert(id, keys);
        }
        if let Some(keys) = self.shared.remove(&id) {
            self.left.insert(id, keys);
        }
    }

    /// A key of which a session that has ended had a share, if there is one left to be rid of it.
    pub(crate) fn first_left(&mut self) -> Option<Bytes> {
        first_of(&mut self.left)
    }

    /// How many locks a session holds, with others or alone.
    pub(crate) fn locks_of(&self, id: ClientSessionId) -> usize {
        [&self.held, &self.shared].map(|keys| keys.get(&id).map_or(0, BTreeSet::len)).into_iter().sum()
    }

    /// The sessions that hold locks.
    pub(crate) fn holders(&self) -> impl Iterator<Item = ClientSessionId> {
        self.held.keys().chain(self.shared.keys()).copied()
    }

    /// Those of them that will expire.
    pub(crate) fn live_deadlines(&self) -> usize {
        self.deadlines.len() - self.expired
    }

    /// The soonest deadline: one that has passed while something is to be reclaimed.
    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        let orphans = (self.orphans > 0 || !self.left.is_empty()).then_some(Stamp(0));
        orphans.or(self.deadlines.first().map(|(deadline, _)| *deadline))
    }

    /// A key that has expired, or whose session has ended, to be removed.
    pub(crate) fn first_expired(&mut self) -> Option<Bytes> {
        if let Some((deadline, key)) = self.deadlines.first()
            && *deadline < self.now
        {
            return Some(key.clone());
        }
        first_of(&mut self.orphaned)
    }

    /// The slot of a key, expired or not.
    pub(crate) fn slot(&self, key: &[u8]) -> Option<&Slot> {
        self.pages.get(page_of(key))?.slots.get(key)
    }

    /// What WATCH sees at a key. A slot that has expired, or that nobody has any more of those who shared it, counts as gone
    /// with the version that it had, which does not change when it is reclaimed.
    pub(crate) fn seen(&self, key: &[u8], living: Living<'_>) -> Seen {
        match self.slot(key) {
            Some(slot) if self.has(slot, living.now) && !slot.is_vacant(living) => {
                Seen::Present(slot.version)
            }
            expired => {
                let removed = self.removed(key).max(expired.map_or(Version(0), |slot| slot.version));
                Seen::Absent(removed.max(self.flushed))
            }
        }
    }

    /// See [`Page::removed`].
    pub(crate) fn removed(&self, key: &[u8]) -> Version {
        self.pages.get(page_of(key)).map_or(Version(0), |page| page.removed)
    }

    pub(crate) fn flushed(&self) -> Version {
        self.flushed
    }

    /// What is to be freed of it: its pages and the index of its deadlines.
    pub(crate) fn into_parts(self) -> (Vec<Arc<Page>>, BTreeSet<(Stamp, Bytes)>) {
        (self.pages, self.deadlines)
    }

    /// The database after a flush: nothing is left but the time, and what WATCH must notice.
    pub(crate) fn emptied(&self, version: Version) -> Self {
        Self { now: self.now, flushed: version, ..Self::default() }
    }

    /// Puts a slot in place of the present one, which is returned. A new key is copied: what it was read from may
    /// be a slice of a whole batch.
    pub(crate) fn put(&mut self, key: &[u8], slot: Slot) -> Option<Slot> {
        let (deadline, holder, bytes) = (slot.deadline, slot.client_session(), slot.bytes(key));
        let sharers = slot.sharing_sessions();
        let slots = &mut self.page_mut(page_of(key)).slots;
        let previous = match slots.get_mut(key) {
            Some(present) => Some(std::mem::replace(present, slot)),
            None => slots.insert(Bytes::copy_from_slice(key), slot),
        };
        let before = previous.as_ref().and_then(|previous| previous.deadline);
        let held_by = previous.as_ref().and_then(Slot::client_session);
        let shared_by = previous.as_ref().map(Slot::sharing_sessions).unwrap_or_default();
        if before != deadline || held_by != holder || shared_by != sharers {
            // All indexes share the memory of the page's own key: a long one may be shared by many sessions.
            let owned = slots.get_key_value(key).map(|(owned, _)| owned.clone());
            let owned = owned.expect("the key was just put");
            self.index_holder(&owned, held_by, holder);
            self.index_sharers(&owned, &shared_by, &sharers);
            self.index(owned, before, deadline);
        }
        self.bytes += bytes;
        match &previous {
            None => self.keys += 1,
            Some(previous) => self.bytes -= previous.bytes(key),
        }
        previous
    }

    /// Changes the value of a slot where it is.
    pub(crate) fn edit<R>(&mut self, key: &[u8], change: impl FnOnce(&mut Slot) -> R) -> Option<R> {
        let page = self.pages.get_mut(page_of(key))?;
        let slot = Arc::make_mut(page).slots.get_mut(key)?;
        let (bytes, deadline) = (slot.bytes(key), slot.deadline);
        let result = change(slot);
        assert!(slot.deadline == deadline, "an edit of a value leaves its deadline");
        self.bytes = self.bytes - bytes + slot.bytes(key);
        Some(result)
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Slot> {
        let page = self.pages.get_mut(page_of(key))?;
        if !page.slots.contains_key(key) {
            return None;
        }
        let page = Arc::make_mut(page);
        let (owned, slot) = page.slots.remove_entry(key)?;
        page.removed = page.removed.max(slot.version);
        self.keys -= 1;
        self.bytes -= slot.bytes(key);
        self.index_holder(&owned, slot.client_session(), None);
        self.index_sharers(&owned, &slot.sharing_sessions(), &BTreeSet::new());
        self.index(owned, slot.deadline, None);
        Some(slot)
    }

    /// Makes a key as it was, and answers what it had since. May leave a greater [`Page::removed`] behind.
    pub(crate) fn take_back(&mut self, key: &[u8], previous: Option<Slot>) -> Option<Slot> {
        match previous {
            Some(slot) => self.put(key, slot),
            None => self.remove(key),
        }
    }

    /// Puts back what WATCH must notice: from a snapshot.
    pub(crate) fn restore_flushed(&mut self, version: Version) {
        self.flushed = version;
    }

    /// Puts back what WATCH must notice in a page: from a snapshot, or as it was.
    pub(crate) fn restore_removed(&mut self, page: usize, version: Version) {
        self.page_mut(page).removed = version;
    }

    fn page_mut(&mut self, page: usize) -> &mut Page {
        if self.pages.is_empty() {
            self.pages = vec![Arc::default(); PAGES];
            self.written = vec![0; PAGES.div_ceil(64)];
        }
        self.written[page / 64] |= 1 << (page % 64);
        Arc::make_mut(&mut self.pages[page])
    }

    /// Keeps the index of locks that sessions hold, and the number of those that are orphaned, equal to the slots'.
    fn index_holder(&mut self, key: &Bytes, before: Option<ClientSessionId>, after: Option<ClientSessionId>) {
        if let Some(before) = before {
            if let Some(orphaned) = self.orphaned.get_mut(&before) {
                self.orphans -= usize::from(orphaned.remove(key));
            } else if let Some(held) = self.held.get_mut(&before) {
                held.remove(key);
                if held.is_empty() {
                    self.held.remove(&before);
                }
            }
        }
        let Some(after) = after else { return };
        match self.orphaned.get_mut(&after) {
            Some(orphaned) => self.orphans += usize::from(orphaned.insert(key.clone())),
            None => drop(self.held.entry(after).or_default().insert(key.clone())),
        }
    }

    /// Keeps the index of what sessions have a share of equal to the slots'.
    fn index_sharers(
        &mut self,
        key: &Bytes,
        before: &BTreeSet<ClientSessionId>,
        after: &BTreeSet<ClientSessionId>,
    ) {
        for id in before.difference(after) {
            if let Some(keys) = self.left.get_mut(id) {
                keys.remove(key);
            } else if let Some(keys) = self.shared.get_mut(id) {
                keys.remove(key);
                if keys.is_empty() {
                    self.shared.remove(id);
                }
            }
        }
        for id in after.difference(before) {
            let keys_of = if self.left.contains_key(id) { &mut self.left } else { &mut self.shared };
            keys_of.entry(*id).or_default().insert(key.clone());
        }
    }

    /// Keeps the index of deadlines, and the number that have passed, equal to the slots'.
    fn index(&mut self, key: Bytes, before: Option<Stamp>, after: Option<Stamp>) {
        if let Some(before) = before {
            self.expired -= usize::from(before < self.now);
            self.deadlines.remove(&(before, key.clone()));
        }
        if let Some(after) = after {
            self.expired += usize::from(after < self.now);
            self.deadlines.insert((after, key));
        }
    }
}

/// The first key of sessions that have ended. Sets that are empty were kept for a script that might be undone.
fn first_of(ended: &mut BTreeMap<ClientSessionId, BTreeSet<Bytes>>) -> Option<Bytes> {
    while let Some(keys) = ended.first_entry() {
        match keys.get().first() {
            Some(key) => return Some(key.clone()),
            None => drop(keys.remove()),
        }
    }
    None
}

/// The page that a key lives in. Part of the format: a snapshot and a SCAN cursor mean the same everywhere.
pub(crate) fn page_of(key: &[u8]) -> usize {
    let mut hasher = SipHasher13::new_with_keys(0x7175_6f72_6174_6501, 0x7061_6765_7300_0001);
    hasher.write(key);
    (hasher.finish() % PAGES as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_session::ClientSessions;
    use crate::value::{Lock, Purpose};

    /// The name of a lock was copied for each session that shared it: one of 1 MiB took 1 GiB, of which the limit on data knew
    /// nothing.
    #[test]
    fn who_shares_a_lock_shares_its_name() {
        let sessions = ClientSessions::default();
        let living = Living { now: Stamp(0), sessions: &sessions };
        let session = |id| Holder::Session(ClientSessionId(id));
        let held = Held::shared_by(&session(0), None);
        let lock = Lock { purpose: Purpose::Exclusion, held, delay_ms: 0, value: None };
        let slot = |lock| Slot {
            value: Value::Lock(Box::new(lock)),
            deadline: None,
            token: FencingToken(1),
            version: Version(1),
        };
        let mut database = Database::default();
        database.put(b"name", slot(lock.clone()));
        // A reader who has gone is not copied, so that there is one of them at a time.
        database.put(b"name", slot(lock.joined(&session(1), None, living).0));
        let held = Held::Alone { holder: session(2), depth: 1 };
        let alone = Lock { held, ..lock.clone() };
        let own = database.pages[page_of(b"name")].slots.keys().next().expect("it is there").as_ptr();
        let of = |keys: &BTreeMap<ClientSessionId, BTreeSet<Bytes>>| {
            keys.values().flatten().map(|key| key.as_ptr()).collect::<Vec<_>>()
        };
        assert_eq!(of(&database.shared), [own]);
        database.put(b"name", slot(alone));
        assert_eq!((of(&database.shared), of(&database.held)), (vec![], vec![own]));
        let node = slot(lock.clone()).bytes(b"name")
            - slot(Lock { held: Held::shared_by(&Holder::Owner(Bytes::new()), None), ..lock }).bytes(b"name");
        assert!(node >= DEADLINE_BYTES as u64, "{node}");
    }
}
