//! The machine's front: entries in, replies out; reads; what the driver asks.
//!
//! To apply an entry ([`Machine::begin`] and [`Machine::apply_next`], or [`Machine::apply`] at one go) is the only
//! way to change a machine, and depends on nothing but the state and the entry. So two machines that applied the
//! same entries are equal, whatever else happened to their nodes.

use bytes::Bytes;

use crate::applying::Entry;
use crate::cluster_version::ClusterVersion;
use crate::command::{self, Spec};
use crate::context::{Access, Caller, Context, Patience, execute};
use crate::entry::{Seen, Watched};
use crate::identifiers::{SessionId, Stamp, Version};
use crate::keyspace::DATABASES;
use crate::reply::Reply;
use crate::requests::Asker;
use crate::session::Refusal;
use crate::settings::Limits;
use crate::state::State;
use crate::work::{self, Spent};

/// One replica's state.
#[derive(Debug)]
pub struct Machine {
    pub(crate) state: State,
    /// The entry that was begun and is not finished. Not part of the state: a snapshot is taken between entries.
    pub(crate) under_way: Option<Entry>,
    /// The newest version that it knows. Not part of the state: nodes differ in it.
    pub(crate) known: ClusterVersion,
    /// What [`Machine::work`] shows. No reply may depend on it.
    pub(crate) work: u64,
    /// Counts reads, for those that want to be random. Not part of the state: a read leaves no trace.
    reads: u64,
    /// Whether it is a witness's.
    is_without_data: bool,
}

/// What a step of applying has brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// An operation was applied, or one that waited does no more.
    Applied(Applied),
    /// Nobody is answered yet: many keys were looked at, and there are more. The entry is not finished.
    Paused,
    /// There is nothing left to do: [`Machine::applied`] has moved to the entry, and the next one can be begun.
    Finished,
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
    /// It was applied and waits: the reply comes with a later [`Applied`] of the same session and sequence, unless it
    /// leaves. Or its sequence came before, and it still waits.
    Waits,
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
    /// Commands that wait.
    pub waiting: usize,
    /// What they take, in bytes as `quorate-waiting-bytes` counts them.
    pub waiting_bytes: u64,
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

    /// The machine of a witness, which keeps no data: it stands behind entry `applied`, and nothing follows.
    #[must_use]
    pub fn without_data(applied: u64, stamp_ms: u64) -> Self {
        let state = State { applied, stamp: Stamp(stamp_ms), ..State::new(Limits::default()) };
        Self { is_without_data: true, ..Self::from_state(state) }
    }

    /// Whether it is the machine of a witness, which has nothing to tell.
    #[must_use]
    pub fn is_without_data(&self) -> bool {
        self.is_without_data
    }

    pub(crate) fn from_state(state: State) -> Self {
        let known = ClusterVersion::NEWEST;
        Self { state, under_way: None, known, work: 0, reads: 0, is_without_data: false }
    }

    /// The same as another build runs it, which knows versions up to `known`: so the simulator has nodes of two builds.
    #[must_use]
    pub fn of_build(self, known: ClusterVersion) -> Self {
        Self { known, ..self }
    }

    /// Answers a command that changes nothing: of [`crate::Class::Read`], of [`crate::Class::Pure`], or a read-only
    /// script. The state is that after the last applied operation, what has expired by the last begun entry's stamp
    /// left out; `stamp_ms` is the leader's present cluster time, which PTTL and TIME show.
    pub fn read(&mut self, stamp_ms: u64, db: u32, args: &[Bytes]) -> Reply {
        let Some(db) = database(db) else { return Reply::no_such_database() };
        let freed = self.state.keyspace.sweep();
        self.work += work::OPERATION + work::of_time(0, freed);
        self.reads += 1;
        let now = self.state.stamp;
        let mut context = Context {
            db,
            now,
            present: now.max(Stamp(stamp_ms)),
            access: Access::Read,
            caller: Caller::Client,
            asker: Asker::default(),
            seed: self.reads ^ stamp_ms.rotate_left(32),
            draws: 0,
            script_steps_max: self.state.settings.script_steps_max,
            spent: Spent::default(),
            patience: Patience::None,
            state: &mut self.state,
        };
        let reply = execute(&mut context, args);
        self.work += work::of_command(args, &reply, context.spent);
        reply
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
        let watch = |key: &Bytes| Watched { db, key: key.clone(), seen: self.seen(db, key) };
        keys.iter().map(watch).collect()
    }

    pub(crate) fn seen(&self, db: u32, key: &[u8]) -> Seen {
        let State { keyspace, stamp, .. } = &self.state;
        let seen = |db| keyspace.database(db).seen(key, keyspace.living(*stamp));
        database(db).map_or(Seen::Absent(Version(0)), seen)
    }

    /// What [`Machine::begin`], [`Machine::apply_next`] and [`Machine::read`] have cost so far: about a microsecond
    /// a unit, so that whoever drives the machine can tell when it is time to look elsewhere. It only grows.
    ///
    /// An estimate by what was done, within a factor of about three for ordinary commands; a script with a large heap
    /// may have taken much less. It is this process's own: not replicated, and without influence on any reply.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.work
    }

    /// The index of the last entry that was applied to its end; 0: none.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.state.applied
    }

    /// The active version: that in which entries are to be written. It never falls.
    #[must_use]
    pub fn version(&self) -> ClusterVersion {
        self.state.active
    }

    /// The stamp of the last begun entry, in milliseconds of cluster time.
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
        self.state.sessions.retained(id, sequence).flatten()
    }

    /// Whether the command of an applied sequence waits for its reply.
    #[must_use]
    pub fn waits(&self, id: SessionId, sequence: u64) -> bool {
        self.state.keyspace.waiting.contains(id, sequence)
    }

    /// Until which stamp the command of an applied sequence waits, if it waits and not for ever.
    #[must_use]
    pub fn waits_until(&self, id: SessionId, sequence: u64) -> Option<u64> {
        self.state.keyspace.waiting.deadline_of(id, sequence).map(|deadline| deadline.0)
    }

    /// The sessions of which some command waits.
    #[must_use]
    pub fn waiting_sessions(&self) -> Vec<SessionId> {
        self.state.keyspace.waiting.sessions()
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
            waiting: keyspace.waiting.len(),
            waiting_bytes: keyspace.waiting.bytes(),
        }
    }
}

/// The database of a number that a client selected.
pub(crate) fn database(db: u32) -> Option<usize> {
    usize::try_from(db).ok().filter(|db| *db < DATABASES)
}

const _: () = assert!(DATABASES <= u32::MAX as usize);
