//! What a running command sees: the state, the time, and how far it may go.

use std::hash::Hasher;

use bytes::Bytes;
use siphasher::sip::SipHasher13;

use crate::command::{self, Class, Spec};
use crate::database::Slot;
use crate::flags::Flags;
use crate::identifiers::{FencingToken, Stamp};
use crate::keyspace::DATABASES;
use crate::notification::{Classes, Event};
use crate::reply::Reply;
use crate::requests::Asker;
use crate::state::State;
use crate::value::{Collection, Living, Value};
use crate::waiting::Wait;
use crate::work::{self, Spent};

/// On whose behalf a command runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// A client's single command, or one of a transaction.
    Client,
    /// A running script.
    Script,
}

/// Whether changes are possible at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Outside the log, or from a read-only script: nothing may change.
    Read,
    /// At a place in the log.
    Write,
}

/// What becomes of a command that finds nothing and would rather wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It must answer at once: it is part of something larger, or beside the log.
    None,
    /// It may wait.
    Allowed,
    /// It waits: its reply is not one.
    Needed(Wait),
}

/// The surroundings of one command.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) state: &'a mut State,
    /// The selected database.
    pub(crate) db: usize,
    /// What has expired: the stamp of the entry being applied, or of the last one applied.
    pub(crate) now: Stamp,
    /// What PTTL and TIME show: for a read the leader's present cluster time, else `now`.
    pub(crate) present: Stamp,
    pub(crate) access: Access,
    pub(crate) caller: Caller,
    /// Whose operation it is part of, and its number; of nobody's beside the log.
    pub(crate) asker: Asker,
    /// Differs for each command of the log, and is the same on every replica.
    pub(crate) seed: u64,
    /// How often [`Context::random`] was asked.
    pub(crate) draws: u64,
    /// The steps of a script; fewer than the setting where scripts share them.
    pub(crate) script_steps_max: u64,
    /// What it has taken so far beyond what its arguments and its reply tell.
    pub(crate) spent: Spent,
    /// What becomes of it if it finds nothing and would rather wait.
    pub(crate) patience: Patience,
}

/// Runs a command by its arguments, after every check that the table asks for.
pub(crate) fn execute(context: &mut Context<'_>, args: &[Bytes]) -> Reply {
    let spec = match (command::check(args), context.caller) {
        (Ok(spec), _) => spec,
        (Err(reply), Caller::Client) => return reply,
        (Err(_), Caller::Script) => return not_for_scripts(args),
    };
    match refuse(context, spec) {
        Some(refusal) => refusal,
        None => run(context, spec, args),
    }
}

fn run(context: &mut Context<'_>, spec: &'static Spec, args: &[Bytes]) -> Reply {
    match spec.run {
        Some(run) => {
            let reply = run(context, args).unwrap_or_else(|error| error);
            if context.classes().include(Event::KEYMISS) && !reply.is_error() {
                tell_missed_keys(context, spec, args);
            }
            reply
        }
        None => Reply::error_text(format!("ERR '{}' is not a command of the replicated state", spec.name)),
    }
}

/// Tells of the keys that a read asked for and that do not exist. As in Redis, to ask how a key is kept (OBJECT, MEMORY)
/// is not to miss it, and a write says itself what it has read.
fn tell_missed_keys(context: &mut Context<'_>, spec: &Spec, args: &[Bytes]) {
    if spec.class == Class::Read && !spec.name.contains('|') {
        context.notify_missing(spec.keys.keys(args).iter().flatten());
    }
}

/// Redis tells a script less than a client about what is wrong with its command.
fn not_for_scripts(args: &[Bytes]) -> Reply {
    match args.first().and_then(|name| command::lookup(name)) {
        None => Reply::error("ERR Unknown Redis command called from script"),
        Some(spec) if !spec.subcommands.is_empty() && args.len() > 1 => {
            Reply::error("ERR Unknown Redis command called from script")
        }
        Some(_) => Reply::error("ERR Wrong number of args calling Redis command from script"),
    }
}

fn refuse(context: &Context<'_>, spec: &Spec) -> Option<Reply> {
    let from_script = context.caller == Caller::Script;
    if from_script && (spec.flags.contains(Flags::NOSCRIPT) || spec.run.is_none()) {
        return Some(Reply::error("ERR This Redis command is not allowed from script"));
    }
    if context.access == Access::Read && !spec.is_readonly() && spec.class != Class::Connection {
        return Some(if from_script {
            Reply::error("ERR Write commands are not allowed from read-only scripts.")
        } else {
            Reply::error_text(format!("ERR '{}' is not a read and must go through the log", spec.name))
        });
    }
    let limit = context.state.settings.data_bytes_max;
    if spec.flags.contains(Flags::DENYOOM) && limit > 0 && context.state.keyspace.bytes() > limit {
        return Some(Reply::error("OOM command not allowed when used memory > 'maxmemory'."));
    }
    None
}

impl Context<'_> {
    /// The slot of a key that exists.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Slot> {
        self.state.keyspace.get(self.db, key, self.now)
    }

    pub(crate) fn exists(&self, key: &[u8]) -> bool {
        self.get(key).is_some()
    }

    /// The string at a key, `None` if there is no such key, an error reply if it holds something else.
    pub(crate) fn string(&self, key: &[u8]) -> Result<Option<&Bytes>, Reply> {
        match self.get(key) {
            None => Ok(None),
            Some(slot) => slot.value.as_string().map(Some).ok_or(Reply::wrong_type()),
        }
    }

    /// The collection at a key, `None` if there is no such key, an error reply if it holds something else.
    pub(crate) fn collection<C: Collection>(&self, key: &[u8]) -> Result<Option<&C>, Reply> {
        match self.get(key) {
            None => Ok(None),
            Some(slot) => C::of(&slot.value).map(Some).ok_or(Reply::wrong_type()),
        }
    }

    /// How many elements the collection at a key has, for a price: 0 if there is no such collection.
    pub(crate) fn elements<C: Collection>(&self, key: &[u8]) -> u64 {
        self.collection::<C>(key).ok().flatten().map_or(0, |collection| collection.len() as u64)
    }

    /// Changes so many elements of the collection at a key, or of a new one, and counts them; it is gone if it is empty
    /// afterwards. Only for changes that happen, of a key that [`Context::collection`] was asked for.
    pub(crate) fn edit<C: Collection, R>(
        &mut self,
        key: &[u8],
        elements: usize,
        change: impl FnOnce(&mut C) -> R,
    ) -> R {
        self.writable();
        self.announce(self.db, key);
        self.spent.visited += work::of_changes(elements);
        self.state.keyspace.edit(self.db, key, self.now, change)
    }

    /// Puts a collection in the place of whatever a key held, as a new acquisition without a deadline; an empty one
    /// removes the key.
    pub(crate) fn replace<C: Collection>(
        &mut self,
        key: &[u8],
        collection: C,
        event: Event,
    ) -> Result<(), Reply> {
        if collection.is_empty() {
            self.delete(key);
            return Ok(());
        }
        self.check_collection_bytes(collection.bytes())?;
        self.create(self.db, key, collection.into_value(), None);
        self.notify(event, key);
        Ok(())
    }

    /// Puts a value in the place of whatever a key held, as a new acquisition.
    pub(crate) fn create(&mut self, db: usize, key: &[u8], value: Value, deadline: Option<Stamp>) {
        self.writable();
        self.announce(db, key);
        self.state.keyspace.create(db, key, value, deadline);
    }

    /// Changes what a key holds, and until when, for whoever holds it already. Only for a key that exists.
    pub(crate) fn amend(&mut self, key: &[u8], value: Value, deadline: Option<Stamp>) {
        self.writable();
        self.state.keyspace.amend(self.db, key, value, deadline);
    }

    /// A token that nobody has had.
    pub(crate) fn next_token(&mut self) -> FencingToken {
        self.writable();
        self.state.keyspace.next_token()
    }

    /// Puts what somebody has got under this token in the place of whatever a key held.
    pub(crate) fn grant(&mut self, key: &[u8], value: Value, deadline: Option<Stamp>, token: FencingToken) {
        self.writable();
        self.announce(self.db, key);
        self.state.keyspace.replace(self.db, key, value, deadline, token);
    }

    /// Who is there of those who hold something.
    pub(crate) fn living(&self) -> Living<'_> {
        self.state.keyspace.living(self.now)
    }

    /// Whether nobody has what is at a key, or there is nothing.
    pub(crate) fn is_vacant(&self, key: &[u8]) -> bool {
        self.get(key).is_none_or(|slot| slot.is_vacant(self.living()))
    }

    /// How many wait for a key to be free.
    pub(crate) fn waiting_for_vacancy(&self, key: &[u8]) -> usize {
        self.state.keyspace.waiting.waiting_for_vacancy(self.db, key)
    }

    /// What is added to the collection at a key must be allowed before it is. One that the limit came to lie below
    /// may be changed as long as it does not grow.
    pub(crate) fn check_growth(&self, key: &[u8], bytes: usize) -> Result<(), Reply> {
        let present = self.get(key).map_or(0, |slot| slot.value.bytes());
        if bytes == 0 { Ok(()) } else { self.check_collection_bytes(present.saturating_add(bytes)) }
    }

    /// A collection that will have as many bytes must be allowed before elements are added.
    pub(crate) fn check_collection_bytes(&self, bytes: usize) -> Result<(), Reply> {
        if bytes as u64 > self.state.settings.collection_bytes_max {
            return Err(Reply::error(
                "ERR collection exceeds maximum allowed size (quorate-collection-bytes)",
            ));
        }
        Ok(())
    }

    /// The deadline of a key that exists and has one.
    pub(crate) fn deadline(&self, key: &[u8]) -> Option<Stamp> {
        self.get(key)?.deadline
    }

    /// Until when a slot exists: as long as the session lasts that holds it, if it is a lock of one.
    pub(crate) fn lasts_until(&self, slot: &Slot) -> Option<Stamp> {
        let session = slot.client_session().and_then(|id| self.state.keyspace.client_sessions.get(id));
        session.map(|session| session.deadline).or(slot.deadline)
    }

    /// A value of that many bytes must be allowed before it is built.
    pub(crate) fn check_value_bytes(&self, bytes: usize) -> Result<(), Reply> {
        if bytes as u64 > self.state.settings.value_bytes_max {
            return Err(Reply::error("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
        }
        Ok(())
    }

    /// Sets a key to a string. The bytes are copied, since they may be a slice of a whole batch.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8], deadline: Option<Stamp>) {
        self.writable();
        self.announce(self.db, key);
        self.spent.copied_bytes += value.len() as u64;
        let value = Value::String(Bytes::copy_from_slice(value));
        self.state.keyspace.write(self.db, key, value, deadline, self.now);
    }

    pub(crate) fn set_deadline(&mut self, key: &[u8], deadline: Option<Stamp>) -> bool {
        self.writable();
        self.state.keyspace.set_deadline(self.db, key, deadline, self.now)
    }

    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<Slot> {
        self.writable();
        self.announce_expiry(self.db, key);
        self.state.keyspace.remove(self.db, key, self.now)
    }

    /// Removes a key because that was asked for, and answers whether it existed.
    pub(crate) fn delete(&mut self, key: &[u8]) -> bool {
        let existed = self.remove(key).is_some();
        if existed {
            self.notify(Event::DEL, key);
        }
        existed
    }

    fn classes(&self) -> Classes {
        Classes(self.state.settings.notified_events)
    }

    /// Tells subscribers what became of a key, if they are to be told of such events.
    pub(crate) fn notify(&mut self, event: Event, key: &[u8]) {
        self.notify_in(self.db, event, key);
    }

    /// The same for a key of another database.
    pub(crate) fn notify_in(&mut self, db: usize, event: Event, key: &[u8]) {
        let classes = self.classes();
        // A read beside the log happens on one node only, and a read-only script anywhere is such a read.
        if classes.include(event) && self.access == Access::Write {
            self.spent.visited += work::NOTIFICATION;
            self.spent.copied_bytes += key.len() as u64;
            self.state.publications.notify(classes, db, event, key);
        }
    }

    /// Tells that elements have left the collection at a key, and if they were the last ones, that the key is gone.
    pub(crate) fn notify_loss(&mut self, event: Event, key: &[u8]) {
        self.notify(event, key);
        if !self.classes().are_none() && !self.exists(key) {
            self.notify(Event::DEL, key);
        }
    }

    /// Tells which of the keys that were to be read do not exist.
    pub(crate) fn notify_missing<'k>(&mut self, keys: impl IntoIterator<Item = &'k Bytes>) {
        if self.classes().include(Event::KEYMISS) {
            let missing = keys.into_iter().filter(|key| !self.exists(key)).collect::<Vec<_>>();
            missing.into_iter().for_each(|key| self.notify(Event::KEYMISS, key));
        }
    }

    /// Tells of a key at which something is about to be put that it is new, if it is.
    pub(crate) fn announce(&mut self, db: usize, key: &[u8]) {
        if !self.classes().are_none() && self.state.keyspace.get(db, key, self.now).is_none() {
            self.announce_expiry(db, key);
            self.notify_in(db, Event::NEW, key);
        }
    }

    /// Tells of a key that is about to be replaced or removed that it has expired, if it has.
    fn announce_expiry(&mut self, db: usize, key: &[u8]) {
        if self.classes().include(Event::EXPIRED) {
            let database = self.state.keyspace.database(db);
            if database.slot(key).is_some_and(|slot| !database.has(slot, self.now)) {
                self.notify_in(db, Event::EXPIRED, key);
            }
        }
    }

    /// Every change passes here: a read that changes something would make replicas differ.
    pub(crate) fn writable(&self) {
        assert!(self.access == Access::Write, "a read must not change the state");
    }

    /// Whether this command could wait, as far as room goes; or is one that would not wait here anyway.
    pub(crate) fn has_room_to_wait(&self, args: &[Bytes], wait: &Wait) -> bool {
        let (waiting, bytes_max) = (&self.state.keyspace.waiting, self.state.settings.waiting_bytes_max);
        !self.may_wait() || waiting.has_room(args, wait, bytes_max)
    }

    /// In a script or a transaction nobody waits.
    fn may_wait(&self) -> bool {
        self.caller == Caller::Client && self.patience == Patience::Allowed
    }

    /// Waits, if that is possible here.
    pub(crate) fn wait(&mut self, wait: Wait) {
        if self.may_wait() {
            self.patience = Patience::Needed(wait);
        }
    }

    /// The calendar's time in milliseconds since 1970.
    pub(crate) fn calendar_ms(&self) -> i64 {
        self.state.calendar_of(self.present)
    }

    /// The next number of a sequence that looks random and is the same on every replica.
    pub(crate) fn random(&mut self) -> u64 {
        self.draws += 1;
        let mut hasher = SipHasher13::new_with_keys(self.seed, self.draws);
        hasher.write_u64(self.seed);
        hasher.finish()
    }

    /// A place by chance among so many, of which there must be one.
    pub(crate) fn random_place(&mut self, len: usize) -> usize {
        let place = self.random() % len as u64;
        usize::try_from(place).unwrap_or(0)
    }

    /// The database that an argument names.
    pub(crate) fn parse_database(argument: &[u8]) -> Result<usize, Reply> {
        let index = crate::integer::parse(argument).ok_or(Reply::not_an_integer())?;
        match usize::try_from(index) {
            Ok(index) if index < DATABASES => Ok(index),
            Ok(_) | Err(_) => Err(Reply::no_such_database()),
        }
    }
}
