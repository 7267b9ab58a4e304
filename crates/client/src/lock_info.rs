//! What the servers tell of locks, for whoever looks on.

use std::time::Duration;

use redis::Value;

use crate::{
    backend::{
        Quorate,
        quorate::{fields, token},
    },
    client::Client,
    error::Error,
    exchange::Again,
    token::FencingToken,
};

/// A lock that somebody holds, as it was when the servers were asked.
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// for lock in client.locks(Some("shard:*")).await? {
///     println!("{} is held by {}, and {} wait", lock.name, lock.holder, lock.waiting);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockInfo {
    /// What is no text of Unicode in it is shown by a replacement character.
    pub name: String,
    /// Who holds it.
    pub holder: Holder,
    /// The token of the present acquisition.
    pub token: FencingToken,
    /// How long it lasts still if it is not extended; `None` if its key has no time to live. Zero if its time is over, and a
    /// lock-delay keeps it from the next one.
    pub remaining: Option<Duration>,
    /// How often its holder has it: more than once if he has entered again; how many readers there are.
    pub depth: u64,
    /// How many wait for it.
    pub waiting: u64,
}

/// Who holds a lock.
///
/// ```
/// use quorate_client::Holder;
///
/// assert_eq!(Holder::Session(7).to_string(), "session 7");
/// let readers = vec![Holder::Owner("a".to_owned()), Holder::Session(7)];
/// assert_eq!(Holder::Readers(readers).to_string(), "readers a, session 7");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holder {
    /// One, of this name.
    Owner(String),
    /// A session, of this number.
    Session(u64),
    /// Those who share it, each of them an owner or a session.
    Readers(Vec<Holder>),
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Owner(owner) => f.write_str(owner),
            Self::Session(number) => write!(f, "session {number}"),
            Self::Readers(readers) => {
                let readers: Vec<_> = readers.iter().map(ToString::to_string).collect();
                write!(f, "readers {}", readers.join(", "))
            }
        }
    }
}

impl Client<Quorate> {
    /// The locks that somebody holds, by name; with a pattern such as `shard:*`, those that match it. The servers look through
    /// all keys for that.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// println!("{} locks are held", client.locks(None).await?.len());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Refused` for a pattern that the servers do not take; `NotApplied` or `OutcomeUnknown` if no server answers.
    pub async fn locks(&self, pattern: Option<&str>) -> Result<Vec<LockInfo>, Error> {
        let mut command = redis::cmd("LOCK");
        command.arg("LIST");
        if let Some(pattern) = pattern {
            command.arg("MATCH").arg(pattern);
        }
        let answer = self.quorate().exchange.ask(&command, Again::Always).await?;
        let Value::Array(locks) = &answer else { return Err(Error::unexpected(&answer)) };
        let locks = locks.iter().map(|lock| read(lock).ok_or_else(|| Error::unexpected(lock)));
        let mut locks = locks.collect::<Result<Vec<_>, _>>()?;
        locks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(locks)
    }
}

/// What a field by this name says.
pub(crate) fn field<'a>(answer: &'a Value, name: &str) -> Option<&'a Value> {
    fields(answer).find(|(field, _)| text(field).as_deref() == Some(name)).map(|(_, value)| value)
}

pub(crate) fn count(value: &Value) -> Option<u64> {
    if let Value::Int(count) = value { u64::try_from(*count).ok() } else { None }
}

/// What a server tells of a lock; `None` if this is nothing of the kind.
fn read(lock: &Value) -> Option<LockInfo> {
    let field = |name| field(lock, name);
    let holder = match (field("owner")?, field("session")?, field("readers")?) {
        (Value::Nil, Value::Nil, Value::Array(owners)) => {
            let Value::Array(sessions) = field("reader-sessions")? else { return None };
            let owners = owners.iter().map(|owner| text(owner).map(Holder::Owner));
            let sessions = sessions.iter().map(|session| count(session).map(Holder::Session));
            Holder::Readers(owners.chain(sessions).collect::<Option<_>>()?)
        }
        (Value::Nil, session, _) => Holder::Session(count(session)?),
        (owner, _, _) => Holder::Owner(text(owner)?),
    };
    Some(LockInfo {
        name: text(field("name")?)?,
        holder,
        token: token(field("token")?).ok()?,
        // -1 is for ever.
        remaining: count(field("ttl-ms")?).map(Duration::from_millis),
        depth: count(field("depth")?)?,
        waiting: count(field("waiting")?)?,
    })
}

pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}
