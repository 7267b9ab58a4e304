//! MULTI, EXEC and WATCH: what a connection remembers between them.
//!
//! Queued commands of the keyspace become one entry of the log. Those of the connection itself (SELECT,
//! CLIENT, INFO) are run here once the shard has said that the transaction took place, and their replies are
//! woven in. SELECT is followed while the entry is put together, so that each command knows its database.

use bytes::Bytes;
use quorate_machine::{Class, DATABASES, Spec};

use super::arguments::{footprint, integer, is};
use crate::handle::{Reply, Watched};

/// The commands since MULTI.
#[derive(Debug, Default)]
pub(super) struct Queue {
    commands: Vec<Command>,
    bytes: usize,
    /// A command was refused: EXEC will refuse all.
    broken: bool,
}

/// A command that has passed the table's check.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) spec: &'static Spec,
    pub(super) arguments: Vec<Bytes>,
}

/// What EXEC does, in the order of the queued commands.
#[derive(Debug)]
pub(super) struct Plan {
    steps: Vec<Step>,
}

#[derive(Debug)]
enum Step {
    /// The next reply of the shard.
    Keyspace,
    /// To be run by the connection.
    Own(Command),
}

/// The database, name and arguments of each command for the keyspace.
pub(super) type Entry = Vec<(u32, Vec<Bytes>)>;

impl Queue {
    /// Remembers a command. False if there are too many, or they are too large: then EXEC will refuse.
    pub(super) fn push(&mut self, command: Command, commands_max: usize, bytes_max: usize) -> bool {
        let bytes = footprint(&command.arguments);
        if self.commands.len() >= commands_max || self.bytes + bytes > bytes_max {
            self.broken = true;
            return false;
        }
        self.bytes += bytes;
        self.commands.push(command);
        true
    }

    /// A command was refused before it could be queued.
    pub(super) fn spoil(&mut self) {
        self.broken = true;
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(super) fn len(&self) -> usize {
        self.commands.len()
    }

    /// Bytes that the commands take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Divides the commands between the keyspace and the connection, beginning in database `db`.
    pub(super) fn plan(self, mut db: u32) -> (Entry, Plan) {
        let mut entry = Entry::new();
        let mut steps = Vec::with_capacity(self.commands.len());
        for command in self.commands {
            match command.spec.class {
                Class::Read | Class::Write | Class::Script => {
                    entry.push((db, command.arguments));
                    steps.push(Step::Keyspace);
                }
                Class::Pure | Class::Connection | Class::Node => {
                    db = database_after(&command, db);
                    steps.push(Step::Own(command));
                }
            }
        }
        (entry, Plan { steps })
    }
}

impl Plan {
    /// Whether the shard's reply is the whole reply.
    pub(super) fn is_all_keyspace(&self) -> bool {
        self.steps.iter().all(|step| matches!(step, Step::Keyspace))
    }

    /// The reply of EXEC, given the shard's: its array with the connection's own replies woven in, or what it
    /// says instead of an array, in which case nothing took place.
    pub(super) fn weave(self, reply: Reply, mut run: impl FnMut(Command) -> Reply) -> Reply {
        let Reply::Array(replies) = reply else { return reply };
        let mut replies = replies.into_iter();
        let woven = self.steps.into_iter().map(|step| match step {
            Step::Own(command) => run(command),
            Step::Keyspace => replies.next().unwrap_or(Reply::Null),
        });
        Reply::Array(woven.collect())
    }
}

/// The database that is selected after a command which the connection will run.
fn database_after(command: &Command, db: u32) -> u32 {
    match command.spec.name {
        "select" => selected(&command.arguments[1]).unwrap_or(db),
        "reset" => 0,
        _ => db,
    }
}

/// The database that SELECT names; the error if there is none.
pub(super) fn selected(argument: &[u8]) -> Result<u32, Reply> {
    let number = integer(argument).ok_or_else(Reply::not_an_integer)?;
    u32::try_from(number)
        .ok()
        .filter(|number| usize::try_from(*number).is_ok_and(|number| number < DATABASES))
        .ok_or_else(|| Reply::error("ERR DB index is out of range"))
}

/// Whether MULTI queues the command. The others act at once.
pub(super) fn is_queued(spec: &Spec) -> bool {
    !["multi", "exec", "discard", "watch", "quit", "reset"].iter().any(|name| is(name.as_bytes(), spec.name))
}

/// Copies of what WATCH saw. The keys are slices of a read buffer, which must not live as long as they may.
pub(super) fn detached(watched: Vec<Watched>) -> impl Iterator<Item = Watched> {
    watched.into_iter().map(|seen| Watched { key: Bytes::copy_from_slice(&seen.key), ..seen })
}
