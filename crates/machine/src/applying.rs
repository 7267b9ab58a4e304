//! How an entry takes effect: begun once, then applied one operation at a time.
//!
//! One entry can carry more work than a shard may stand still for. So the machine keeps the entry that was begun, and
//! whoever drives it decides after each operation whether to go on at once or to look after the network first. Reads
//! in between are linearizable: each operation takes effect at one instant, and they see those that have.
//!
//! * Behind each operation, and first of all when time has passed, those are answered who wait: whose time is up, or for
//!   whom there is something now. Each of them counts as a step of its own. Where many keys are looked at at which there is
//!   nothing for anybody, that is many steps, too.
//! * Where the driver stops shows in nothing: replies, state and snapshots are those of [`Machine::apply`].
//! * Time passes for the whole entry when it is begun.
//! * [`Machine::applied`] moves when the entry is finished. Until then a crash, like a snapshot, knows nothing of it,
//!   and its operations are applied again from the first one, to the state before it.

use std::sync::Arc;
use std::vec::IntoIter;

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use crate::cluster_version::ClusterVersion;
use crate::command;
use crate::commands::{acquisition, barriers, blocking};
use crate::context::{Access, Caller, Context, Patience, execute};
use crate::entry::{Batch, Group, Operation, Watched};
use crate::error::Error;
use crate::identifiers::{FencingToken, SessionId, Stamp};
use crate::machine::{Applied, Machine, Outcome, Step, database};
use crate::notification::{Classes, Event};
use crate::publication::Publication;
use crate::reply::Reply;
use crate::session::{Admission, Refusal};
use crate::state::State;
use crate::waiting::{Full, Kind, Wait, Waiter};
use crate::work::{self, Purse, Spent};

/// What is left of an entry that was begun. Operations are freed as they are applied.
#[derive(Debug)]
pub(crate) struct Entry {
    index: u64,
    /// Groups whose turn has not come.
    groups: IntoIter<Group>,
    /// Whose operations are next.
    session: SessionId,
    /// The number of the next of them.
    sequence: u64,
    /// The number of the one that is carried out.
    current: u64,
    operations: IntoIter<Operation>,
    /// Commands that were run, those within transactions included.
    commands: u64,
    /// Sessions whose commands are to wait no longer.
    abandoned: Vec<SessionId>,
    /// A command of `session` that is to wait no longer, and whether it is answered by an error.
    unblocked: Option<(u64, bool)>,
    /// A command whose request was asked again: another has its place in the queue.
    replaced: Option<Arc<Waiter>>,
}

/// So much work one step may spend on keys at which there is nothing for those who wait: a tenth of what a driver does at once.
const SETTLING_MAX: u64 = 1_000;

/// What a command is told whose node stops or was out of contact. Redis's clients know the code: they read it when a
/// primary becomes a replica, and ask again.
const ABANDONED: &str = "UNBLOCKED this node stops, or was out of contact: its clients' places in queues were given up. Nothing was taken";

/// What a command is told that has asked first what was asked again while it waited.
const REPLACED: &str =
    "UNBLOCKED the request was sent again, and that command has its place in the queue now";

/// What a command is told that CLIENT UNBLOCK has ended with an error, in Redis's words.
const UNBLOCKED: &str = "UNBLOCKED client unblocked via CLIENT UNBLOCK";

impl Entry {
    fn new(index: u64, batch: Option<Batch>) -> Self {
        Self {
            index,
            groups: batch.map(|batch| batch.groups).unwrap_or_default().into_iter(),
            session: SessionId::default(),
            sequence: 0,
            current: 0,
            operations: IntoIter::default(),
            commands: 0,
            abandoned: Vec::new(),
            unblocked: None,
            replaced: None,
        }
    }
}

/// Up to which deadline keys are reclaimed: those that have expired by `stamp`.
fn reclaimed_by(stamp: Stamp) -> Stamp {
    if bug::on(Bug::EarlyExpiry) {
        Stamp(stamp.0 + 500)
    } else if bug::on(Bug::NoExpiry) || bug::on(Bug::RevivedKeys) {
        Stamp(0)
    } else {
        stamp
    }
}

impl Machine {
    /// Applies the committed entry `index`, stamped `stamp_ms`, at one go: [`Machine::begin`], and
    /// [`Machine::apply_next`] to the end. Answers an [`Applied`] for each operation, in order, and one for each that
    /// waited and does no more.
    ///
    /// # Errors
    /// Those of [`Machine::begin`].
    pub fn apply(
        &mut self,
        index: u64,
        stamp_ms: u64,
        payload: Option<&Bytes>,
    ) -> Result<Vec<Applied>, Error> {
        self.begin(index, stamp_ms, payload)?;
        let mut all = Vec::new();
        loop {
            match self.apply_next() {
                Step::Applied(applied) => all.push(applied),
                Step::Paused => {}
                Step::Finished => return Ok(all),
            }
        }
    }

    /// Begins to apply the committed entry `index`, stamped `stamp_ms`; without a payload (a blank entry, a
    /// configuration) only time passes. What the stamp lets expire has expired after this, and a bounded number of
    /// expired keys is freed. [`Machine::apply_next`] does the rest, and must be called to the end also for an entry
    /// without operations.
    ///
    /// # Errors
    /// Nothing has changed, and the node must stop: see [`Error`].
    ///
    /// # Panics
    /// If an entry is under way already.
    pub fn begin(&mut self, index: u64, stamp_ms: u64, payload: Option<&Bytes>) -> Result<(), Error> {
        assert!(!self.is_applying(), "entries are applied one after another");
        let applied = self.state.applied;
        if applied.checked_add(1) != Some(index) {
            return Err(Error::Order { applied, found: index });
        }
        let (before, stamp) = (self.state.stamp, Stamp(stamp_ms));
        if stamp < before {
            return Err(Error::TimeRegressed { before: before.0, after: stamp_ms });
        }
        let batch = payload.map(|payload| Batch::decode_up_to(payload, self.known)).transpose()?;
        self.state.stamp = stamp;
        if let Some(batch) = &batch {
            self.rise_to(batch.version, index);
        }
        let expired = self.state.keyspace.expire(reclaimed_by(stamp));
        let freed = self.reclaim();
        self.state.requests.expire(stamp, &self.state.settings);
        self.work += work::of_time(expired, freed);
        self.under_way = Some(Entry::new(index, batch));
        Ok(())
    }

    /// An entry of a greater version than the active one makes it the active one.
    fn rise_to(&mut self, version: ClusterVersion, index: u64) {
        if version <= self.state.active {
            return;
        }
        self.state.active = version;
        if version == ClusterVersion::REHEARSED {
            self.state.rehearsed_at = index;
        }
    }

    /// Frees expired keys, and tells that they have expired.
    fn reclaim(&mut self) -> u64 {
        drop(self.take_publications());
        let State { keyspace, settings, publications, stamp, .. } = &mut self.state;
        let classes = Classes(settings.notified_events);
        keyspace.reclaim(settings.reclaim_keys_max, *stamp, |db, key| {
            if classes.include(Event::EXPIRED) {
                publications.notify(classes, db, Event::EXPIRED, key);
            }
        })
    }

    /// Applies the next operation of the entry that was begun, or answers an earlier one that waited, or looks for whom there is
    /// something now. Without an entry there is nothing to do.
    pub fn apply_next(&mut self) -> Step {
        let Some(mut entry) = self.under_way.take() else { return Step::Finished };
        let step = match self.end_a_wait(&mut entry) {
            Some(ended) => Step::Applied(ended),
            None => self.serve_the_woken(&mut entry).unwrap_or_else(|| self.advance(&mut entry)),
        };
        match step {
            Step::Applied(_) | Step::Paused => self.under_way = Some(entry),
            Step::Finished => self.state.applied = entry.index,
        }
        step
    }

    /// The messages that the last [`Machine::begin`] or [`Machine::apply_next`] sends to subscribers, in order. They are
    /// told once.
    pub fn take_publications(&mut self) -> Vec<Publication> {
        let position = self.under_way.as_ref().map_or(self.state.applied, |entry| entry.index);
        let position = if bug::on(Bug::OwnPositions) { self.work } else { position };
        let State { publications, keyspace, .. } = &mut self.state;
        for turnover in keyspace.turnovers.drain(..) {
            publications.tell(turnover.into_publication(position));
        }
        publications.take()
    }

    /// Whether an entry was begun and is not finished.
    #[must_use]
    pub fn is_applying(&self) -> bool {
        self.under_way.is_some()
    }

    fn advance(&mut self, entry: &mut Entry) -> Step {
        loop {
            if let Some(operation) = entry.operations.next() {
                self.work += work::OPERATION;
                drop(self.take_publications());
                let (session, sequence) = (entry.session, entry.sequence);
                // Decoding has seen to it that the numbers of a group do not overflow.
                entry.sequence += 1;
                entry.current = sequence;
                let outcome = self.apply_operation(entry, sequence, &operation);
                return Step::Applied(Applied { session, sequence, outcome });
            }
            let Some(group) = entry.groups.next() else { return Step::Finished };
            self.state.sessions.acknowledge(group.session, group.acked);
            (entry.session, entry.sequence) = (group.session, group.first_sequence);
            entry.operations = group.operations.into_iter();
        }
    }

    /// Answers one of those who wait, if there is one who does no more.
    fn end_a_wait(&mut self, entry: &mut Entry) -> Option<Applied> {
        if let Some(waiter) = entry.replaced.take() {
            return Some(self.answer(&waiter, Reply::error(REPLACED)));
        }
        let waiting = &mut self.state.keyspace.waiting;
        if let Some(waiter) = waiting.take_expired(self.state.stamp) {
            let nothing = waiter.wait.kind.nothing();
            return Some(self.answer(&waiter, nothing));
        }
        if let Some((sequence, with_error)) = entry.unblocked.take()
            && let Some(waiter) = waiting.take(entry.session, sequence)
        {
            let reply = if with_error { Reply::error(UNBLOCKED) } else { waiter.wait.kind.nothing() };
            return Some(self.answer(&waiter, reply));
        }
        while let Some(session) = entry.abandoned.last() {
            if let Some(waiter) = waiting.take_one_of(*session) {
                return Some(self.answer(&waiter, Reply::error(ABANDONED)));
            }
            entry.abandoned.pop();
        }
        None
    }

    /// Answers one of those who wait for whom there is something now. `None` when there is nothing for anybody.
    fn serve_the_woken(&mut self, entry: &mut Entry) -> Option<Step> {
        let (now, before) = (self.state.stamp, self.work);
        while let Some((db, key)) = self.state.keyspace.waiting.first_woken(now) {
            if let Some(waiter) = self.state.keyspace.take_first_to_serve(db, &key, now) {
                let reply = self.serve(entry, &waiter, &key);
                return Some(Step::Applied(self.answer(&waiter, reply)));
            }
            if self.work - before >= SETTLING_MAX {
                return Some(Step::Paused);
            }
            let shares = self.state.keyspace.settle(&(db, key), now);
            self.work += work::OPERATION + work::of_shares(shares);
        }
        None
    }

    /// Has a command that waited take what there is at a key.
    fn serve(&mut self, entry: &mut Entry, waiter: &Waiter, key: &Bytes) -> Reply {
        drop(self.take_publications());
        let mut context = self.context(entry, waiter.db, 0);
        let served = match waiter.wait.kind {
            Kind::List | Kind::SortedSet => blocking::serve(&mut context, &waiter.args, key),
            Kind::Vacancy => acquisition::serve(&mut context, &waiter.args),
            Kind::Gathering => barriers::serve(&mut context, &waiter.args),
        };
        let reply = served.unwrap_or_else(|error| error);
        let spent = context.spent;
        self.work += work::of_command(&waiter.args, &reply, spent);
        if bug::on(Bug::SilentHandOver) {
            drop(self.take_publications());
        }
        reply
    }

    /// The answer to a command that waited. Whoever sends it again gets the same.
    fn answer(&mut self, waiter: &Waiter, reply: Reply) -> Applied {
        self.work += work::of_end_of_wait(waiter.wait.keys.len());
        let Waiter { session, sequence, .. } = *waiter;
        if let Some(request) = &waiter.wait.request {
            let State { requests, settings, stamp, .. } = &mut self.state;
            requests.remember(request.clone(), (session, sequence), &reply, *stamp, settings);
        }
        self.state.sessions.fill(session, sequence, &reply, &self.state.settings);
        Applied { session, sequence, outcome: Outcome::Reply(reply) }
    }

    /// Sees to it that a sequence is applied once.
    fn apply_operation(&mut self, entry: &mut Entry, sequence: u64, operation: &Operation) -> Outcome {
        if sequence == 0 {
            return self.apply_unnumbered(entry, operation);
        }
        match self.state.sessions.admit(entry.session, sequence) {
            Admission::Duplicate(reply) => {
                if bug::on(Bug::AppliedTwice) {
                    self.run(entry, sequence, operation);
                }
                reply.map_or(Outcome::Waits, Outcome::Reply)
            }
            Admission::Refused(refusal) => Outcome::Refused(refusal),
            Admission::Fresh => {
                let reply = self.run(entry, sequence, operation);
                let retained = reply.as_ref();
                self.state.sessions.retain(entry.session, entry.index, retained, &self.state.settings);
                reply.map_or(Outcome::Waits, Outcome::Reply)
            }
        }
    }

    /// Operations that may be applied twice, since the second time changes nothing that matters.
    fn apply_unnumbered(&mut self, entry: &mut Entry, operation: &Operation) -> Outcome {
        match operation {
            Operation::OpenSession => {
                match self.state.sessions.open(entry.session, entry.index, &self.state.settings) {
                    Ok(closed) => {
                        // Where one is closed for want of room, its node is there to be told.
                        entry.abandoned.extend(closed);
                        Outcome::Reply(Reply::ok())
                    }
                    Err(refusal) => Outcome::Refused(refusal),
                }
            }
            Operation::Birth { .. } | Operation::Calendar { .. } | Operation::Abandon { .. } => {
                self.run(entry, 0, operation).map_or(Outcome::Waits, Outcome::Reply)
            }
            Operation::Nothing
            | Operation::Command { .. }
            | Operation::Transaction { .. }
            | Operation::Leave { .. }
            | Operation::Unblock { .. }
            | Operation::GiveBack { .. } => Outcome::Refused(Refusal::Misplaced),
        }
    }

    /// Runs an operation. No reply is one that waits.
    fn run(&mut self, entry: &mut Entry, sequence: u64, operation: &Operation) -> Option<Reply> {
        match operation {
            Operation::Nothing => return Some(Reply::Null),
            // A session is opened before it has numbers; here it already is.
            Operation::OpenSession => {}
            Operation::Command { db, user: _, args } => return self.command(entry, sequence, *db, args),
            Operation::Transaction { watched, commands } => {
                return Some(self.transaction(entry, watched, commands));
            }
            Operation::Birth { cluster_id, fence_base, calendar_ms } => {
                self.birth(*cluster_id, *fence_base, *calendar_ms);
            }
            Operation::Calendar { offset_ms } => self.state.calendar_offset_ms = *offset_ms,
            Operation::Leave { sequence } => {
                let left = self.state.keyspace.waiting.take(entry.session, *sequence);
                self.work += left.map_or(0, |waiter| work::of_end_of_wait(waiter.wait.keys.len()));
            }
            Operation::Abandon { session } => entry.abandoned.push(*session),
            Operation::Unblock { sequence, with_error } => {
                let waits = self.state.keyspace.waiting.contains(entry.session, *sequence);
                entry.unblocked = waits.then_some((*sequence, *with_error));
                return Some(Reply::Integer(i64::from(waits)));
            }
            Operation::GiveBack { sequence, db, args, tokens } => {
                self.give_back(entry, *sequence, *db, args, tokens);
            }
        }
        Some(Reply::ok())
    }

    /// Gives back what the command of a client that is gone has taken.
    fn give_back(&mut self, entry: &mut Entry, sequence: u64, db: u32, args: &[Bytes], tokens: &[u64]) {
        let give_back = command::check(args).ok().and_then(|spec| spec.give_back);
        let (Some(db), Some(give_back)) = (database(db), give_back) else { return };
        let mut context = self.context(entry, db, 0);
        context.asker.1 = sequence;
        let tokens: Vec<_> = tokens.iter().copied().map(FencingToken).collect();
        give_back(&mut context, args, &tokens);
        let spent = context.spent;
        self.work += work::of_command(args, &Reply::Null, spent);
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

    /// A command of its own. No reply is one that waits.
    fn command(&mut self, entry: &mut Entry, sequence: u64, db: u32, args: &[Bytes]) -> Option<Reply> {
        let script_steps_max = self.state.settings.script_steps_max;
        let Some(db) = database(db) else { return Some(Reply::no_such_database()) };
        let mut context = self.context(entry, db, script_steps_max);
        context.patience = Patience::Allowed;
        let reply = execute(&mut context, args);
        let (patience, spent) = (context.patience, context.spent);
        self.work += work::of_command(args, &reply, spent);
        match patience {
            Patience::None | Patience::Allowed => Some(reply),
            Patience::Needed(wait) => self.wait(entry, sequence, db, args, wait),
        }
    }

    /// Has a command wait, or says why it may not.
    fn wait(
        &mut self,
        entry: &mut Entry,
        sequence: u64,
        db: usize,
        args: &[Bytes],
        wait: Wait,
    ) -> Option<Reply> {
        // Those that it was given are slices of the whole entry.
        let own = |args: &[Bytes]| args.iter().map(|argument| Bytes::copy_from_slice(argument)).collect();
        let wait = Wait { keys: own(&wait.keys), ..wait };
        let waiter = Waiter { session: entry.session, sequence, db, args: own(args), wait };
        match self.state.keyspace.waiting.add(waiter, self.state.settings.waiting_bytes_max) {
            Ok(replaced) => {
                entry.replaced = replaced;
                None
            }
            Err(Full) => Some(Reply::error(Full::TEXT)),
        }
    }

    /// One command of a transaction.
    fn queued(
        &mut self,
        entry: &mut Entry,
        db: u32,
        args: &[Bytes],
        purse: &mut Purse,
    ) -> Result<Reply, Reply> {
        let db = database(db).ok_or(Reply::no_such_database())?;
        let mut context = self.context(entry, db, purse.script_steps_max());
        let price = work::price(&context, args);
        purse.pay(price)?;
        let reply = execute(&mut context, args);
        let spent = context.spent;
        purse.settle(price, spent, &reply);
        self.work += work::of_command(args, &reply, spent);
        Ok(reply)
    }

    fn context(&mut self, entry: &mut Entry, db: usize, script_steps_max: u64) -> Context<'_> {
        entry.commands += 1;
        let now = self.state.stamp;
        Context {
            state: &mut self.state,
            db,
            now,
            present: now,
            access: Access::Write,
            caller: Caller::Client,
            asker: (entry.session, entry.current),
            // The index in the upper bits: an entry has far fewer than 2^24 commands, and two that met would only
            // draw the same numbers.
            seed: (entry.index << 24) ^ entry.commands,
            draws: 0,
            script_steps_max,
            spent: Spent::default(),
            patience: Patience::None,
        }
    }

    fn transaction(
        &mut self,
        entry: &mut Entry,
        watched: &[Watched],
        commands: &[(u32, Vec<Bytes>)],
    ) -> Reply {
        let is_watched = !bug::on(Bug::WatchIgnored);
        if is_watched && watched.iter().any(|watched| self.seen(watched.db, &watched.key) != watched.seen) {
            return Reply::NullArray;
        }
        let mut purse = Purse::new(commands, &self.state.settings);
        let run = |(db, args): &(u32, Vec<Bytes>)| {
            self.queued(entry, *db, args, &mut purse).unwrap_or_else(|refusal| refusal)
        };
        let torn = usize::from(bug::on(Bug::TornTransaction) && commands.len() > 1);
        let carried_out = commands.iter().skip(torn).chain(commands.last().into_iter().take(torn));
        Reply::Array(carried_out.map(run).collect())
    }
}
