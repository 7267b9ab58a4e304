//! The command table: what every command is called, takes and does.
//!
//! A family's file in [`crate::commands`] has a table of [`Spec`]s beside the functions that they name; this module
//! finds a command by name, checks how many arguments it got, and knows which of them are keys. The server asks the
//! same table: commands of [`Class::Connection`] and [`Class::Node`] stand in it without a function, since only the
//! server can run them.

use std::collections::HashMap;
use std::sync::LazyLock;

use bytes::Bytes;

use crate::commands::FAMILIES;
use crate::context::Context;
use crate::flags::Flags;
use crate::identifiers::FencingToken;
use crate::reply::Reply;

/// A command's function. The arguments begin with the command's name, and their number was checked. Both sides of
/// the result are replies: an error on the way out is a reply, too.
pub(crate) type Run = fn(&mut Context<'_>, &[Bytes]) -> Result<Reply, Reply>;

/// What a command will cost beyond its arguments and its reply, as far as the arguments and the data tell before it is
/// run: see [`crate::work`]. Never more than its worst case takes.
pub(crate) type Price = fn(&Context<'_>, &[Bytes]) -> u64;

/// Gives back what a command with these arguments was given under these tokens.
pub(crate) type GiveBack = fn(&mut Context<'_>, &[Bytes], &[FencingToken]);

/// Where a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Looks at the state and changes nothing: by [`crate::Machine::read`], or at its place in the log.
    Read,
    /// May change the state: through the log only.
    Write,
    /// Runs a script: through the log, but with [`Flags::READONLY`] as a read.
    Script,
    /// Needs no state at all: any machine answers it at any time, by [`crate::Machine::read`].
    Pure,
    /// Concerns one connection: run by the server.
    Connection,
    /// Concerns one node or the cluster: run by the server.
    Node,
}

/// Which arguments are keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySpec {
    /// None.
    None,
    /// From `first` to `last` (counted from the end if negative), each `step`-th argument. 0 is the command's name.
    Range {
        /// The first key's place.
        first: i32,
        /// The last key's place; -1 is the last argument.
        last: i32,
        /// From one key to the next.
        step: i32,
    },
    /// The argument at `count_at` says how many keys follow it.
    Counted {
        /// The place of the count.
        count_at: usize,
    },
    /// The first argument, and the keys of the command that begins at `command_at`.
    Guarded {
        /// The place of that command's name.
        command_at: usize,
    },
    /// The first argument; the second of a call that has so many words in all, where the first is a subcommand.
    FirstUnless {
        /// How many words.
        words: usize,
    },
    /// The first argument, and so many as the one at `count_at` says, which follow it.
    DestinationAndCounted {
        /// The place of the count.
        count_at: usize,
    },
}

impl KeySpec {
    /// The first argument is the only key.
    pub(crate) const ONE: Self = Self::Range { first: 1, last: 1, step: 1 };
    /// The only key is the argument behind a subcommand.
    pub(crate) const BEHIND_SUBCOMMAND: Self = Self::Range { first: 2, last: 2, step: 1 };
    /// The first two arguments are keys.
    pub(crate) const TWO: Self = Self::Range { first: 1, last: 2, step: 1 };
    /// All arguments are keys.
    pub(crate) const ALL: Self = Self::Range { first: 1, last: -1, step: 1 };
    /// Arguments are pairs of key and value.
    pub(crate) const PAIRS: Self = Self::Range { first: 1, last: -1, step: 2 };

    /// First, last and step as COMMAND INFO shows them.
    #[must_use]
    pub fn range(self) -> (i32, i32, i32) {
        match self {
            Self::None | Self::Counted { .. } => (0, 0, 0),
            Self::Range { first, last, step } => (first, last, step),
            Self::Guarded { .. } | Self::FirstUnless { .. } | Self::DestinationAndCounted { .. } => (1, 1, 1),
        }
    }

    /// The keys among a command's arguments; `None` if the arguments do not say.
    #[must_use]
    pub fn keys(self, args: &[Bytes]) -> Option<Vec<Bytes>> {
        match self {
            Self::None => Some(Vec::new()),
            Self::Range { first, last, step } => {
                let length = i32::try_from(args.len()).ok()?;
                let last = if last < 0 { length + last } else { last };
                let places = (first..=last).step_by(usize::try_from(step).ok()?);
                places.map(|place| args.get(usize::try_from(place).ok()?).cloned()).collect()
            }
            Self::Counted { count_at } => {
                let count = crate::integer::parse(args.get(count_at)?)?;
                let first = count_at + 1;
                let end = first.checked_add(usize::try_from(count).ok()?)?;
                args.get(first..end).map(<[Bytes]>::to_vec)
            }
            Self::Guarded { command_at } => {
                let guarded = args.get(command_at..)?;
                let keys = match check(guarded).ok()?.keys {
                    // One guard is enough, and this must not recurse.
                    Self::Guarded { .. } => return None,
                    keys => keys.keys(guarded)?,
                };
                Some(args.get(1).cloned().into_iter().chain(keys).collect())
            }
            Self::FirstUnless { words } => {
                let place = if args.len() == words { 2 } else { 1 };
                args.get(place).map(|key| vec![key.clone()])
            }
            Self::DestinationAndCounted { count_at } => {
                let counted = Self::Counted { count_at }.keys(args)?;
                Some(args.get(1).cloned().into_iter().chain(counted).collect())
            }
        }
    }
}

/// The chapter of the documentation that a command belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Strings and counters.
    String,
    /// Lists.
    List,
    /// Hashes.
    Hash,
    /// Sets.
    Set,
    /// Sorted sets.
    SortedSet,
    /// Keys of any type.
    Generic,
    /// Channels and subscribers.
    PubSub,
    /// Native locks.
    Lock,
    /// Leaders and candidates.
    Election,
    /// Permits.
    Semaphore,
    /// Those who wait for each other.
    Barrier,
    /// Sessions of clients.
    Session,
    /// Fencing tokens.
    Fencing,
    /// MULTI and WATCH.
    Transactions,
    /// Scripts.
    Scripting,
    /// The connection.
    Connection,
    /// The server and the cluster.
    Server,
    /// Redis Cluster's connection modes.
    Cluster,
}

impl Group {
    /// As COMMAND DOCS says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Generic => "generic",
            Self::PubSub => "pubsub",
            Self::Lock => "lock",
            Self::Election => "election",
            Self::Semaphore => "semaphore",
            Self::Barrier => "barrier",
            Self::Session => "session",
            Self::Fencing => "fencing",
            Self::Transactions => "transactions",
            Self::Scripting => "scripting",
            Self::Connection => "connection",
            Self::Server => "server",
            Self::Cluster => "cluster",
        }
    }
}

/// One command or subcommand.
#[derive(Debug)]
pub struct Spec {
    /// In lower case; a subcommand's is `config|get`.
    pub name: &'static str,
    /// The number of arguments with the name (and the subcommand's); `-n` is `n` or more.
    pub arity: i32,
    /// What kind of command it is.
    pub flags: Flags,
    /// Which arguments are keys.
    pub keys: KeySpec,
    /// Where it is run.
    pub class: Class,
    /// One sentence on what it does.
    pub summary: &'static str,
    /// The version of Redis (or Valkey) that had it first; `quorate` for our own.
    pub since: &'static str,
    /// Its chapter.
    pub group: Group,
    /// How it is written.
    pub syntax: &'static str,
    /// Empty but for containers such as CONFIG.
    pub subcommands: &'static [Spec],
    /// `None` if the server runs it, and for containers.
    pub(crate) run: Option<Run>,
    /// `None` if it takes no time in proportion to the data.
    pub(crate) price: Option<Price>,
    /// Gives back what it has taken, for who is not there any more; `None` if that needs nobody.
    pub(crate) give_back: Option<GiveBack>,
    /// With which arguments a command that may wait does; `None`: with any.
    waiting_if: Option<fn(&[Bytes]) -> bool>,
}

impl Spec {
    const fn new(group: Group, name: &'static str, arity: i32, class: Class, run: Option<Run>) -> Self {
        let flags = match class {
            Class::Read => Flags::READONLY,
            Class::Write => Flags::WRITE,
            Class::Script | Class::Pure | Class::Connection | Class::Node => Flags::NONE,
        };
        Self {
            name,
            arity,
            flags,
            keys: KeySpec::None,
            class,
            summary: "",
            since: "",
            group,
            syntax: "",
            subcommands: &[],
            run,
            price: None,
            give_back: None,
            waiting_if: None,
        }
    }

    pub(crate) const fn read(group: Group, name: &'static str, arity: i32, run: Run) -> Self {
        Self::new(group, name, arity, Class::Read, Some(run))
    }

    pub(crate) const fn write(group: Group, name: &'static str, arity: i32, run: Run) -> Self {
        Self::new(group, name, arity, Class::Write, Some(run))
    }

    /// Sends a message: through the log like a write, but changes no data.
    pub(crate) const fn publish(name: &'static str, run: Run) -> Self {
        const FLAGS: Flags = Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST);
        let spec = Self::new(Group::PubSub, name, 3, Class::Write, Some(run));
        Self { flags: FLAGS, ..spec }
    }

    /// A script; read-only with [`Spec::with`]`(Flags::READONLY)`.
    pub(crate) const fn script(name: &'static str, arity: i32, run: Run) -> Self {
        Self::new(Group::Scripting, name, arity, Class::Script, Some(run))
    }

    pub(crate) const fn pure(group: Group, name: &'static str, arity: i32, run: Run) -> Self {
        Self::new(group, name, arity, Class::Pure, Some(run))
    }

    pub(crate) const fn connection(group: Group, name: &'static str, arity: i32) -> Self {
        Self::new(group, name, arity, Class::Connection, None)
    }

    pub(crate) const fn node(group: Group, name: &'static str, arity: i32) -> Self {
        Self::new(group, name, arity, Class::Node, None)
    }

    pub(crate) const fn container(mut self, subcommands: &'static [Self]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// Gives a function to a command that otherwise the server runs.
    pub(crate) const fn run_by(mut self, run: Run) -> Self {
        self.run = Some(run);
        self
    }

    /// For what works in proportion to data: scripts and transactions pay before it is run.
    pub(crate) const fn priced(mut self, price: Price) -> Self {
        self.price = Some(price);
        self
    }

    /// For what waits only if its arguments ask for it.
    pub(crate) const fn waiting_if(mut self, asks: fn(&[Bytes]) -> bool) -> Self {
        self.waiting_if = Some(asks);
        self
    }

    pub(crate) const fn keys(mut self, keys: KeySpec) -> Self {
        self.keys = keys;
        self
    }

    pub(crate) const fn given_back_by(mut self, give_back: GiveBack) -> Self {
        self.give_back = Some(give_back);
        self
    }

    pub(crate) const fn with(mut self, flags: Flags) -> Self {
        self.flags = self.flags.and(flags);
        self
    }

    pub(crate) const fn doc(
        mut self,
        since: &'static str,
        syntax: &'static str,
        summary: &'static str,
    ) -> Self {
        self.since = since;
        self.syntax = syntax;
        self.summary = summary;
        self
    }

    /// Whether it may wait, with these arguments.
    #[must_use]
    pub fn may_wait(&self, args: &[Bytes]) -> bool {
        self.flags.contains(Flags::BLOCKING) && self.waiting_if.is_none_or(|asks| asks(args))
    }

    /// Whether running it can change nothing.
    #[must_use]
    pub fn is_readonly(&self) -> bool {
        match self.class {
            Class::Read | Class::Pure => true,
            Class::Script => self.flags.contains(Flags::READONLY),
            Class::Write | Class::Connection | Class::Node => false,
        }
    }

    fn takes(&self, arguments: usize) -> bool {
        let least = usize::try_from(self.arity.unsigned_abs()).unwrap_or(usize::MAX);
        if self.arity < 0 { arguments >= least } else { arguments == least }
    }
}

/// Every command, by family; subcommands are in their containers.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    FAMILIES.iter().copied().flatten()
}

/// The longest name that a look-up copies to the stack; no command has one of that length.
const NAME_BYTES_MAX: usize = 32;

/// The command of a name in any case, without regard to subcommands.
#[must_use]
pub fn lookup(name: &[u8]) -> Option<&'static Spec> {
    static BY_NAME: LazyLock<HashMap<&'static [u8], &'static Spec>> =
        LazyLock::new(|| all().map(|spec| (spec.name.as_bytes(), spec)).collect());
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    BY_NAME.get(&*lower).copied()
}

/// The command that the arguments ask for, a subcommand where there is one, once their number is right.
///
/// # Errors
/// The reply that says what is wrong, in Redis's words: an unknown command or subcommand, too few or too many
/// arguments.
pub fn check(args: &[Bytes]) -> Result<&'static Spec, Reply> {
    let Some(spec) = args.first().and_then(|name| lookup(name)) else { return Err(unknown_command(args)) };
    let spec = match args.get(1) {
        Some(name) if !spec.subcommands.is_empty() => subcommand(spec, name)?,
        Some(_) | None => spec,
    };
    if spec.takes(args.len()) {
        Ok(spec)
    } else {
        Err(Reply::error_text(format!("ERR wrong number of arguments for '{}' command", spec.name)))
    }
}

fn subcommand(container: &'static Spec, name: &[u8]) -> Result<&'static Spec, Reply> {
    let has_name = |spec: &&Spec| {
        spec.name.split_once('|').is_some_and(|(_, own)| own.as_bytes().eq_ignore_ascii_case(name))
    };
    container.subcommands.iter().find(has_name).ok_or_else(|| {
        let mut text = b"ERR unknown subcommand '".to_vec();
        text.extend_from_slice(&name[..name.len().min(ECHOED_BYTES_MAX)]);
        text.extend_from_slice(format!("'. Try {} HELP.", container.name.to_uppercase()).as_bytes());
        Reply::error_text(text)
    })
}

/// How much of what a client sent an error repeats, in bytes.
const ECHOED_BYTES_MAX: usize = 128;

/// The reply to a command that does not exist, or not where it was sent, in Redis's words.
#[must_use]
pub fn unknown_command(args: &[Bytes]) -> Reply {
    let name = args.first().map_or(&[][..], |name| name);
    let mut echoed = Vec::new();
    for argument in args.iter().skip(1) {
        if echoed.len() >= ECHOED_BYTES_MAX {
            break;
        }
        let room = ECHOED_BYTES_MAX - echoed.len();
        echoed.push(b'\'');
        echoed.extend_from_slice(&argument[..argument.len().min(room)]);
        echoed.extend_from_slice(b"' ");
    }
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(&name[..name.len().min(ECHOED_BYTES_MAX)]);
    text.extend_from_slice(b"', with args beginning with: ");
    text.extend_from_slice(&echoed);
    Reply::error_text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> impl Iterator<Item = &'static Spec> {
        all().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
    }

    #[test]
    fn names_are_unique_and_short_enough_to_look_up() {
        let mut names: Vec<_> = specs().map(|spec| spec.name).collect();
        names.sort_unstable();
        for pair in names.windows(2) {
            assert_ne!(pair[0], pair[1]);
        }
        assert!(all().all(|spec| spec.name.len() <= NAME_BYTES_MAX));
    }

    #[test]
    fn every_command_is_documented_and_run_by_someone() {
        for spec in specs() {
            assert!(!spec.summary.is_empty() && !spec.since.is_empty(), "{}", spec.name);
            assert!(spec.syntax.starts_with(&spec.name.to_uppercase().replace('|', " ")), "{}", spec.name);
            let runs_here = matches!(spec.class, Class::Read | Class::Write | Class::Script | Class::Pure);
            let is_container = !spec.subcommands.is_empty();
            assert!(spec.run.is_some() || !runs_here || is_container, "{}", spec.name);
        }
    }

    #[test]
    fn a_class_and_its_flags_agree() {
        for spec in specs() {
            let (writes, reads) = (spec.flags.contains(Flags::WRITE), spec.flags.contains(Flags::READONLY));
            match spec.class {
                Class::Write => assert!((writes || spec.group == Group::PubSub) && !reads, "{}", spec.name),
                Class::Read => assert!(reads && !writes, "{}", spec.name),
                Class::Script | Class::Pure | Class::Connection | Class::Node => {
                    assert!(!writes, "{}", spec.name);
                }
            }
        }
    }
}
