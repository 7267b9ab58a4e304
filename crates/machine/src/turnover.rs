//! Who holds a lock or leads, told to whoever watches: LOCK WATCH and ELECTION OBSERVE.
//!
//! Each change is a message to the channel of the name: an ordinary channel, to which anybody may subscribe. What is told is
//! noticed where keys are put and removed, so that no way to take a lock, or to lose it, goes without; but for FLUSHDB and
//! FLUSHALL, which tell of no key.
//!
//! * Nobody else tells anything there: PUBLISH to such a channel is refused.
//! * A message is `event token position`, and behind `acquired` and `value` one more word, what the holder lets others know, if he
//!   does. The position is the log's: changes of one entry have the same, in their order.
//! * It is told once to each who has subscribed, in the order of the log; who would miss one loses its connection. Whoever comes
//!   back says from where: nodes keep the latest messages, and tell whether those that are asked for are among them. If they are
//!   not, LOCK INFO and ELECTION LEADER say who holds it now, and the token whether somebody else was in between.
//! * To watch is answered, behind the messages of before, by one that tells of no change: `watching 0 position`, from where to go on.
//! * That somebody's time is over is told when the key is reclaimed, or when the next one has it.

use bytes::Bytes;

use crate::database::Slot;
use crate::identifiers::FencingToken;
use crate::integer;
use crate::publication::{ChannelKind, Publication};
use crate::reply::Reply;
use crate::value::{Purpose, Value};

/// What has become of who holds a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Acquired,
    /// It was released, or taken away.
    Released,
    /// The time of its holder is over, or that of his session.
    Expired,
    /// Its holder lets others know something else.
    Value,
}

/// A change, until it is told.
#[derive(Clone, Debug)]
pub(crate) struct Turnover {
    db: usize,
    name: Bytes,
    purpose: Purpose,
    event: Event,
    token: FencingToken,
    value: Option<Bytes>,
}

/// The channel on which is told who holds a lock, or leads.
fn channel(purpose: &str, db: usize, name: &[u8]) -> Bytes {
    [format!("__{purpose}@{db}__:").as_bytes(), name].concat().into()
}

/// Whether a channel is one of these, on which nobody else may tell anything.
pub(crate) fn is_reserved(channel: &[u8]) -> bool {
    channel.starts_with(b"__lock@") || channel.starts_with(b"__election@")
}

/// What LOCK WATCH or ELECTION OBSERVE asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The channel on which it is told.
    pub channel: Bytes,
    /// The position in the log from which on everything is to be told; without one, what happens from now on.
    pub from: Option<u64>,
}

impl Watch {
    /// What a command asks for that is called so in the table, and has as many arguments as that says; `None` if it is neither of
    /// the two.
    ///
    /// # Errors
    /// The error reply to options that are none.
    pub fn parse(command: &str, db: u32, args: &[Bytes]) -> Result<Option<Self>, Reply> {
        let purpose = match command {
            "lock|watch" => "lock",
            "election|observe" => "election",
            _ => return Ok(None),
        };
        let from = match &args[3..] {
            [] => None,
            [word, position] if word.eq_ignore_ascii_case(b"FROM") => {
                let position = integer::parse(position).and_then(|position| u64::try_from(position).ok());
                let position = position.filter(|position| *position > 0);
                Some(position.ok_or(Reply::error("ERR a position of the log is a positive integer"))?)
            }
            _ => return Err(Reply::syntax_error()),
        };
        Ok(Some(Self { channel: channel(purpose, db as usize, &args[2]), from }))
    }

    /// The message behind which nothing of the past is told: who is cut off from here on can go on from this position.
    #[must_use]
    pub fn begins(position: u64) -> Bytes {
        format!("watching 0 {position}").into()
    }
}

/// What a key held and holds, as far as somebody may watch it.
fn watched(slot: Option<&Slot>) -> Option<(Purpose, FencingToken, Option<&Bytes>)> {
    match &slot?.value {
        Value::Lock(lock) => Some((lock.purpose, slot?.token, lock.value.as_ref())),
        _ => None,
    }
}

/// What is to be told of a key that held something, which had ended or not, and holds something else now.
pub(crate) fn turnovers(
    db: usize,
    name: &[u8],
    (before, has_ended): (Option<&Slot>, bool),
    now: Option<&Slot>,
) -> impl Iterator<Item = Turnover> {
    let tell = |event, (purpose, token, value): (Purpose, FencingToken, Option<&Bytes>)| {
        let (name, value) = (Bytes::copy_from_slice(name), value.cloned());
        Turnover { db, name, purpose, event, token, value }
    };
    let (before, now) = (watched(before), watched(now));
    let stays = before.zip(now).is_some_and(|((_, before, _), (_, now, _))| before == now);
    let end = if has_ended { Event::Expired } else { Event::Released };
    let [left, came] = match stays {
        true => [None, now.filter(|now| Some(*now) != before).map(|now| tell(Event::Value, now))],
        false => [
            before.map(|(purpose, token, _)| tell(end, (purpose, token, None))),
            now.map(|now| tell(Event::Acquired, now)),
        ],
    };
    left.into_iter().chain(came)
}

impl Turnover {
    /// The message that tells it, of the entry at this position.
    pub(crate) fn into_publication(self, position: u64) -> Publication {
        let event = match self.event {
            Event::Acquired => "acquired",
            Event::Released => "released",
            Event::Expired => "expired",
            Event::Value => "value",
        };
        let purpose = match self.purpose {
            Purpose::Exclusion => "lock",
            Purpose::Leadership => "election",
        };
        let mut message = format!("{event} {} {position}", self.token.0).into_bytes();
        if let Some(value) = &self.value {
            message.push(b' ');
            message.extend_from_slice(value);
        }
        let channel = channel(purpose, self.db, &self.name);
        let (kind, message, position) = (ChannelKind::Ordinary, message.into(), Some(position));
        Publication { kind, channel, message, position }
    }
}
