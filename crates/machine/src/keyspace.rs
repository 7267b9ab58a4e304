//! All databases, the fencing counter, and a journal that can take changes back.
//!
//! Every change of a key goes through [`Keyspace::write`], [`Keyspace::create`], [`Keyspace::set_deadline`],
//! [`Keyspace::remove`] or [`Keyspace::flush`]: they alone give out fencing tokens and modification versions, and
//! record what was before while a journal is open.
//!
//! * A string's token is greater than every token given out before, whatever the name.
//! * An overwrite with an equal value, and a change of the deadline, keep the token: the holder is the same.
//! * The version changes with every modification, a change of the deadline included.

use bytes::Bytes;

use crate::database::{Database, Rubbish, Slot};
use crate::identifiers::{FencingToken, Stamp, Version};
use crate::value::{Collection, Value};

/// As many databases as Redis has by default; SELECT takes 0 to 15.
pub const DATABASES: usize = 16;

/// Tokens stay exact as doubles, which is what scripts and many clients make of integers.
const TOKEN_MAX: u64 = (1 << 53) - 1;

/// Half of the tokens always remain to be given out.
const BASE_MAX: u64 = TOKEN_MAX / 2;

#[derive(Debug)]
pub(crate) struct Keyspace {
    databases: Vec<Database>,
    /// The greatest token given out.
    pub(crate) fence: FencingToken,
    /// The greatest version given out.
    pub(crate) version: Version,
    journal: Option<Journal>,
    rubbish: Rubbish,
}

/// What it takes to go back to a checkpoint.
#[derive(Debug)]
struct Journal {
    fence: FencingToken,
    version: Version,
    changes: Vec<Change>,
}

/// The state before one change.
#[derive(Debug)]
enum Change {
    Slot { db: usize, key: Bytes, previous: Option<Slot>, removed: Version },
    Database { db: usize, previous: Database },
}

impl Keyspace {
    pub(crate) fn new() -> Self {
        Self {
            databases: vec![Database::default(); DATABASES],
            fence: FencingToken(0),
            version: Version(0),
            journal: None,
            rubbish: Rubbish::default(),
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
        self.databases[db].slot(key).filter(|slot| slot.is_live(now))
    }

    /// The data of all databases in bytes, that of expired keys not yet reclaimed included.
    pub(crate) fn bytes(&self) -> u64 {
        self.databases.iter().map(Database::bytes).sum()
    }

    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        self.databases.iter().filter_map(Database::next_deadline).min()
    }

    /// Sets a key; it keeps its token if it exists with an equal value.
    pub(crate) fn write(&mut self, db: usize, key: &[u8], value: Value, deadline: Option<Stamp>, now: Stamp) {
        let token = match self.get(db, key, now) {
            Some(present) if present.value == value => present.token,
            Some(_) | None => self.next_token(),
        };
        self.put(db, key, value, deadline, token);
    }

    /// Sets a key as a new acquisition, whatever it held.
    pub(crate) fn create(&mut self, db: usize, key: &[u8], value: Value, deadline: Option<Stamp>) {
        let token = self.next_token();
        self.put(db, key, value, deadline, token);
    }

    fn put(&mut self, db: usize, key: &[u8], value: Value, deadline: Option<Stamp>, token: FencingToken) {
        let version = self.next_version();
        let slot = Slot { value, deadline, token, version };
        if !self.rubbish.is_empty() {
            self.rubbish.give_way(slot.bytes(key));
        }
        let removed = self.databases[db].removed(key);
        let previous = self.databases[db].put(key, slot);
        self.record(db, key, previous, removed);
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
        let previous = self.journal.is_some().then(|| present.clone());
        let bytes = present.bytes(key);
        let (version, removed) = (self.next_version(), self.databases[db].removed(key));
        let edited = self.databases[db].edit(key, |slot| {
            slot.version = version;
            let collection = C::of_mut(&mut slot.value).expect("the type was asked for before");
            let result = change(collection);
            (result, collection.is_empty(), slot.bytes(key))
        });
        let (result, is_empty, bytes_after) = edited.expect("the key exists");
        if !self.rubbish.is_empty() {
            self.rubbish.give_way(bytes_after.saturating_sub(bytes));
        }
        self.record(db, key, previous, removed);
        if is_empty {
            self.databases[db].remove(key);
        }
        result
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
        let removed = self.databases[db].removed(key);
        let slot = self.databases[db].remove(key)?;
        if self.journal.is_some() {
            self.record(db, key, Some(slot.clone()), removed);
        }
        slot.is_live(now).then_some(slot)
    }

    /// Removes every key of a database.
    pub(crate) fn flush(&mut self, db: usize) {
        if self.databases[db].keys() == 0 {
            return;
        }
        let emptied = self.databases[db].emptied(self.version);
        let previous = std::mem::replace(&mut self.databases[db], emptied);
        match &mut self.journal {
            Some(journal) => journal.changes.push(Change::Database { db, previous }),
            None => self.rubbish.add(previous),
        }
    }

    /// Lets time pass: what has a deadline before `now` has expired. Returns how many keys expired by it.
    pub(crate) fn advance(&mut self, now: Stamp) -> u64 {
        self.databases.iter_mut().map(|database| database.advance(now) as u64).sum()
    }

    /// Removes up to `keys_max` expired keys, and frees a little of what was flushed. Returns how many keys were freed.
    pub(crate) fn reclaim(&mut self, keys_max: u64) -> u64 {
        assert!(self.journal.is_none(), "reclaiming is not part of a command");
        let swept = self.sweep();
        let mut left = keys_max;
        for database in &mut self.databases {
            while left > 0
                && let Some(key) = database.first_expired()
            {
                let removed = database.remove(&key);
                assert!(removed.is_some(), "an indexed deadline belongs to a key");
                left -= 1;
            }
        }
        swept + (keys_max - left)
    }

    /// Frees a little of what was flushed, and returns how many keys that was. Changes no state.
    pub(crate) fn sweep(&mut self) -> u64 {
        self.rubbish.sweep()
    }

    /// Raises the counter from which tokens are taken; never lowers it. A base that would leave too few tokens, as a
    /// wall clock in the year 2106 gives it, counts as the greatest that does not.
    pub(crate) fn raise_fence(&mut self, base: u64) {
        self.fence = self.fence.max(FencingToken(base.min(BASE_MAX)));
    }

    fn next_token(&mut self) -> FencingToken {
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
        self.journal = Some(Journal { fence: self.fence, version: self.version, changes: Vec::new() });
    }

    /// Takes back every change since the checkpoint, counters included, and stops recording.
    pub(crate) fn rollback(&mut self) {
        let journal = self.journal.take().expect("a rollback follows a checkpoint");
        for change in journal.changes.into_iter().rev() {
            match change {
                Change::Slot { db, key, previous, removed } => {
                    self.databases[db].take_back(&key, previous, removed);
                }
                Change::Database { db, previous } => {
                    let since = std::mem::replace(&mut self.databases[db], previous);
                    self.rubbish.add(since);
                }
            }
        }
        self.fence = journal.fence;
        self.version = journal.version;
    }

    /// Keeps every change since the checkpoint and stops recording.
    pub(crate) fn commit(&mut self) {
        let journal = self.journal.take().expect("a commit follows a checkpoint");
        for change in journal.changes {
            match change {
                Change::Slot { .. } => {}
                Change::Database { db: _, previous } => self.rubbish.add(previous),
            }
        }
    }

    fn record(&mut self, db: usize, key: &[u8], previous: Option<Slot>, removed: Version) {
        if let Some(journal) = &mut self.journal {
            journal.changes.push(Change::Slot { db, key: Bytes::copy_from_slice(key), previous, removed });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::settings::Limits;
    use crate::state::State;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const NOW: Stamp = Stamp(50);

    /// One change: which, in which database, of which key, and until when.
    type Edit = (u8, usize, u8, u64);

    fn edit(keyspace: &mut Keyspace, (which, db, key, deadline): Edit) {
        let (key, deadline) = ([key], Some(Stamp(deadline)).filter(|deadline| deadline.0 % 3 > 0));
        let value = Value::String(Bytes::copy_from_slice(&[which]));
        match which {
            0..=3 => keyspace.write(db, &key, value, deadline, NOW),
            4 => keyspace.create(db, &key, value, deadline),
            5 | 6 => drop(keyspace.remove(db, &key, NOW)),
            7 => {
                keyspace.set_deadline(db, &key, deadline, NOW);
            }
            _ => keyspace.flush(db),
        }
    }

    fn machine(edits: &[Edit]) -> Machine {
        let mut state = State::new(Limits::default());
        state.keyspace.advance(NOW);
        edits.iter().for_each(|change| edit(&mut state.keyspace, *change));
        Machine::from_state(state)
    }

    fn edits() -> impl Strategy<Value = Vec<Edit>> {
        vec((0..9u8, 0..2usize, 0..6u8, 0..100u64), 0..30)
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
        keyspace.create(0, b"large", Value::String(Bytes::from(vec![0; 1 << 20])), None);
        keyspace.flush(0);
        assert!(keyspace.rubbish.is_empty());
    }

    proptest! {
        #[test]
        fn a_rollback_leaves_what_the_checkpoint_found(before in edits(), undone in edits(), after in edits()) {
            let mut machine = machine(&before);
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
            prop_assert_eq!(machine.hash(), super::tests::machine(&[before, after].concat()).hash());
        }

        #[test]
        fn counts_and_deadlines_are_those_of_the_slots(edits in edits()) {
            let machine = machine(&edits);
            for database in machine.state.keyspace.databases() {
                let slots: Vec<&Slot> = database.pages().iter().flat_map(|page| page.slots.values()).collect();
                prop_assert_eq!(database.keys(), slots.len());
                prop_assert_eq!(database.live_keys(), slots.iter().filter(|slot| slot.is_live(NOW)).count());
                let soonest = slots.iter().filter_map(|slot| slot.deadline).min();
                prop_assert_eq!(database.next_deadline(), soonest);
                if slots.is_empty() {
                    prop_assert_eq!(database.bytes(), 0);
                }
            }
        }
    }
}
