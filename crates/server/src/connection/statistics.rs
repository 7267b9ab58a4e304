//! What a front door counts: the source of INFO's figures and of its part of `/metrics`.
//!
//! * A command counts when it is taken; its time is what [`super::slow_log`] measures: how long its client was kept. What
//!   waits by design (BLPOP and its kin, WAIT, SUBSCRIBE) counts and has no time, and what MULTI queues counts when it is
//!   queued, while its time is that of EXEC.
//! * An error counts by its first word, if it is one of [`CODES`]: scripts may answer any, and what clients make up must not
//!   become a name in somebody's monitoring.
//! * Counting takes no lock. The numbers of a node's own tasks and those of many connections meet in the same counters.

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use quorate_machine::{Class, Spec, all};

use crate::{
    handle::Reply,
    metrics::{Counter, Gauge, Histogram},
};

/// The first words of the errors that this program itself answers.
const CODES: [&str; 15] = [
    "ERR",
    "BUSY",
    "CLUSTERDOWN",
    "EXECABORT",
    "LOADING",
    "MISCONF",
    "NOPROTO",
    "NOQUORUM",
    "NOSCRIPT",
    "NOTBUSY",
    "OOM",
    "TRYAGAIN",
    "UNBLOCKED",
    "WRONGPASS",
    "WRONGTYPE",
];

/// The figures of one front door.
#[derive(Debug)]
pub(crate) struct Statistics {
    /// Connections accepted.
    pub(crate) connections: Counter,
    /// Connections refused, since there were too many.
    pub(crate) rejected: Counter,
    /// Commands executed.
    pub(crate) commands: Counter,
    /// Commands in the last second.
    pub(crate) commands_per_second: Gauge,
    /// Commands that the slow log has remembered.
    pub(crate) slow: Counter,
    /// Bytes from clients.
    pub(crate) input_bytes: Counter,
    /// Bytes to clients.
    pub(crate) output_bytes: Counter,
    /// Attempts to take a lock.
    pub(crate) locks: Locks,
    by_command: Vec<CommandFigures>,
    durations: [Histogram; Need::ALL.len()],
    errors: [Counter; CODES.len()],
    /// Errors with another first word.
    other_errors: Counter,
    cuts: [Counter; Cut::ALL.len()],
}

/// Attempts to take a lock by a command of its own.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    pub(crate) taken: Counter,
    pub(crate) refused: Counter,
}

impl Locks {
    /// Such an attempt was answered: OK or 1 if the lock was taken, nil or 0 if somebody has it. Any other reply is an error.
    pub(super) fn answered(&self, reply: &Reply) {
        if matches!(reply, Reply::Status(_) | Reply::Integer(1)) {
            self.taken.increment();
        } else if matches!(reply, Reply::Null | Reply::Integer(0)) {
            self.refused.increment();
        }
    }
}

/// What became of one command of the table.
#[derive(Debug, Default)]
pub(crate) struct CommandFigures {
    /// How often it was taken.
    pub(crate) calls: Counter,
    /// Microseconds that its clients were kept.
    pub(crate) micros: Counter,
    /// How often it was refused before it was taken.
    pub(crate) rejected: Counter,
    /// How often its answer was an error.
    pub(crate) failed: Counter,
}

/// A place in the command table, subcommands in their containers' place and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommandId(usize);

/// What a command needs: the value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// A majority's word that the leader still leads.
    Read,
    /// An entry of the log.
    Write,
    /// An entry of the log that runs a script, or a read that does.
    Script,
    /// An entry of the log for all that MULTI has queued.
    Transaction,
    /// This node alone.
    Local,
}

impl Need {
    const ALL: [Self; 5] = [Self::Read, Self::Write, Self::Script, Self::Transaction, Self::Local];

    fn of(spec: &Spec) -> Self {
        match spec.class {
            Class::Read => Self::Read,
            Class::Write => Self::Write,
            Class::Script => Self::Script,
            Class::Connection if spec.name == "exec" => Self::Transaction,
            Class::Pure | Class::Connection | Class::Node => Self::Local,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Script => "script",
            Self::Transaction => "transaction",
            Self::Local => "local",
        }
    }
}

/// Why a node closes a client's connection: the value of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// More unread replies than `max-output-bytes`.
    Output,
    /// Replies were left unread for too long.
    Stalled,
    /// It would have missed messages.
    Messages,
    /// It was silent for longer than the time-out.
    Idle,
    /// The buffers of all clients are full.
    Buffers,
    /// What became of its command is not known.
    Unknown,
}

impl Cut {
    const ALL: [Self; 6] =
        [Self::Output, Self::Stalled, Self::Messages, Self::Idle, Self::Buffers, Self::Unknown];

    fn name(self) -> &'static str {
        match self {
            Self::Output => "output",
            Self::Stalled => "stalled",
            Self::Messages => "messages",
            Self::Idle => "idle",
            Self::Buffers => "buffers",
            Self::Unknown => "unknown",
        }
    }

    /// What the log says of it.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Output => "its unread replies exceed max-output-bytes",
            Self::Stalled => "it has not read its replies for too long",
            Self::Messages => "it would miss messages that it has subscribed to",
            Self::Idle => "it has been idle for longer than the timeout",
            Self::Buffers => "the buffers of all clients together are full",
            Self::Unknown => "the outcome of its commands is unknown",
        }
    }
}

/// All commands, each container followed by its subcommands.
fn table() -> impl Iterator<Item = &'static Spec> {
    all().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            connections: Counter::default(),
            rejected: Counter::default(),
            commands: Counter::default(),
            commands_per_second: Gauge::default(),
            slow: Counter::default(),
            input_bytes: Counter::default(),
            output_bytes: Counter::default(),
            locks: Locks::default(),
            by_command: table().map(|_| CommandFigures::default()).collect(),
            durations: Default::default(),
            errors: Default::default(),
            other_errors: Counter::default(),
            cuts: Default::default(),
        }
    }
}

impl Statistics {
    /// A command of the table was taken.
    pub(super) fn took(&self, spec: &Spec) -> Option<CommandId> {
        let id = id(spec)?;
        self.by_command[id.0].calls.increment();
        Some(id)
    }

    /// A command of the table was refused.
    pub(super) fn refused(&self, spec: &Spec) {
        if let Some(id) = id(spec) {
            self.by_command[id.0].rejected.increment();
        }
    }

    /// The reply to a command that was taken has come.
    pub(super) fn finished(&self, CommandId(place): CommandId, taken: Duration) {
        self.by_command[place].micros.add(u64::try_from(taken.as_micros()).unwrap_or(u64::MAX));
        self.durations[needs()[place] as usize].record(taken);
    }

    /// A command that was taken was answered an error.
    pub(super) fn failed(&self, CommandId(place): CommandId) {
        self.by_command[place].failed.increment();
    }

    /// A client was answered.
    pub(super) fn answered(&self, reply: &Reply) {
        let Reply::Error(text) = reply else { return };
        let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
        let place = CODES.iter().position(|known| known.as_bytes() == code);
        place.map_or(&self.other_errors, |place| &self.errors[place]).increment();
    }

    /// A connection was closed by this node.
    pub(super) fn cut(&self, cause: Cut) {
        self.cuts[cause as usize].increment();
    }

    /// How long commands took, by what they need.
    pub(crate) fn durations(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        Need::ALL.iter().map(|need| need.name()).zip(&self.durations)
    }

    /// Errors by their codes.
    pub(crate) fn errors(&self) -> impl Iterator<Item = (&'static str, &Counter)> {
        CODES.into_iter().zip(&self.errors).chain([("other", &self.other_errors)])
    }

    /// Connections that this node has closed, by cause.
    pub(crate) fn cuts(&self) -> impl Iterator<Item = (&'static str, &Counter)> {
        Cut::ALL.iter().map(|cut| cut.name()).zip(&self.cuts)
    }

    /// What became of the commands that were ever sent, by name.
    pub(crate) fn commands(&self) -> impl Iterator<Item = (&'static str, &CommandFigures)> {
        let named = table().map(|spec| spec.name).zip(&self.by_command);
        named.filter(|(_, figures)| figures.calls.get() + figures.rejected.get() > 0)
    }

    /// How many errors there were in all.
    pub(crate) fn errors_total(&self) -> u64 {
        self.errors().map(|(_, counter)| counter.get()).sum()
    }

    /// CONFIG RESETSTAT: INFO's figures begin anew. Histograms, and what only `/metrics` shows, go on.
    pub(super) fn reset(&self) {
        let counters =
            [&self.connections, &self.commands, &self.rejected, &self.input_bytes, &self.output_bytes];
        let errors = self.errors().map(|(_, counter)| counter);
        let commands = self
            .by_command
            .iter()
            .flat_map(|figures| [&figures.calls, &figures.micros, &figures.rejected, &figures.failed]);
        counters.into_iter().chain(errors).chain(commands).for_each(Counter::reset);
    }
}

/// The place of a command.
fn id(spec: &Spec) -> Option<CommandId> {
    static PLACES: LazyLock<HashMap<&'static str, usize>> =
        LazyLock::new(|| table().map(|spec| spec.name).zip(0..).collect());
    PLACES.get(spec.name).copied().map(CommandId)
}

/// What each command of the table needs, by its place.
fn needs() -> &'static [Need] {
    static NEEDS: LazyLock<Vec<Need>> = LazyLock::new(|| table().map(Need::of).collect());
    &NEEDS
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_machine::lookup;

    use super::*;

    #[test]
    fn each_command_has_a_place_of_its_own() {
        let places: Vec<_> = table().map(|spec| id(spec).unwrap().0).collect();
        assert_eq!(places, (0..places.len()).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_counts_by_its_first_word_and_unknown_ones_together() {
        let statistics = Statistics::default();
        for text in
            ["ERR syntax error", "OOM command not allowed", "MINE as a script wants it", "YOURS", "ERR"]
        {
            statistics.answered(&Reply::Error(Bytes::from_static(text.as_bytes())));
        }
        statistics.answered(&Reply::ok());
        let counted: Vec<_> = statistics
            .errors()
            .map(|(code, counter)| (code, counter.get()))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(counted, [("ERR", 2), ("OOM", 1), ("other", 2)]);
        assert_eq!(statistics.errors_total(), 5);
    }

    #[test]
    fn what_a_command_took_shows_under_its_name_and_its_need() {
        let statistics = Statistics::default();
        for (name, millis) in [("set", 3), ("set", 5), ("get", 1), ("exec", 9), ("ping", 2)] {
            let id = statistics.took(lookup(name.as_bytes()).unwrap()).unwrap();
            statistics.finished(id, Duration::from_millis(millis));
        }
        let commands: Vec<_> = statistics
            .commands()
            .map(|(name, figures)| (name, figures.calls.get(), figures.micros.get()))
            .collect();
        assert!(commands.contains(&("set", 2, 8_000)), "{commands:?}");
        let durations: Vec<_> = statistics
            .durations()
            .map(|(need, taken)| (need, taken.durations().count(), taken.sum().as_millis()))
            .collect();
        let wanted =
            [("read", 1, 1), ("write", 2, 8), ("script", 0, 0), ("transaction", 1, 9), ("local", 1, 2)];
        assert_eq!(durations, wanted);
    }
}
