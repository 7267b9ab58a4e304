//! Random histories with power cuts at random moments, also in the middle of recovery, against a model.
//! HAZARDS 20, 21.
//!
//! The model keeps every state that the log went through record by record. After a crash the log must be in one
//! of the states since the last sync, no matter which subset of the unsynced writes has survived.

use proptest::prelude::*;
use quorate_log::{Error, HardState, Log, LogEntry, Recovered, SnapshotHeader, Write};

use crate::{
    entry,
    memory_disk::{Choices, Fault, MemoryDisk},
    open,
};

#[derive(Clone, Debug)]
enum Action {
    Append {
        count: u64,
        payload: usize,
    },
    Promise {
        terms: u64,
        vote: u64,
    },
    Replace {
        back: u64,
        count: u64,
    },
    Sync,
    Mark,
    Maintain,
    Snapshot {
        back: u64,
    },
    Install {
        ahead: u64,
    },
    /// The process is killed.
    Kill,
    /// The power fails.
    Cut {
        seed: u64,
    },
    /// The power fails after so many more changes of the disk.
    Fuse {
        changes: u64,
        seed: u64,
    },
    /// A sync fails; the process ends, and starts again on what the page cache shows.
    FailSync {
        after: u64,
    },
    /// The disk has room for so many more bytes.
    Fill {
        bytes: u64,
    },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (1..6_u64, 0..200_usize).prop_map(|(count, payload)| Action::Append { count, payload }),
        2 => (0..3_u64, 0..4_u64).prop_map(|(terms, vote)| Action::Promise { terms, vote }),
        2 => (1..6_u64, 0..4_u64).prop_map(|(back, count)| Action::Replace { back, count }),
        6 => Just(Action::Sync),
        1 => Just(Action::Mark),
        2 => Just(Action::Maintain),
        2 => (0..6_u64).prop_map(|back| Action::Snapshot { back }),
        1 => (1..6_u64).prop_map(|ahead| Action::Install { ahead }),
        1 => Just(Action::Kill),
        2 => any::<u64>().prop_map(|seed| Action::Cut { seed }),
        1 => (0..6_u64).prop_map(|after| Action::FailSync { after }),
        1 => (0..2000_u64).prop_map(|bytes| Action::Fill { bytes }),
        3 => (0..25_u64, any::<u64>()).prop_map(|(changes, seed)| Action::Fuse { changes, seed }),
    ]
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The index before the first entry.
    base: u64,
    entries: Vec<LogEntry>,
    hard_state: HardState,
}

impl State {
    fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    fn truncate(&mut self, from: u64) {
        self.entries.retain(|entry| entry.index < from);
    }

    /// The entries after a snapshot: none when the log does not hold the entry that it ends with.
    fn after(&self, snapshot: &SnapshotHeader) -> Vec<LogEntry> {
        let holds = snapshot.index == self.base
            || self.entries.iter().any(|entry| (entry.index, entry.term) == (snapshot.index, snapshot.term));
        self.entries.iter().filter(|entry| holds && entry.index > snapshot.index).cloned().collect()
    }
}

struct Model {
    disk: MemoryDisk,
    log: Option<Log<MemoryDisk>>,
    /// All states since the last sync, that one included.
    states: Vec<State>,
    /// The newest snapshot that must be there; index 0 stands for none.
    snapshot: SnapshotHeader,
    /// One that may be there, too, since making it failed at some point.
    perhaps: Option<SnapshotHeader>,
    incarnation: u64,
    cut_seed: u64,
}

fn header(index: u64, term: u64) -> SnapshotHeader {
    SnapshotHeader { index, term, stamp: 0, membership: bytes::Bytes::new(), bytes: 5 }
}

impl Model {
    fn new() -> Self {
        let disk = MemoryDisk::default();
        let log = open(&disk).unwrap().0;
        let states = vec![State::default()];
        Self {
            disk,
            log: Some(log),
            states,
            snapshot: header(0, 0),
            perhaps: None,
            incarnation: 1,
            cut_seed: 1,
        }
    }

    fn now(&self) -> State {
        self.states.last().unwrap().clone()
    }

    fn log(&mut self) -> &mut Log<MemoryDisk> {
        self.log.as_mut().unwrap()
    }

    /// Writes a batch, and notes each state that a torn write may leave.
    fn write(&mut self, write: &Write) -> Result<(), Error> {
        let mut state = self.now();
        if let Some(hard_state) = write.hard_state {
            state.hard_state = hard_state;
            self.states.push(state.clone());
        }
        if let Some(from) = write.truncate_from {
            state.truncate(from);
            self.states.push(state.clone());
        }
        for entry in &write.entries {
            state.entries.push(entry.clone());
            self.states.push(state.clone());
        }
        self.log().write(write)
    }

    fn entries(&self, from: u64, count: u64, payload: usize) -> Vec<LogEntry> {
        let term = self.now().hard_state.term;
        // Replaced entries differ from those before by the length of the history.
        let payload = format!("{}{}", self.states.len(), "x".repeat(payload));
        (from..from + count).map(|index| entry(index, term, &payload)).collect()
    }

    fn synced(&mut self) {
        self.states.drain(..self.states.len() - 1);
    }

    fn make_snapshot(&mut self, header: SnapshotHeader) -> Result<(), Error> {
        self.perhaps = Some(header.clone());
        let mut writer = self.log().snapshots().begin(&header)?;
        writer.write(b"state")?;
        writer.finish()?;
        self.snapshot = header;
        self.perhaps = None;
        Ok(())
    }

    fn run(&mut self, action: &Action) -> Result<(), Error> {
        let state = self.now();
        match *action {
            Action::Append { count, payload } => {
                let entries = self.entries(state.last() + 1, count, payload);
                self.write(&Write { entries, ..Write::default() })?;
            }
            Action::Promise { terms, vote } => {
                let mut hard_state = HardState { commit: state.last(), ..state.hard_state };
                if terms > 0 || hard_state.vote == 0 {
                    hard_state = HardState { term: hard_state.term + terms, vote, ..hard_state };
                }
                self.write(&Write { hard_state: Some(hard_state), ..Write::default() })?;
            }
            Action::Replace { back, count } => {
                let from = (state.last() + 1).saturating_sub(back).max(self.snapshot.index + 1);
                let entries = self.entries(from.min(state.last() + 1), count, 10);
                self.write(&Write { hard_state: None, truncate_from: Some(from), entries })?;
            }
            Action::Sync => {
                self.log().sync()?;
                self.synced();
            }
            Action::Mark => {
                self.log().mark()?;
                self.synced();
            }
            Action::Maintain => drop(self.log().maintain()?),
            Action::Snapshot { back } => {
                let index = state.last().saturating_sub(back);
                if let Some(entry) = state.entries.iter().find(|entry| entry.index == index) {
                    let header = header(index, entry.term);
                    if header.index > self.snapshot.index {
                        self.make_snapshot(header)?;
                        self.log().snapshots().remove_older_than(index)?;
                        self.log().release(index.saturating_sub(2))?;
                        self.synced();
                    }
                }
            }
            Action::Install { ahead } => {
                let header = header(state.last() + ahead, state.hard_state.term);
                self.make_snapshot(header.clone())?;
                self.states.push(State { base: header.index, entries: Vec::new(), ..state });
                self.log().replace_by_snapshot(&header)?;
                self.synced();
            }
            Action::Kill => self.recover(),
            Action::Cut { seed } => {
                self.log = None;
                self.disk.cut_power(&mut Choices::new(seed));
                self.recover();
            }
            Action::Fuse { changes, seed } => {
                self.cut_seed = seed;
                self.disk.set_fuse(Some(changes));
            }
            Action::FailSync { after } => self.disk.set_fault(Fault::Sync { after }),
            Action::Fill { bytes } => self.disk.set_capacity(Some(self.disk.used() + bytes)),
        }
        Ok(())
    }

    /// Opens the log after a crash, checks what was recovered, and that a second recovery finds the same.
    fn recover(&mut self) {
        self.log = None;
        let mut interrupted = false;
        let recovered = loop {
            match open(&self.disk) {
                Ok((log, recovered)) => {
                    self.log = Some(log);
                    break recovered;
                }
                // Recovery itself may meet a fault; once.
                Err(error) => {
                    assert!(!interrupted && self.was_expected(), "not opened: {error}");
                    interrupted = true;
                }
            }
        };
        self.check(&recovered);
        self.disk.mend();
        self.log = None;
        self.disk.cut_power(&mut Choices::new(self.cut_seed));
        let (log, again) = open(&self.disk).unwrap();
        self.log = Some(log);
        // But for zeros that a failed sync left in the page cache alone: what they had covered shows again, and
        // is cut again, since it fits behind nothing that was written after it.
        assert!(interrupted || again.cut.is_none(), "cut again: {:?}", again.cut);
        assert_eq!(
            (&again.entries, again.hard_state, &again.snapshot),
            (&recovered.entries, recovered.hard_state, &recovered.snapshot)
        );
        self.incarnation = again.identity.incarnation;
        let state = State { base: self.snapshot.index, entries: again.entries, hard_state: again.hard_state };
        self.states = vec![state];
    }

    /// Whether an error was to be expected. The process ends, and with the fuse the power; then all is well.
    fn was_expected(&mut self) -> bool {
        self.log = None;
        let burnt = self.disk.has_fuse();
        if burnt {
            self.disk.cut_power(&mut Choices::new(self.cut_seed));
        }
        self.disk.mend() || burnt
    }

    fn check(&mut self, recovered: &Recovered) {
        assert!(recovered.identity.incarnation > self.incarnation, "an incarnation came twice");
        let snapshot = recovered.snapshot.clone().unwrap_or_else(|| header(0, 0));
        let allowed = [Some(&self.snapshot), self.perhaps.as_ref()];
        assert!(allowed.contains(&Some(&snapshot)), "snapshot {} is neither of {allowed:?}", snapshot.index);
        let found = recovered.hard_state;
        let explained = self.states.iter().enumerate().any(|(place, state)| {
            let promised =
                |later: &State| (later.hard_state.term, later.hard_state.vote) == (found.term, found.vote);
            state.after(&snapshot) == recovered.entries && self.states[place..].iter().any(promised)
        });
        assert!(explained, "{recovered:?} is none of {:?}", self.states);
        let last = snapshot.index + recovered.entries.len() as u64;
        assert!((snapshot.index..=last).contains(&found.commit), "commit {} of {last}", found.commit);
        self.snapshot = snapshot;
        self.perhaps = None;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_synced_is_recovered_and_nothing_is_invented(
        actions in proptest::collection::vec(action(), 1..50),
    ) {
        let mut model = Model::new();
        for action in &actions {
            if let Err(error) = model.run(action) {
                prop_assert!(model.was_expected(), "{action:?}: {error}");
                model.recover();
            }
        }
        model.recover();
    }
}
