//! A sequential keyspace of strings: registers, counters, and what changes several keys at once.
//!
//! One model serves single keys and the whole keyspace: commands that share no key are judged apart
//! ([`Model::parts`]). It knows the commands that workloads use, and of scripts what they do: a history says `CAS` or
//! `TRANSFER`, and whoever wrote it has called the script. Nothing expires here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

use bytes::Bytes;
use quorate_machine::Reply;

use super::Model;

/// The model.
#[derive(Clone, Copy, Debug)]
pub struct Keyspace;

/// A command, and its reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked.
    pub command: Command,
    /// What was answered, if that is known.
    pub seen: Option<Seen>,
}

/// A command of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// `GET key`.
    Get(Bytes),
    /// `MGET key ..`.
    GetAll(Vec<Bytes>),
    /// `SET key value`.
    Set(Bytes, Bytes),
    /// `SET key value NX`.
    SetAbsent(Bytes, Bytes),
    /// `GETSET key value`.
    Swap(Bytes, Bytes),
    /// `DEL key ..`.
    Delete(Vec<Bytes>),
    /// `INCR key`, `INCRBY key n`, `DECRBY key n`.
    Add(Bytes, i64),
    /// `APPEND key value`.
    Append(Bytes, Bytes),
    /// `CAS key old new`: a script that sets `new` if the key holds `old`, and answers 1 or 0.
    CompareAndSet(Bytes, Bytes, Bytes),
    /// `TRANSFER from to n`: a script that answers what both hold afterwards, or nothing if `from` has less.
    Transfer(Bytes, Bytes, i64),
    /// `MULTI`, these commands, and `EXEC`; under `WATCH` with what the watched keys held when they were read.
    Transaction(Vec<(Bytes, Option<Bytes>)>, Vec<Command>),
}

/// A reply, as far as the model tells replies apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Null, or a null array.
    Nothing,
    /// An integer.
    Number(i64),
    /// A string or a status.
    Text(Bytes),
    /// An array.
    List(Vec<Seen>),
}

impl Seen {
    /// The model's word for a reply; `None` for an error, and for what no command of the model answers.
    #[must_use]
    pub fn of(reply: &Reply) -> Option<Self> {
        match reply {
            Reply::Null | Reply::NullArray => Some(Self::Nothing),
            Reply::Status(text) | Reply::Bulk(text) => Some(Self::Text(text.clone())),
            Reply::Integer(number) => Some(Self::Number(*number)),
            Reply::Array(replies) => replies.iter().map(Self::of).collect::<Option<_>>().map(Self::List),
            Reply::Error(_)
            | Reply::Map(_)
            | Reply::Pairs(_)
            | Reply::Set(_)
            | Reply::Double(_)
            | Reply::Boolean(_)
            | Reply::BigNumber(_)
            | Reply::Verbatim(_)
            | Reply::Push(_) => None,
        }
    }

    fn ok() -> Self {
        Self::Text(Bytes::from_static(b"OK"))
    }

    fn maybe(text: Option<&Bytes>) -> Self {
        text.map_or(Self::Nothing, |text| Self::Text(text.clone()))
    }
}

/// What all keys hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Contents(BTreeMap<Bytes, Bytes>);

impl Contents {
    /// Does what a command does; its reply, or `None` if that is an error, after which the contents mean nothing.
    pub fn apply(&mut self, command: &Command) -> Option<Seen> {
        Some(match command {
            Command::Get(key) => Seen::maybe(self.0.get(key)),
            Command::GetAll(keys) => {
                Seen::List(keys.iter().map(|key| Seen::maybe(self.0.get(key))).collect())
            }
            Command::Set(key, value) => {
                self.0.insert(key.clone(), value.clone());
                Seen::ok()
            }
            Command::SetAbsent(key, _) if self.0.contains_key(key) => Seen::Nothing,
            Command::SetAbsent(key, value) => self.apply(&Command::Set(key.clone(), value.clone()))?,
            Command::Swap(key, value) => Seen::maybe(self.0.insert(key.clone(), value.clone()).as_ref()),
            Command::Delete(keys) => {
                let deleted = keys.iter().filter(|key| self.0.remove(*key).is_some()).count();
                Seen::Number(i64::try_from(deleted).ok()?)
            }
            Command::Add(key, number) => {
                let sum = self.number(key)?.checked_add(*number)?;
                self.0.insert(key.clone(), sum.to_string().into());
                Seen::Number(sum)
            }
            Command::Append(key, value) => {
                let whole = [self.0.get(key).map_or(&[][..], |old| old), value].concat();
                let length = i64::try_from(whole.len()).ok()?;
                self.0.insert(key.clone(), whole.into());
                Seen::Number(length)
            }
            Command::CompareAndSet(key, old, new) => {
                let is_equal = self.0.get(key) == Some(old);
                if is_equal {
                    self.0.insert(key.clone(), new.clone());
                }
                Seen::Number(is_equal.into())
            }
            Command::Transfer(from, _, number) if self.number(from)? < *number => Seen::Nothing,
            Command::Transfer(from, to, number) => {
                let parts = [Command::Add(from.clone(), -number), Command::Add(to.clone(), *number)];
                self.apply_all(&parts)?
            }
            Command::Transaction(watched, _)
                if watched.iter().any(|(key, held)| self.0.get(key) != held.as_ref()) =>
            {
                Seen::Nothing
            }
            Command::Transaction(_, commands) => self.apply_all(commands)?,
        })
    }

    fn apply_all(&mut self, commands: &[Command]) -> Option<Seen> {
        commands.iter().map(|command| self.apply(command)).collect::<Option<_>>().map(Seen::List)
    }

    fn number(&self, key: &Bytes) -> Option<i64> {
        let Some(text) = self.0.get(key) else { return Some(0) };
        std::str::from_utf8(text).ok()?.parse().ok()
    }
}

impl Model for Keyspace {
    type State = Contents;
    type Action = Call;
    type Part = Bytes;

    fn start(&self) -> Contents {
        Contents::default()
    }

    fn step(&self, state: &Contents, call: &Call) -> Option<Contents> {
        // A watched key may have come back to what it held: then the transaction is refused all the same.
        if matches!(call.command, Command::Transaction(..)) && call.seen == Some(Seen::Nothing) {
            return Some(state.clone());
        }
        let mut after = state.clone();
        let reply = after.apply(&call.command)?;
        call.seen.as_ref().is_none_or(|seen| *seen == reply).then_some(after)
    }

    fn is_read(&self, call: &Call) -> bool {
        !call.command.is_write()
    }

    fn parts(&self, call: &Call) -> Vec<Bytes> {
        let mut keys = BTreeSet::new();
        call.command.add_keys(&mut keys);
        keys.into_iter().collect()
    }
}

impl Command {
    /// A command by its words, as a client sends them; upper case.
    ///
    /// # Errors
    /// The model does not know it.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        let of = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let number = |text: &str| text.parse::<i64>().map_err(|_| format!("{text} is no integer"));
        let all = |keys: &[&str]| keys.iter().map(|key| of(key)).collect::<Vec<_>>();
        Ok(match words {
            ["GET", key] => Self::Get(of(key)),
            ["MGET", keys @ ..] => Self::GetAll(all(keys)),
            ["SET", key, value] => Self::Set(of(key), of(value)),
            ["SET", key, value, "NX"] => Self::SetAbsent(of(key), of(value)),
            ["GETSET", key, value] => Self::Swap(of(key), of(value)),
            ["DEL", keys @ ..] => Self::Delete(all(keys)),
            ["INCR", key] => Self::Add(of(key), 1),
            ["INCRBY", key, by] => Self::Add(of(key), number(by)?),
            ["DECRBY", key, by] => Self::Add(of(key), -number(by)?),
            ["APPEND", key, value] => Self::Append(of(key), of(value)),
            ["CAS", key, old, new] => Self::CompareAndSet(of(key), of(old), of(new)),
            ["TRANSFER", from, to, by] => Self::Transfer(of(from), of(to), number(by)?),
            _ => return Err(format!("the model knows no command {}", words.join(" "))),
        })
    }

    /// Whether it may change anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Get(_) | Self::GetAll(_))
    }

    fn add_keys(&self, keys: &mut BTreeSet<Bytes>) {
        match self {
            Self::Get(key)
            | Self::Set(key, _)
            | Self::SetAbsent(key, _)
            | Self::Swap(key, _)
            | Self::Add(key, _)
            | Self::Append(key, _)
            | Self::CompareAndSet(key, ..) => {
                keys.insert(key.clone());
            }
            Self::GetAll(all) | Self::Delete(all) => keys.extend(all.iter().cloned()),
            Self::Transfer(from, to, _) => keys.extend([from.clone(), to.clone()]),
            Self::Transaction(watched, commands) => {
                keys.extend(watched.iter().map(|(key, _)| key.clone()));
                commands.iter().for_each(|command| command.add_keys(keys));
            }
        }
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Texts with blanks between them.
fn join<T: fmt::Display>(f: &mut fmt::Formatter<'_>, all: impl IntoIterator<Item = T>) -> fmt::Result {
    let mut gap = "";
    all.into_iter().try_for_each(|one| {
        write!(f, "{gap}{one}")?;
        gap = " ";
        Ok(())
    })
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get(key) => write!(f, "GET {}", text(key)),
            Self::GetAll(keys) => {
                f.write_str("MGET ")?;
                join(f, keys.iter().map(|key| text(key)))
            }
            Self::Set(key, value) => write!(f, "SET {} {}", text(key), text(value)),
            Self::SetAbsent(key, value) => write!(f, "SET {} {} NX", text(key), text(value)),
            Self::Swap(key, value) => write!(f, "GETSET {} {}", text(key), text(value)),
            Self::Delete(keys) => {
                f.write_str("DEL ")?;
                join(f, keys.iter().map(|key| text(key)))
            }
            Self::Add(key, number) => write!(f, "INCRBY {} {number}", text(key)),
            Self::Append(key, value) => write!(f, "APPEND {} {}", text(key), text(value)),
            Self::CompareAndSet(key, old, new) => {
                write!(f, "CAS {} {} {}", text(key), text(old), text(new))
            }
            Self::Transfer(from, to, number) => write!(f, "TRANSFER {} {} {number}", text(from), text(to)),
            Self::Transaction(watched, commands) => {
                for (key, held) in watched {
                    let held = held.as_ref().map_or("nothing".into(), |held| text(held));
                    write!(f, "WATCH {}={held} ", text(key))?;
                }
                f.write_str("MULTI")?;
                commands.iter().try_for_each(|command| write!(f, " {command};"))?;
                f.write_str(" EXEC")
            }
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(bytes) => f.write_str(&text(bytes)),
            Self::List(all) => {
                f.write_char('[')?;
                join(f, all)?;
                f.write_char(']')
            }
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.command)?;
        self.seen.iter().try_for_each(|seen| write!(f, " -> {seen}"))
    }
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("empty");
        }
        join(f, self.0.iter().map(|(key, value)| format!("{}={}", text(key), text(value))))
    }
}
