//! The machine's front: entries in, replies out; reads; what the driver asks.
//!
//! [`Machine::apply`] is the only way to change a machine, and depends on nothing but the state and the entry. So
//! two machines that applied the same entries are equal, whatever else happened to their nodes.

use bytes::Bytes;

use crate::command::{self, Spec};
use crate::context::{Access, Caller, Context, execute};
use crate::entry::{Batch, Group, Operation, Watched};
use crate::error::Error;
use crate::identifiers::{SessionId, Stamp, Version};
use crate::keyspace::DATABASES;
use crate::reply::Reply;
use crate::session::{Admission, Refusal};
use crate::settings::Limits;
use crate::state::State;

/// One replica's state.
#[derive(Debug)]
pub struct Machine {
    pub(crate) state: State,
    /// Counts reads, for those that want to be random. Not part of the state: a read leaves no trace.
    reads: u64,
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// Whose it is.
    pub session: SessionId,
    /// Its number in the session.
    pub sequence: u64,
    /// What to answer.
    pub outcome: Outcome,
}

/// The answer to an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was applied, now or when its sequence came first.
    Reply(Reply),
    /// It was not applied now. With [`Refusal::Forgotten`] it was applied earlier, with the other refusals never
    /// under this sequence and session, and it never will be.
    Refused(Refusal),
}

/// Figures for INFO and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// For each of the [`DATABASES`].
    pub databases: Vec<DatabaseStats>,
    /// Data in bytes, as far as `maxmemory` counts it.
    pub data_bytes: u64,
    /// Open sessions.
    pub sessions: usize,
    /// Replies that sessions may still ask for.
    pub retained_replies: usize,
    /// Their size in bytes.
    pub retained_reply_bytes: usize,
    /// Cached scripts.
    pub scripts: usize,
    /// Their size in bytes.
    pub script_bytes: u64,
    /// The greatest fencing token given out; 0: none.
    pub fence: u64,
}

/// Figures of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DatabaseStats {
    /// Keys that exist.
    pub keys: usize,
    /// Those among them that will expire.
    pub expires: usize,
}

impl Machine {
    /// An empty machine, before the first entry. `limits` must be the same on every member of the cluster.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self::from_state(State::new(limits))
    }

    pub(crate) fn from_state(state: State) -> Self {
        Self { state, reads: 0 }
    }

    /// Applies the committed entry `index`, stamped `stamp_ms`; without a payload (a blank entry, a configuration)
    /// only time passes. Answers one [`Applied`] for each operation, in order.
    ///
    /// # Errors
    /// Nothing has changed, and the node must stop: see [`Error`].
    pub fn apply(
        &mut self,
        index: u64,
        stamp_ms: u64,
        payload: Option<&Bytes>,
    ) -> Result<Vec<Applied>, Error> {
        let applied = self.state.applied;
        if applied.checked_add(1) != Some(index) {
            return Err(Error::Order { applied, found: index });
        }
        let (before, stamp) = (self.state.stamp, Stamp(stamp_ms));
        if stamp < before {
            return Err(Error::TimeRegressed { before: before.0, after: stamp_ms });
        }
        let batch = payload.map(Batch::decode).transpose()?;
        self.state.applied = index;
        self.state.stamp = stamp;
        let keys_max = self.state.settings.reclaim_keys_max;
        self.state.keyspace.advance(stamp);
        self.state.keyspace.reclaim(keys_max);

        let mut results = Vec::new();
        let mut ordinal = 0;
        for group in batch.iter().flat_map(|batch| &batch.groups) {
            self.apply_group(group, &mut ordinal, &mut results);
        }
        Ok(results)
    }

    fn apply_group(&mut self, group: &Group, ordinal: &mut u64, results: &mut Vec<Applied>) {
        let session = group.session;
        self.state.sessions.acknowledge(session, group.acked);
        for (operation, sequence) in group.operations.iter().zip(group.first_sequence..) {
            let outcome = self.apply_operation(session, sequence, operation, ordinal);
            results.push(Applied { session, sequence, outcome });
        }
    }

    /// Sees to it that a sequence is applied once.
    fn apply_operation(
        &mut self,
        session: SessionId,
        sequence: u64,
        operation: &Operation,
        ordinal: &mut u64,
    ) -> Outcome {
        if sequence == 0 {
            return self.apply_unnumbered(session, operation);
        }
        match self.state.sessions.admit(session, sequence) {
            Admission::Duplicate(reply) => Outcome::Reply(reply),
            Admission::Refused(refusal) => Outcome::Refused(refusal),
            Admission::Fresh => {
                let reply = self.run(operation, ordinal);
                self.state.sessions.retain(session, self.state.applied, &reply, &self.state.settings);
                Outcome::Reply(reply)
            }
        }
    }

    /// Operations that may be applied twice, since the second time changes nothing that matters.
    fn apply_unnumbered(&mut self, session: SessionId, operation: &Operation) -> Outcome {
        match operation {
            Operation::OpenSession => {
                match self.state.sessions.open(session, self.state.applied, &self.state.settings) {
                    Ok(()) => Outcome::Reply(Reply::ok()),
                    Err(refusal) => Outcome::Refused(refusal),
                }
            }
            Operation::Birth { .. } | Operation::Calendar { .. } => {
                Outcome::Reply(self.run(operation, &mut 0))
            }
            Operation::Nothing | Operation::Command { .. } | Operation::Transaction { .. } => {
                Outcome::Refused(Refusal::Misplaced)
            }
        }
    }

    fn run(&mut self, operation: &Operation, ordinal: &mut u64) -> Reply {
        match operation {
            Operation::Nothing => Reply::Null,
            // A session is opened before it has numbers; here it already is.
            Operation::OpenSession => Reply::ok(),
            Operation::Command { db, user: _, args } => self.command(*db, args, ordinal),
            Operation::Transaction { watched, commands } => self.transaction(watched, commands, ordinal),
            Operation::Birth { cluster_id, fence_base, calendar_ms } => {
                self.birth(*cluster_id, *fence_base, *calendar_ms);
                Reply::ok()
            }
            Operation::Calendar { offset_ms } => {
                self.state.calendar_offset_ms = *offset_ms;
                Reply::ok()
            }
        }
    }

    fn birth(&mut self, cluster_id: u128, fence_base: u64, calendar_ms: i64) {
        // 0 stands for an unborn cluster in snapshots.
        if self.state.cluster_id.is_some() || cluster_id == 0 {
            return;
        }
        let stamp_ms = i64::try_from(self.state.stamp.0).unwrap_or(i64::MAX);
        self.state.cluster_id = Some(cluster_id);
        self.state.calendar_offset_ms = calendar_ms.saturating_sub(stamp_ms);
        self.state.keyspace.raise_fence(fence_base);
    }

    fn command(&mut self, db: u32, args: &[Bytes], ordinal: &mut u64) -> Reply {
        *ordinal += 1;
        let Some(db) = database(db) else { return Reply::error("ERR DB index is out of range") };
        // The index in the upper bits: an entry has far fewer than 2^24 commands, and two that met would only
        // draw the same numbers.
        let seed = (self.state.applied << 24) ^ *ordinal;
        let now = self.state.stamp;
        let mut context = Context {
            state: &mut self.state,
            db,
            now,
            present: now,
            access: Access::Write,
            caller: Caller::Client,
            seed,
            draws: 0,
        };
        execute(&mut context, args)
    }

    fn transaction(
        &mut self,
        watched: &[Watched],
        commands: &[(u32, Vec<Bytes>)],
        ordinal: &mut u64,
    ) -> Reply {
        if watched.iter().any(|watched| self.version(watched.db, &watched.key) != watched.version) {
            return Reply::NullArray;
        }
        Reply::Array(commands.iter().map(|(db, args)| self.command(*db, args, ordinal)).collect())
    }

    /// Answers a command that changes nothing: of [`crate::Class::Read`], of
    /// [`crate::Class::Pure`], or a read-only script. The
    /// state is that of the last applied entry, what has expired included; `stamp_ms` is the leader's present
    /// cluster time, which PTTL and TIME show.
    pub fn read(&mut self, stamp_ms: u64, db: u32, args: &[Bytes]) -> Reply {
        let Some(db) = database(db) else { return Reply::error("ERR DB index is out of range") };
        self.state.keyspace.sweep();
        self.reads += 1;
        let now = self.state.stamp;
        let mut context = Context {
            db,
            now,
            present: now.max(Stamp(stamp_ms)),
            access: Access::Read,
            caller: Caller::Client,
            seed: self.reads ^ stamp_ms.rotate_left(32),
            draws: 0,
            state: &mut self.state,
        };
        execute(&mut context, args)
    }

    /// Whether [`Machine::read`] would answer these arguments, be it with an error: they need not go through the
    /// log.
    #[must_use]
    pub fn is_read(args: &[Bytes]) -> bool {
        match command::check(args) {
            Ok(spec) => Spec::is_readonly(spec),
            Err(_) => true,
        }
    }

    /// What WATCH remembers of keys.
    #[must_use]
    pub fn versions(&self, db: u32, keys: &[Bytes]) -> Vec<Watched> {
        let watch = |key: &Bytes| Watched { db, key: key.clone(), version: self.version(db, key) };
        keys.iter().map(watch).collect()
    }

    fn version(&self, db: u32, key: &[u8]) -> Version {
        let slot = database(db).and_then(|db| self.state.keyspace.get(db, key, self.state.stamp));
        slot.map_or(Version(0), |slot| slot.version)
    }

    /// The index of the last applied entry; 0: none.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.state.applied
    }

    /// The stamp of the last applied entry, in milliseconds of cluster time.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.state.stamp.0
    }

    /// Whether anything expires: while it does, time must pass in the log.
    #[must_use]
    pub fn has_deadlines(&self) -> bool {
        self.next_deadline().is_some()
    }

    /// The soonest deadline in milliseconds of cluster time: what has it exists up to and including that
    /// millisecond. It lies in the past while expired keys wait to be reclaimed.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        self.state.keyspace.next_deadline().map(|deadline| deadline.0)
    }

    /// The greatest sequence that was applied for a session, 0 before the first; `None` if it is not open.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<u64> {
        self.state.sessions.last_sequence(id)
    }

    /// The reply to an applied sequence, while it is retained.
    #[must_use]
    pub fn retained(&self, id: SessionId, sequence: u64) -> Option<&Reply> {
        self.state.sessions.retained(id, sequence)
    }

    /// The cluster's id, once it is born.
    #[must_use]
    pub fn cluster_id(&self) -> Option<u128> {
        self.state.cluster_id
    }

    /// What the calendar shows beyond cluster time, in milliseconds.
    #[must_use]
    pub fn calendar_offset(&self) -> i64 {
        self.state.calendar_offset_ms
    }

    /// The replicated limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.state.settings
    }

    /// Present figures.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let State { keyspace, sessions, scripts, .. } = &self.state;
        let figures = |database: &crate::database::Database| DatabaseStats {
            keys: database.live_keys(),
            expires: database.live_deadlines(),
        };
        Stats {
            databases: keyspace.databases().iter().map(figures).collect(),
            data_bytes: keyspace.bytes(),
            sessions: sessions.len(),
            retained_replies: sessions.retained_replies(),
            retained_reply_bytes: sessions.retained_bytes(),
            scripts: scripts.len(),
            script_bytes: scripts.bytes(),
            fence: keyspace.fence.0,
        }
    }
}

fn database(db: u32) -> Option<usize> {
    usize::try_from(db).ok().filter(|db| *db < DATABASES)
}

const _: () = assert!(DATABASES <= u32::MAX as usize);
