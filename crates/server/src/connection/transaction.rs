//! MULTI, EXEC and WATCH: what a connection remembers between them.
//!
//! Queued commands of the keyspace become one entry of the log. Those of the connection itself (SELECT,
//! CLIENT, INFO) are run here once the shard has said that the transaction took place, and their replies are
//! woven in. SELECT is followed while the entry is put together, so that each command knows its database.

use bytes::{Bytes, BytesMut};
use quorate_machine::{ChannelKind, Class, DATABASES, Spec};

use super::{
    arguments::{footprint, integer, is},
    listening::sends_to,
};
use crate::{
    handle::{Reply, Watched},
    resp::{Protocol, encode, encode_array_head, encoded_bytes},
};

/// A command whose arguments take less is copied when it is queued: they are slices of a read buffer, and a few
/// bytes must not hold all of it. Half of the largest piece that is read, so that what is not copied fills at least
/// half of what it holds.
const COPIED_BYTES_MAX: usize = 32 << 10;

/// The commands since MULTI.
#[derive(Debug)]
pub(super) enum Queue {
    /// All of them could be queued.
    Filling {
        commands: Vec<Command>,
        /// What their arguments take in memory.
        bytes: usize,
    },
    /// A command was refused: EXEC will refuse all, so nothing is kept.
    Broken,
}

/// A command that has passed the table's check.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) spec: &'static Spec,
    pub(super) arguments: Vec<Bytes>,
}

/// What EXEC does for each of the queued commands, in their order.
pub(super) type Plan = Vec<Step>;

/// Where one element of EXEC's reply comes from.
#[derive(Debug)]
pub(super) enum Step {
    /// The next reply of the shard.
    Keyspace,
    /// The next reply of the shard, a map to which CONFIG GET adds this node's settings. These are its arguments.
    Settings(Vec<Bytes>),
    /// The next reply of the shard, in whose place the number of this node's subscribers is told.
    Published(ChannelKind, Bytes),
    /// To be run by the connection.
    Own(Command),
}

/// EXEC's reply: each element in the version of the protocol that was spoken by then.
#[derive(Debug, Default)]
pub(super) struct Woven {
    elements: Vec<(Protocol, Reply)>,
    bytes: usize,
}

/// The database, name and arguments of each command for the keyspace.
pub(super) type Entry = Vec<(u32, Vec<Bytes>)>;

impl Queue {
    /// What MULTI begins with.
    pub(super) fn new() -> Self {
        Self::Filling { commands: Vec::new(), bytes: 0 }
    }

    /// Remembers a command. False if there are too many, or they are too large: then EXEC will refuse.
    pub(super) fn push(&mut self, command: Command, commands_max: usize, bytes_max: usize) -> bool {
        let Self::Filling { commands, bytes } = self else { return true };
        let more = footprint(&command.arguments);
        if commands.len() >= commands_max || *bytes + more > bytes_max {
            self.spoil();
            return false;
        }
        *bytes += more;
        commands.push(Command { arguments: copied(command.arguments), ..command });
        true
    }

    /// A command was refused before it could be queued.
    pub(super) fn spoil(&mut self) {
        *self = Self::Broken;
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Filling { commands, .. } => commands.len(),
            Self::Broken => 0,
        }
    }

    /// Bytes that the commands take in memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Filling { bytes, .. } => *bytes,
            Self::Broken => 0,
        }
    }

    /// Divides the commands between the keyspace and the connection, beginning in database `db`. None if one of
    /// them was refused.
    pub(super) fn plan(self, mut db: u32) -> Option<(Entry, Plan)> {
        let Self::Filling { commands, .. } = self else { return None };
        let mut entry = Entry::new();
        let mut plan = Plan::with_capacity(commands.len());
        for command in commands {
            plan.push(match command.spec.class {
                Class::Read | Class::Write | Class::Script => {
                    let step = match (command.spec.name, sends_to(command.spec)) {
                        ("config|get", _) => Step::Settings(command.arguments.clone()),
                        (_, Some(kind)) => Step::Published(kind, command.arguments[1].clone()),
                        (_, None) => Step::Keyspace,
                    };
                    entry.push((db, command.arguments));
                    step
                }
                Class::Pure | Class::Connection | Class::Node => {
                    db = database_after(&command, db);
                    Step::Own(command)
                }
            });
        }
        Some((entry, plan))
    }
}

/// Whether the shard's reply is the whole reply.
pub(super) fn is_all_keyspace(plan: &Plan) -> bool {
    plan.iter().all(|step| matches!(step, Step::Keyspace))
}

impl Woven {
    /// Adds the next element.
    pub(super) fn push(&mut self, protocol: Protocol, reply: Reply) {
        self.bytes += encoded_bytes(&reply, protocol);
        self.elements.push((protocol, reply));
    }

    /// What the elements take once they are encoded.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends the whole reply to `out`.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        encode_array_head(self.elements.len(), out);
        for (protocol, reply) in &self.elements {
            encode(reply, *protocol, out);
        }
    }
}

/// The arguments in memory of their own, unless they are so large that they may as well stay where they are.
fn copied(arguments: Vec<Bytes>) -> Vec<Bytes> {
    if arguments.iter().map(Bytes::len).sum::<usize>() >= COPIED_BYTES_MAX {
        return arguments;
    }
    let mut copy = Bytes::from(arguments.concat());
    arguments.iter().map(|argument| copy.split_to(argument.len())).collect()
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
