//! Who holds a lock or leads, told as it changes.
//!
//! A watcher has a connection of its own, on which a server pushes each change with its position in the log. Whoever is connected
//! has missed nothing; whoever was not asks for the present state, and the token says whether somebody else was in between. So:
//!
//! * **First listen, then ask.** What is told while the question is under way is newer than the answer, or as new, and so the answer
//!   counts only if nothing is.
//! * **What was known already is not told again**: tokens of a name grow, so that a message about an older one, or about the same
//!   step, is recognised.
//! * **It is asked again** when nothing was told for some time: a server that cannot answer is left for another one, and what is
//!   told of no key, as `FLUSHALL`, is seen then.

use std::{collections::VecDeque, sync::Arc};

use redis::{Cmd, Value};
use tokio::sync::mpsc;

use crate::{
    backend::{Quorate, quorate::token},
    client::Core,
    clock::{BootTime, sleep_until},
    connection::Connection,
    election::Election,
    error::Error,
    exchange::{Again, persist},
    kind::{Exclusive, Kind},
    lock::Lock,
    lock_info::{field, text},
    token::FencingToken,
};

/// Something that has changed about who holds a lock, or leads.
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// use quorate_client::Event;
///
/// let mut watch = client.election("scheduler").observe();
/// loop {
///     let change = watch.next().await?;
///     match (change.event, change.value) {
///         (Event::Acquired | Event::Value, Some(address)) => println!("at {}", String::from_utf8_lossy(&address)),
///         (Event::Released | Event::Expired | Event::Free, _) => println!("nobody leads"),
///         _ => {}
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// What has happened.
    pub event: Event,
    /// Whose acquisition it is about; `None` if nobody has it, and who had it last is not known.
    pub token: Option<FencingToken>,
    /// What the holder lets others know, of `Acquired` and `Value`.
    pub value: Option<Vec<u8>>,
    /// Where in the log it stands; changes of one entry have the same. `None` if it was found by asking: at the beginning, and after
    /// a connection was lost, when others may have come and gone that nobody tells of.
    pub position: Option<u64>,
}

/// What has happened to a lock, or to an election.
///
/// ```
/// assert_eq!(quorate_client::Event::Acquired.to_string(), "acquired");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event {
    /// Somebody has it.
    Acquired,
    /// Who has it lets others know something else.
    Value,
    /// It was given back, handed over, or taken away.
    Released,
    /// The time of who had it is over, or that of his session.
    Expired,
    /// Nobody has it, as was found by asking.
    Free,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Acquired => "acquired",
            Self::Value => "value",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Free => "free",
        })
    }
}

/// A lock or an election that is watched; made by [`Lock::watch`] or [`Election::observe`]. It holds nothing, and stands for nothing.
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// let mut watch = client.lock("report").watch();
/// loop {
///     let change = watch.next().await?;
///     println!("{} {:?}", change.event, change.token);
/// }
/// # }
/// ```
#[must_use = "nothing is watched before the next change is asked for"]
pub struct Watch {
    core: Arc<Core<Quorate>>,
    subject: Subject,
    name: String,
    known: Known,
    line: Option<Line>,
    /// What is known and not yet handed out.
    changes: VecDeque<Change>,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Lock,
    Election,
}

/// A connection on which changes are told.
struct Line {
    connection: Connection,
    messages: mpsc::Receiver<Vec<u8>>,
    /// When to ask if nothing is told until then.
    look: BootTime,
}

impl Lock<Quorate, Exclusive> {
    /// Watches who holds the lock, instead of acquiring it: [`Watch::next`] tells who does, and then each change.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let present = client.lock("report").watch().next().await?;
    /// # Ok(()) }
    /// ```
    pub fn watch(self) -> Watch {
        let (core, name) = self.into_name();
        Watch::new(core, Subject::Lock, name)
    }
}

impl<K: Kind> Election<K> {
    /// Watches who leads, instead of standing for election: [`Watch::next`] tells who does, and then each change.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let present = client.election("scheduler").observe().next().await?;
    /// # Ok(()) }
    /// ```
    pub fn observe(self) -> Watch {
        let (core, name) = self.into_name();
        Watch::new(core, Subject::Election, name)
    }
}

impl Watch {
    fn new(core: Arc<Core<Quorate>>, subject: Subject, name: String) -> Self {
        let (known, changes) = (Known::default(), VecDeque::new());
        Self { core, subject, name, known, line: None, changes }
    }

    /// The name of what is watched.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// assert_eq!(client.lock("report").watch().name(), "report");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the next change: first of all how it is, then whatever happens, in the order of the log. A connection that is lost is
    /// made anew, at another node if need be, and what is different by then is told. May be given up at any time, and asked again.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let mut watch = client.lock("report").watch();
    /// while watch.next().await?.event != quorate_client::Event::Free {}
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Refused` if the name is that of other data; `NotApplied` or `OutcomeUnknown` if no server has answered for the client's
    /// patience. To ask again goes on from what was told last.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(change);
            }
            match &mut self.line {
                None => self.listen().await?,
                Some(line) => tokio::select! {
                    biased;
                    message = line.messages.recv() => match message {
                        Some(message) => self.changes.extend(self.known.hear(&message)),
                        // The server has ended, or told more than we took.
                        None => self.line = None,
                    },
                    () = sleep_until(line.look) => self.look().await,
                },
            }
        }
    }

    /// Listens at some server, and learns how it is there.
    async fn listen(&mut self) -> Result<(), Error> {
        let exchange = &self.core.backend.exchange;
        let (subject, name) = (self.subject, self.name.as_str());
        let attempt = || async {
            let (connection, messages) = exchange.listen().await?;
            let settings = exchange.settings();
            let mut line = Line { connection, messages, look: BootTime::now() };
            let limit = settings.answer_timeout;
            let found = match line.connection.ask(&subject.listen(name), limit).await {
                Ok(_) => line.ask(subject, name, limit).await,
                Err(error) => Err(error),
            };
            if found.is_err() {
                exchange.turn_away();
            }
            Ok((found?, line))
        };
        let (found, line) = persist(exchange.settings().patience, Again::Always, attempt).await?;
        if line.messages.is_empty() {
            self.changes.extend(self.known.find(found));
        }
        self.line = Some(line);
        Ok(())
    }

    /// Looks whether all was told, and whether there is still somebody to tell it.
    async fn look(&mut self) {
        let (subject, limit) = (self.subject, self.core.backend.exchange.settings().answer_timeout);
        let Some(line) = &mut self.line else { return };
        match line.ask(subject, &self.name, limit).await {
            Ok(found) if line.messages.is_empty() => self.changes.extend(self.known.find(found)),
            // It was told meanwhile.
            Ok(_) => {}
            Err(_) => {
                self.core.backend.exchange.turn_away();
                self.line = None;
            }
        }
    }
}

impl Subject {
    /// The command that has changes told.
    fn listen(self, name: &str) -> Cmd {
        match self {
            Self::Lock => redis::cmd("LOCK").arg("WATCH").arg(name).take(),
            Self::Election => redis::cmd("ELECTION").arg("OBSERVE").arg(name).take(),
        }
    }

    /// The command that tells how it is.
    fn ask(self, name: &str) -> Cmd {
        match self {
            Self::Lock => redis::cmd("LOCK").arg("INFO").arg(name).take(),
            Self::Election => redis::cmd("ELECTION").arg("LEADER").arg(name).take(),
        }
    }
}

impl Line {
    /// Who has it, as the server says.
    async fn ask(
        &mut self,
        subject: Subject,
        name: &str,
        limit: std::time::Duration,
    ) -> Result<Option<Present>, Error> {
        let answer = self.connection.ask(&subject.ask(name), limit).await?;
        self.look = BootTime::now() + limit;
        present(&answer).ok_or_else(|| Error::unexpected(&answer))
    }
}

/// Who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Present {
    token: FencingToken,
    value: Option<Vec<u8>>,
}

/// What an answer says of who has it; `None` if it is no such answer.
fn present(answer: &Value) -> Option<Option<Present>> {
    // A lock tells also who had it.
    let state = field(answer, "state").and_then(text);
    if *answer == Value::Nil || state.is_some_and(|state| state != "held") {
        return Some(None);
    }
    let value = match field(answer, "value") {
        Some(Value::BulkString(value)) => Some(value.clone()),
        _ => None,
    };
    Some(Some(Present { token: token(field(answer, "token")?).ok()?, value }))
}

/// What whoever watches was told last.
#[derive(Debug, Default)]
struct Known {
    /// Nothing at all at first.
    present: Option<Option<Present>>,
    /// The greatest token that was told of.
    newest: Option<FencingToken>,
}

impl Known {
    /// What a message says that is not known: `event token position`, and a value behind that.
    fn hear(&mut self, message: &[u8]) -> Option<Change> {
        let mut words = message.splitn(4, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let (event, token, position) = (word()?, word()?.parse::<u64>().ok()?, word()?.parse().ok()?);
        let token = FencingToken::from(token);
        let value = words.next().map(<[u8]>::to_vec);
        let is_newer = self.newest.is_none_or(|newest| newest < token);
        let held = self.present.as_ref().and_then(Option::as_ref);
        let is_held = held.is_some_and(|held| held.token == token);
        let (event, is_news) = match event {
            "acquired" => (Event::Acquired, is_newer),
            "value" => (Event::Value, is_newer || held.is_some_and(|held| is_held && held.value != value)),
            "released" => (Event::Released, is_newer || is_held),
            "expired" => (Event::Expired, is_newer || is_held),
            // Of a newer server.
            _ => return None,
        };
        if !is_news {
            return None;
        }
        self.newest = Some(token);
        self.present = Some(match event {
            Event::Acquired | Event::Value => Some(Present { token, value: value.clone() }),
            Event::Released | Event::Expired | Event::Free => None,
        });
        Some(Change { event, token: Some(token), value, position: Some(position) })
    }

    /// What is found upon asking that is not known.
    fn find(&mut self, found: Option<Present>) -> Option<Change> {
        let is_of_known = |found: &Present| self.newest == Some(found.token);
        let (event, token, value) = match &found {
            _ if self.present.as_ref() == Some(&found) => return None,
            Some(found) if is_of_known(found) => (Event::Value, Some(found.token), found.value.clone()),
            Some(found) => (Event::Acquired, Some(found.token), found.value.clone()),
            None => (Event::Free, self.newest, None),
        };
        self.newest = self.newest.max(token);
        self.present = Some(found);
        Some(Change { event, token, value, position: None })
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
