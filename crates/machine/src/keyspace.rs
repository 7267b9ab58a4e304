//! All databases, the fencing counter, and a journal that can take changes back.
//!
//! Every change of a key goes through [`Keyspace::write`], [`Keyspace::create`], [`Keyspace::amend`],
//! [`Keyspace::set_deadline`], [`Keyspace::remove`] or [`Keyspace::flush`]: they alone give out fencing tokens and
//! modification versions, and record what was before while a journal is open.
//!
//! * A string's token is greater than every token given out before, whatever the name.
//! * An overwrite with an equal value, and a change of the deadline, keep the token: the holder is the same.
//! * The version changes with every modification, a change of the deadline included.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use crate::client_session::{ClientSession, ClientSessions};
use crate::database::{Database, Slot, page_of};
use crate::identifiers::{ClientSessionId, FencingToken, Stamp, Version};
use crate::rubbish::Rubbish;
use crate::turnover::{Turnover, turnovers};
use crate::value::{Collection, Held, Living, Purpose, Value};
use crate::waiting::{Ends, Kind, Waiter, Waiting};

/// As many databases as Redis has by default; SELECT takes 0 to 15.
pub const DATABASES: usize = 16;

/// So many who share a key take as long to copy as one key takes to be freed. The same in every build: it decides what is
/// reclaimed with an entry.
const SHARES_PER_KEY: u64 = 12;

/// Tokens stay exact as doubles, which is what scripts and many clients make of integers.
const TOKEN_MAX: u64 = (1 << 53) - 1;

/// Half of the tokens always remain to be given out.
pub(crate) const BASE_MAX: u64 = TOKEN_MAX / 2;

#[derive(Debug)]
pub(crate) struct Keyspace {
    databases: Vec<Database>,
    /// The greatest token given out.
    pub(crate) fence: FencingToken,
    /// The greatest version given out.
    pub(crate) version: Version,
    journal: Option<Journal>,
    rubbish: Rubbish,
    /// Who waits for something to be put at a key, or for it to be free.
    pub(crate) waiting: Waiting,
    /// Those of clients, whose locks the databases know.
    pub(crate) client_sessions: ClientSessions,
    /// What is to be told of who holds locks. Not part of the state.
    pub(crate) turnovers: Vec<Turnover>,
}

/// What it takes to go back to a checkpoint: of whatever was changed since, how it was then.
///
/// Only the first change of a key is recorded. A script may change one key a million times, and each version that was
/// kept would keep nodes of a collection that no later one shares.
#[derive(Debug)]
struct Journal {
    fence: FencingToken,
    version: Version,
    databases: BTreeMap<usize, Changed>,
    /// How much was to be told.
    turnovers: usize,
}

/// What one database was at the checkpoint, where it changed since. As nothing is recorded twice, it does not matter in
/// which order it is put back, but for two things:
///
/// * a flush takes the whole database, so that what changes behind it has no record; what changed before it is in the
///   database that was taken, and goes back once that is there;
/// * to take a key back can raise [`crate::database::Page::removed`], so that this goes back last.
#[derive(Debug, Default)]
struct Changed {
    slots: BTreeMap<Bytes, Option<Slot>>,
    /// Of the pages of these keys.
    removed: BTreeMap<usize, Version>,
    /// As it was just before its first flush.
    flushed: Option<Database>,
}

impl Keyspace {
    pub(crate) fn new() -> Self {
        Self {
            databases: vec![Database::default(); DATABASES],
            fence: FencingToken(0),
            version: Version(0),
            journal: None,
            rubbish: Rubbish::default(),
            waiting: Waiting::default(),
            client_sessions: ClientSessions::default(),
            turnovers: Vec::new(),
        }
    }

    pub(crate) fn database(&self, db: usize) -> &Database {
        &self.databases[db]
    }

    pub(crate) fn databases(&self) -> &[Database] {
        &self.databases
    }

    /// The slot of a key that exists.
    pub(crate) fn get(&self, db: usize, key: &[u8], now: Stamp) -> Option<&Slot> {
        let database = &self.databases[db];
        database.slot(key).filter(|slot| database.has(slot, now))
    }

    /// The data of all databases in bytes, that of expired keys not yet reclaimed included.
    pub(crate) fn bytes(&self) -> u64 {
        self.databases.iter().map(Database::bytes).sum()
    }

    /// Takes out of the queues who waits longest for what is at a key, for nothing to be there, or for a lock that he may enter
    /// as it is; before all of them the first whose session is gone, who is told so.
    pub(crate) fn take_first_to_serve(&mut self, db: usize, key: &[u8], now: Stamp) -> Option<Arc<Waiter>> {
        let (database, living) = (&self.databases[db], Living { now, sessions: &self.client_sessions });
        let is_gone = |session| living.sessions.get(session).is_none() && !bug::on(Bug::GivenToTheGone);
        if let Some(gone) = self.waiting.take_gone(db, key, is_gone) {
            return Some(gone);
        }
        let slot_of = |key: &[u8]| {
            let is_there = |slot: &&Slot| database.has(slot, now) && !slot.is_vacant(living);
            database.slot(key).filter(is_there)
        };
        let Some(slot) = slot_of(key) else {
            return self.waiting.take_first_for_vacancy(db, key, |key| slot_of(key).is_none());
        };
        if let Value::Semaphore(semaphore) = &slot.value {
            return self.waiting.take_first_for_permits(db, key, semaphore.free(living));
        }
        // One that its holder has lost is nobody's yet.
        slot.current_token(living)?;
        match &slot.value {
            Value::Lock(lock) => match &lock.held {
                Held::Alone { .. } if lock.purpose == Purpose::Leadership => None,
                Held::Alone { holder, .. } => self.waiting.take_reentrant(db, key, holder),
                Held::Shared(_) => {
                    self.waiting.take_reader(db, key, lock.has_room(living), lock.readers(living))
                }
            },
            Value::Set(set) => self.waiting.take_first_for_members(db, key, set.len() as u64),
            value => self.waiting.take_first(db, key, Kind::of(value)?),
        }
    }

    /// Nobody can be served at the key that was woken first. Answers how many were looked at for that: of those who share what
    /// is there, and of the sessions whose end might have changed it, or may now.
    pub(crate) fn settle(&mut self, (db, key): &(usize, Bytes), now: Stamp) -> usize {
        let slot = self.get(*db, key, now);
        let shares = slot.map_or(0, Slot::shares);
        let Ends { at, mut sessions } = slot.map(|slot| slot.ends(self.living(now))).unwrap_or_default();
        sessions.extend(self.waiting.session_of_first(*db, key));
        let known = sessions.len();
        // What is over and there all the same, as a defect has it, ends no second time.
        let forgotten = self.waiting.settle(Ends { at: at.filter(|at| *at >= now), sessions });
        shares.max(known).max(forgotten)
    }

    /// Has all who wait know what may let them have what they wait for: after a snapshot was restored, in which nobody waits for
    /// what he can have.
    pub(crate) fn settle_all(&mut self, now: Stamp) {
        while let Some(woken) = self.waiting.first_woken(now) {
            self.settle(&woken, now);
        }
    }

    /// Whether nobody has what is at a key, since time, or a session, is over.
    fn has_ended(&self, db: usize, slot: &Slot) -> bool {
        let database = &self.databases[db];
        !database.has_now(slot) || slot.is_vacant(self.living(database.now()))
    }

    /// Who is there of those who hold something.
    pub(crate) fn living(&self, now: Stamp) -> Living<'_> {
        Living { now, sessions: &self.client_sessions }
    }

    /// The soonest deadline of a key, of a command that waits, or of a client session.
    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        let keys = self.databases.iter().filter_map(Database::next_deadline);
        keys.chain(self.waiting.next_deadline()).chain(self.client_sessions.next_deadline()).min()
    }

    /// Sets a key; it keeps its token if it exists with an equal value.
    pub(crate) fn write(&mut self, db: usize, key: &[u8], value: Value, deadline: Option<Stamp>, now: Stamp) {
        let token = match self.get(db, key, now) {
            Some(present) if present.value == value => present.token,
            None if bug::on(Bug::KeptToken) => self.fence,
            Some(_) | None => self.next_token(),
        };
        self.replace(db, key, value, deadline, token);
    }

    /// Sets a key as a new acquisition, whatever it held.
    pub(crate) fn create(&mut self, db: usize, key: &[u8], value: Value, deadline: Option<Stamp>) {
        let token = self.next_token();
        self.replace(db, key, value, deadline, token);
    }

    /// Sets a key, of which this token is the newest.
    pub(crate) fn replace(
        &mut self,
        db: usize,
        key: &[u8],
        value: Value,
        deadline: Option<Stamp>,
        token: FencingToken,
    ) {
        if let Some(previous) = self.put(db, key, value, deadline, token) {
            self.rubbish.add_value(previous.value);
        }
    }

    /// Puts a slot, and answers the one that was there.
    fn put(
        &mut self,
        db: usize,
        key: &[u8],
        value: Value,
        deadline: Option<Stamp>,
        token: FencingToken,
    ) -> Option<Slot> {
        let version = self.next_version();
        let slot = Slot { value, deadline, token, version };
        if !self.rubbish.is_empty() {
            self.rubbish.give_way(slot.bytes(key));
        }
        self.record(db, key);
        self.waiting.wake(db, key);
        let database = &self.databases[db];
        let before = database.slot(key);
        let has_ended = before.is_some_and(|before| self.has_ended(db, before));
        self.turnovers.extend(turnovers(db, key, (before, has_ended), Some(&slot)));
        self.databases[db].put(key, slot)
    }

    /// Changes a collection where it is, or a new one; it is gone if it is empty afterwards. Only for changes that
    /// happen: each counts as a modification. The token stays what it was when the collection was created.
    ///
    /// # Panics
    /// If the key holds another type.
    pub(crate) fn edit<C: Collection, R>(
        &mut self,
        db: usize,
        key: &[u8],
        now: Stamp,
        change: impl FnOnce(&mut C) -> R,
    ) -> R {
        let Some(present) = self.get(db, key, now) else {
            let mut collection = C::default();
            let result = change(&mut collection);
            if !collection.is_empty() {
                self.create(db, key, collection.into_value(), None);
            }
            return result;
        };
        let bytes = present.bytes(key);
        let version = self.next_version();
        self.record(db, key);
        let edited = self.databases[db].edit(key, |slot| {
            slot.version = version;
            let collection = C::of_mut(&mut slot.value).expect("the type was asked for before");
            let result = change(collection);
            let (is_empty, is_set) = (collection.is_empty(), matches!(slot.value, Value::Set(_)));
            (result, is_empty, is_set, slot.bytes(key))
        });
        let (result, is_empty, is_set, bytes_after) = edited.expect("the key exists");
        if !self.rubbish.is_empty() {
            self.rubbish.give_way(bytes_after.saturating_sub(bytes));
        }
        if is_empty {
            self.databases[db].remove(key);
        }
        // Somebody may wait for the key to be free, or for a set to have more members. That it has fewer now wakes in vain.
        if is_empty || is_set {
            self.waiting.wake(db, key);
        }
        result
    }

    /// Changes what a key holds, and until when, for whoever holds it already: the token stays. Only for a key that exists.
    pub(crate) fn amend(&mut self, db: usize, key: &[u8], value: Value, deadline: Option<Stamp>) {
        let token = self.databases[db].slot(key).expect("the key was asked for before").token;
        self.replace(db, key, value, deadline, token);
    }

    /// Changes the deadline of a key. Returns whether it exists.
    pub(crate) fn set_deadline(
        &mut self,
        db: usize,
        key: &[u8],
        deadline: Option<Stamp>,
        now: Stamp,
    ) -> bool {
        let Some(present) = self.get(db, key, now) else { return false };
        let (value, token) = (present.value.clone(), present.token);
        self.put(db, key, value, deadline, token);
        true
    }

    /// Removes a key. Returns its slot, if it existed.
    pub(crate) fn remove(&mut self, db: usize, key: &[u8], now: Stamp) -> Option<Slot> {
        let existed = self.get(db, key, now).is_some();
        let has_ended = self.has_ended(db, self.databases[db].slot(key)?);
        self.record(db, key);
        let slot = self.databases[db].remove(key)?;
        self.waiting.wake(db, key);
        self.turnovers.extend(turnovers(db, key, (Some(&slot), has_ended), None));
        self.rubbish.add_value(slot.value.clone());
        existed.then_some(slot)
    }

    /// Keeps what a key holds from being freed at once by an edit that leaves little of it.
    pub(crate) fn part_with(&mut self, db: usize, key: &[u8]) {
        if let Some(slot) = self.databases[db].slot(key) {
            self.rubbish.add_value(slot.value.clone());
        }
    }

    /// Removes every key of a database. Answers how many of them somebody waits for to be free.
    pub(crate) fn flush(&mut self, db: usize) -> usize {
        if self.databases[db].keys() == 0 {
            return 0;
        }
        let emptied = self.databases[db].emptied(self.version);
        let previous = std::mem::replace(&mut self.databases[db], emptied);
        let woken = self.waiting.wake_all(db);
        let flushed =
            self.journal.as_mut().map(|journal| &mut journal.databases.entry(db).or_default().flushed);
        match flushed {
            Some(flushed @ None) => *flushed = Some(previous),
            // What came after a flush is not gone back to.
            Some(Some(_)) | None => self.rubbish.add(previous),
        }
        woken
    }

    /// Opens a client session under a number that no other has had.
    pub(crate) fn open_client_session(&mut self, session: ClientSession) -> ClientSessionId {
        let id = ClientSessionId(self.next_token().0);
        self.client_sessions.put(id, session);
        id
    }

    /// How many locks a client session holds.
    pub(crate) fn locks_of(&self, id: ClientSessionId) -> usize {
        self.databases.iter().map(|database| database.locks_of(id)).sum()
    }

    /// A client session is not open any more: its locks are free, and those who wait for them are woken.
    pub(crate) fn end_client_session(&mut self, id: ClientSessionId) {
        self.databases.iter_mut().for_each(|database| database.end_client_session(id));
        self.waiting.end_client_session(id);
    }

    /// Has client sessions that are not open have no locks: for a snapshot that is restored.
    pub(crate) fn end_unknown_client_sessions(&mut self) {
        let is_unknown = |id: &ClientSessionId| self.client_sessions.get(*id).is_none();
        let holders = self.databases.iter().flat_map(Database::holders);
        let unknown: BTreeSet<_> = holders.filter(is_unknown).collect();
        // Nobody is woken by it: those who wait for one of their locks do so for another one, too.
        for database in &mut self.databases {
            for id in &unknown {
                database.end_client_session(*id);
            }
        }
    }

    /// Lets time pass: what is free by it goes to those who wait. Returns how many keys and sessions expired by it.
    pub(crate) fn expire(&mut self, now: Stamp) -> u64 {
        let mut expired = self.advance(now);
        while let Some(id) = self.client_sessions.take_expired(now) {
            self.end_client_session(id);
            expired += 1;
        }
        expired
    }

    /// Lets time pass: what has a deadline before `now` has expired. Returns how many keys expired by it.
    pub(crate) fn advance(&mut self, now: Stamp) -> u64 {
        self.databases.iter_mut().map(|database| database.advance(now) as u64).sum()
    }

    /// Removes up to `keys_max` expired keys and shares of sessions that have ended, of each key of which `tell` is told, and frees a little of what was removed.
    /// Where many share a key it counts as several. Returns how many keys and elements were freed.
    pub(crate) fn reclaim(&mut self, keys_max: u64, now: Stamp, mut tell: impl FnMut(usize, &[u8])) -> u64 {
        assert!(self.journal.is_none(), "reclaiming is not part of a command");
        let mut freed = self.sweep();
        let mut left = keys_max;
        for db in 0..self.databases.len() {
            while left > 0
                && let Some(key) = self.databases[db].first_expired()
            {
                let removed = self.databases[db].remove(&key).expect("an indexed deadline belongs to a key");
                tell(db, &key);
                if !bug::on(Bug::SilentExpiry) {
                    self.turnovers.extend(turnovers(db, &key, (Some(&removed), true), None));
                }
                freed += 1 + self.rubbish.add_after(removed.value, freed);
                left -= 1;
            }
            while left > 0
                && let Some(key) = self.databases[db].first_left()
            {
                let shares = self.databases[db].slot(&key).map_or(0, Slot::shares) as u64;
                let keys = 1 + shares / SHARES_PER_KEY;
                freed += keys;
                left = left.saturating_sub(keys);
                if self.remove_the_gone(db, &key, now) {
                    tell(db, &key);
                }
            }
        }
        freed
    }

    /// Has those have no share any more who are gone. Whether nobody has any, so that the key is gone, too.
    fn remove_the_gone(&mut self, db: usize, key: &Bytes, now: Stamp) -> bool {
        let slot = self.databases[db].slot(key).expect("an indexed share belongs to a key");
        let (token, living) = (slot.token, self.living(now));
        let left = match &slot.value {
            Value::Semaphore(semaphore) => {
                let left = semaphore.without_the_gone(living);
                let deadline = left.deadline();
                (!left.is_vacant(living)).then(|| (Value::Semaphore(Box::new(left)), deadline))
            }
            Value::Lock(lock) => {
                lock.without_the_gone(living).map(|(lock, until)| (Value::Lock(Box::new(lock)), until))
            }
            _ => unreachable!("only semaphores and locks have shares"),
        };
        match left {
            Some((value, deadline)) => {
                self.replace(db, key, value, deadline, token);
                false
            }
            None => {
                let removed = self.databases[db].remove(key);
                self.turnovers.extend(turnovers(db, key, (removed.as_ref(), true), None));
                true
            }
        }
    }

    /// Frees a little of what was removed, and returns how many keys and elements that was. Changes no state.
    pub(crate) fn sweep(&mut self) -> u64 {
        self.rubbish.sweep()
    }

    /// Raises the counter from which tokens are taken; never lowers it. A base that would leave too few tokens, as a
    /// wall clock in the year 2106 gives it, counts as the greatest that does not.
    pub(crate) fn raise_fence(&mut self, base: u64) {
        self.fence = self.fence.max(FencingToken(base.min(BASE_MAX)));
    }

    /// Gives a token to nobody.
    pub(crate) fn skip_token(&mut self) {
        self.next_token();
    }

    pub(crate) fn next_token(&mut self) -> FencingToken {
        // At a million acquisitions a second this takes 285 years. To go on would break what tokens are for.
        assert!(self.fence.0 < TOKEN_MAX, "the fencing counter is used up");
        self.fence.0 += 1;
        self.fence
    }

    fn next_version(&mut self) -> Version {
        self.version.0 += 1;
        self.version
    }

    /// Gives a database to a snapshot that is being restored, which puts slots back as they were.
    pub(crate) fn restoring(&mut self, db: usize) -> &mut Database {
        &mut self.databases[db]
    }

    /// Begins to record changes, so that [`Keyspace::rollback`] can take them back.
    pub(crate) fn checkpoint(&mut self) {
        assert!(self.journal.is_none(), "checkpoints do not nest");
        let (fence, version, turnovers) = (self.fence, self.version, self.turnovers.len());
        self.journal = Some(Journal { fence, version, databases: BTreeMap::new(), turnovers });
    }

    /// Takes back every change since the checkpoint, counters included, and stops recording.
    pub(crate) fn rollback(&mut self) {
        let journal = self.journal.take().expect("a rollback follows a checkpoint");
        for (db, changed) in journal.databases {
            let database = &mut self.databases[db];
            if let Some(flushed) = changed.flushed {
                self.rubbish.add(std::mem::replace(database, flushed));
            }
            for (key, slot) in changed.slots {
                if let Some(since) = database.take_back(&key, slot) {
                    outdate(&mut self.rubbish, since, database.slot(&key));
                }
            }
            changed.removed.into_iter().for_each(|(page, version)| database.restore_removed(page, version));
        }
        self.turnovers.truncate(journal.turnovers);
        self.fence = journal.fence;
        self.version = journal.version;
    }

    /// Keeps every change since the checkpoint and stops recording.
    pub(crate) fn commit(&mut self) {
        let journal = self.journal.take().expect("a commit follows a checkpoint");
        for (db, changed) in journal.databases {
            for (key, slot) in changed.slots {
                if let Some(slot) = slot {
                    outdate(&mut self.rubbish, slot, self.databases[db].slot(&key));
                }
            }
            changed.flushed.into_iter().for_each(|database| self.rubbish.add(database));
        }
    }

    /// Keeps what a key has for a rollback, before its first change since the checkpoint.
    fn record(&mut self, db: usize, key: &[u8]) {
        let Some(journal) = &mut self.journal else { return };
        let (changed, database) = (journal.databases.entry(db).or_default(), &self.databases[db]);
        if changed.flushed.is_none() && !changed.slots.contains_key(key) {
            changed.slots.insert(Bytes::copy_from_slice(key), database.slot(key).cloned());
            changed.removed.entry(page_of(key)).or_insert(database.removed(key));
        }
    }
}

/// Takes another version of what a key has now, if it has something. Edits of one collection share most of it, as the
/// token tells and that about as much is there: this takes less to free at once than to keep for later.
fn outdate(rubbish: &mut Rubbish, other: Slot, present: Option<&Slot>) {
    let bytes = other.value.bytes();
    if !present.is_some_and(|present| present.token == other.token && present.value.bytes() >= bytes / 2) {
        rubbish.add_value(other.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::settings::Limits;
    use crate::state::State;
    use crate::value::{Holder, List, Lock};
    use proptest::collection::vec;
    use proptest::prelude::*;

    const NOW: Stamp = Stamp(50);

    /// One change: which, in which database, of which key, and until when.
    type Edit = (u8, usize, u8, u64);

    /// Changes a list, or what a key holds that has none: several elements at a time, so that there are trees.
    fn edit_list(keyspace: &mut Keyspace, db: usize, key: &[u8], number: u64) {
        let len = match keyspace.get(db, key, NOW).map(|slot| &slot.value) {
            None => 0,
            Some(Value::List(list)) => list.len(),
            Some(_) => return,
        };
        let place = usize::try_from(number).expect("a small number") % (len + 1);
        let change = |list: &mut List| match number % 3 {
            0 if place < len => list.replace(place, b"other"),
            1 if place < len => (place..len.min(place + 20)).for_each(|_| drop(list.remove(place))),
            _ => (0..20u8).for_each(|element| list.insert(place, &[element])),
        };
        keyspace.edit(db, key, NOW, change);
    }

    /// A lock that a client session holds: 9 has ended before, 10 is open.
    fn lock_of(id: ClientSessionId) -> Value {
        let held = Held::Alone { holder: Holder::Session(id), depth: 1 };
        Value::Lock(Box::new(Lock { purpose: Purpose::Exclusion, held, delay_ms: 0, value: None }))
    }

    fn edit(keyspace: &mut Keyspace, (which, db, key, deadline): Edit) {
        if which > 10 {
            return edit_list(keyspace, db, &[key], deadline);
        }
        let (key, deadline) = ([key], Some(Stamp(deadline)).filter(|deadline| deadline.0 % 3 > 0));
        let value = Value::String(Bytes::copy_from_slice(&[which]));
        match which {
            0..=3 => keyspace.write(db, &key, value, deadline, NOW),
            4 => keyspace.create(db, &key, value, deadline),
            5 | 6 => drop(keyspace.remove(db, &key, NOW)),
            // A lock of a session has none.
            7 if keyspace.get(db, &key, NOW).is_some_and(|slot| slot.client_session().is_some()) => {}
            7 => {
                keyspace.set_deadline(db, &key, deadline, NOW);
            }
            8 => assert_eq!(keyspace.flush(db), 0, "nobody waits"),
            _ => keyspace.create(db, &key, lock_of(ClientSessionId(u64::from(which))), None),
        }
    }

    fn machine(edits: &[Edit]) -> Machine {
        let mut state = State::new(Limits::default());
        state.keyspace.advance(NOW);
        edits.iter().for_each(|change| edit(&mut state.keyspace, *change));
        Machine::from_state(state)
    }

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        vec((0..18u8, 0..2usize, 0..6u8, 0..100u64), 0..60)
    }

    #[test]
    fn writes_free_twice_what_they_take_of_what_was_flushed() {
        let mut keyspace = Keyspace::new();
        let fill = |keyspace: &mut Keyspace, keys: std::ops::Range<u32>| {
            for key in keys {
                let value = Value::String(Bytes::from_static(b"value"));
                keyspace.write(0, &key.to_be_bytes(), value, Some(Stamp(u64::from(key))), Stamp(0));
            }
        };
        fill(&mut keyspace, 0..10_000);
        keyspace.flush(0);
        fill(&mut keyspace, 0..4_000);
        assert!(!keyspace.rubbish.is_empty());
        fill(&mut keyspace, 4_000..5_000);
        assert!(keyspace.rubbish.is_empty());
    }

    #[test]
    fn a_small_database_is_freed_at_once() {
        let mut keyspace = Keyspace::new();
        keyspace.create(0, b"key", Value::String(Bytes::from(vec![0; 100_000])), None);
        keyspace.flush(0);
        assert!(keyspace.rubbish.is_empty());
    }

    /// Whoever removed the last reference to a list of millions freed it there and then, in seconds.
    #[test]
    fn a_large_value_is_freed_later_whatever_takes_its_key() {
        let list = || {
            let mut list = List::default();
            (0..10_000u32).for_each(|element| list.push_back(&element.to_be_bytes()));
            Value::List(list)
        };
        let small = || Value::String(Bytes::from_static(b"v"));
        let ways: [fn(&mut Keyspace, Value); 6] = [
            |keyspace, _| drop(keyspace.remove(0, b"list", NOW)),
            |keyspace, small| keyspace.write(0, b"list", small, None, NOW),
            |keyspace, small| keyspace.create(0, b"list", small, None),
            |keyspace, _| assert_eq!(keyspace.flush(0), 0, "nobody waits"),
            |keyspace, _| {
                keyspace.part_with(0, b"list");
                keyspace.edit(0, b"list", NOW, |list: &mut List| list.trim(5..6));
            },
            |keyspace, _| {
                keyspace.set_deadline(0, b"list", Some(Stamp(49)), NOW);
                keyspace.advance(NOW);
                assert_eq!(keyspace.reclaim(1, NOW, |_, _| {}), 1, "the key alone");
            },
        ];
        for way in ways {
            let mut keyspace = Keyspace::new();
            keyspace.create(0, b"list", list(), None);
            way(&mut keyspace, small());
            let mut freed = 0;
            while !keyspace.rubbish.is_empty() {
                freed += keyspace.sweep();
            }
            assert_eq!(freed / 9_990, 1, "{freed} elements were left to free");
        }
        // Many that are small by themselves are as much work.
        let mut keyspace = Keyspace::new();
        for key in 0..100u8 {
            keyspace
                .edit(0, &[key], NOW, |list: &mut List| (0..500).for_each(|_| list.push_back(b"element")));
            keyspace.set_deadline(0, &[key], Some(Stamp(60)), NOW);
        }
        keyspace.advance(Stamp(70));
        let mut freed = keyspace.reclaim(1000, NOW, |_, _| {});
        assert!(freed < 2_000 && keyspace.database(0).keys() == 0, "{freed} at once");
        while !keyspace.rubbish.is_empty() {
            freed += keyspace.sweep();
        }
        assert_eq!(freed, 100 * 501);
        // Within a script, the journal holds it until the end.
        for way in &ways[..5] {
            let mut keyspace = Keyspace::new();
            keyspace.create(0, b"list", list(), None);
            keyspace.checkpoint();
            way(&mut keyspace, small());
            assert!((0..100).map(|_| keyspace.sweep()).sum::<u64>() < 100, "it is only let go of");
            keyspace.commit();
            assert!((0..9).map(|_| keyspace.sweep()).sum::<u64>() > 9_000);
        }
    }

    /// Each version of a list that was kept also kept the nodes that the next one had copied: some KiB for each call in
    /// a script's loop, on every replica, until the script ended.
    #[test]
    fn a_journal_holds_one_version_of_a_key_however_often_it_changes() {
        let mut keyspace = Keyspace::new();
        let push = |keyspace: &mut Keyspace, element: &[u8]| {
            keyspace.edit(0, b"list", NOW, |list: &mut List| list.push_back(element));
        };
        (0..100u8).for_each(|element| push(&mut keyspace, &[element]));
        keyspace.checkpoint();
        (0..100u8).for_each(|element| push(&mut keyspace, &[element]));
        keyspace.flush(1);
        (0..100).for_each(|_| keyspace.write(0, b"string", Value::String(Bytes::new()), None, NOW));
        let recorded = |keyspace: &Keyspace, db: usize| {
            keyspace.journal.as_ref().and_then(|journal| Some(journal.databases.get(&db)?.slots.len()))
        };
        assert_eq!(recorded(&keyspace, 0), Some(2));
        assert_eq!(recorded(&keyspace, 1), None, "a flush of nothing changes nothing");
        keyspace.flush(0);
        push(&mut keyspace, b"new");
        keyspace.flush(0);
        keyspace.write(0, b"other", Value::String(Bytes::new()), None, NOW);
        assert_eq!(recorded(&keyspace, 0), Some(2), "the database before the flush has it all");
        keyspace.rollback();
        let list = keyspace.get(0, b"list", NOW).and_then(|slot| List::of(&slot.value).map(List::len));
        assert_eq!((list, keyspace.database(0).keys()), (Some(100), 1));
    }

    proptest! {
        #[test]
        fn a_rollback_leaves_what_the_checkpoint_found(before in edits(), undone in edits(), after in edits()) {
            let mut machine = machine(&before);
            machine.state.keyspace.end_client_session(ClientSessionId(9));
            let (hash, stats) = (machine.hash(), machine.stats());
            let keyspace = &mut machine.state.keyspace;
            keyspace.checkpoint();
            undone.iter().for_each(|change| edit(keyspace, *change));
            keyspace.rollback();
            prop_assert_eq!(machine.hash(), hash);
            prop_assert_eq!(machine.stats(), stats);
            // Begun anew, it gives what it would have given at first.
            let keyspace = &mut machine.state.keyspace;
            keyspace.checkpoint();
            after.iter().for_each(|change| edit(keyspace, *change));
            keyspace.commit();
            let mut other = super::tests::machine(&before);
            other.state.keyspace.end_client_session(ClientSessionId(9));
            after.iter().for_each(|change| edit(&mut other.state.keyspace, *change));
            prop_assert_eq!(machine.hash(), other.hash());
            prop_assert_eq!(machine.stats(), other.stats());
        }

        #[test]
        fn counts_and_deadlines_are_those_of_the_slots(edits in edits()) {
            let mut machine = machine(&edits);
            machine.state.keyspace.end_client_session(ClientSessionId(9));
            for database in machine.state.keyspace.databases() {
                let slots: Vec<&Slot> = database.pages().iter().flat_map(|page| page.slots.values()).collect();
                prop_assert_eq!(database.keys(), slots.len());
                prop_assert_eq!(database.live_keys(), slots.iter().filter(|slot| database.has(slot, NOW)).count());
                let is_of = |slot: &&&Slot, id| slot.client_session() == Some(ClientSessionId(id));
                let orphans = slots.iter().filter(|slot| is_of(slot, 9)).count();
                prop_assert_eq!(database.locks_of(ClientSessionId(9)), 0);
                prop_assert_eq!(database.locks_of(ClientSessionId(10)), slots.iter().filter(|slot| is_of(slot, 10)).count());
                let soonest = slots.iter().filter_map(|slot| slot.deadline).min();
                let soonest = if orphans > 0 { Some(Stamp(0)) } else { soonest };
                prop_assert_eq!(database.next_deadline(), soonest);
                if slots.is_empty() {
                    prop_assert_eq!(database.bytes(), 0);
                }
            }
        }
    }
}
