//! Who holds a lock or leads, told as it changes.
//!
//! A watcher has a connection of its own, on which a server pushes each change with its position in the log. Whoever is connected
//! has missed nothing; whoever was not goes on at any server from the position that he was told last. So:
//!
//! * **First listen, then ask, then ask to listen again.** That is answered by `watching`, which comes behind everything that the
//!   answer may tell of, and says from where to go on. The answer counts only if nothing was told up to then: messages can be late.
//! * **A gap is told.** Servers keep the latest messages alone. If those that were missed are not among them, at none of them, the
//!   answer says how it is now, and the token whether somebody else was in between.
//! * **What was known already is not told again**: tokens of a name grow, so that a message about an older one, or about the same
//!   step, is recognised.
//! * **It is asked again** when nothing was told for some time: a server that cannot answer is left for another one, and what is
//!   told of no key, as `FLUSHALL`, is seen then.
//! * **Whoever gives up waiting gives up nothing else.** What is asked of a server goes on in a task of its own: else one who looks
//!   in for a moment again and again would never find out that there is no answer.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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
    task::Task,
    token::FencingToken,
};

/// A connection that ends sooner is no place to come back to at once, and the wait before that is done.
const SHORT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(20);

/// How long whoever listened at a server since `begun` waits before he goes elsewhere.
pub(crate) fn pause_since(begun: BootTime) -> Duration {
    if BootTime::now().since(begun) < SHORT { PAUSE } else { Duration::ZERO }
}

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
    /// Where in the log it stands; changes of one entry have the same. `None` if it was found by asking: at the beginning, after
    /// [`Event::Missed`], and if nothing tells of it, as of `FLUSHALL`.
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
    /// What has happened since the last change is not known: the connection was lost, and no server keeps the messages of so long
    /// ago. How it is now is told next, if that is different. Others may have had it in between.
    Missed,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Acquired => "acquired",
            Self::Value => "value",
            Self::Released => "released",
            Self::Expired => "expired",
            Self::Free => "free",
            Self::Missed => "missed",
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
    place: Place,
    /// No server can tell what was missed.
    has_missed: bool,
    /// What is known and not yet handed out.
    changes: VecDeque<Change>,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Lock,
    Election,
}

/// Where changes are told.
enum Place {
    Nowhere,
    Coming(Task<Result<Arrival, Error>>),
    At(Box<Line>),
}

/// Whoever has come to a server, and listens.
struct Arrival {
    line: Line,
    /// Who has it, as was found.
    found: Option<Present>,
    /// What was missed is not kept, there or elsewhere.
    is_gap: bool,
}

/// A connection on which changes are told.
struct Line {
    connection: Connection,
    messages: mpsc::Receiver<Vec<u8>>,
    begun: BootTime,
    /// Where it went on.
    from: Option<u64>,
    /// How often the server was asked to listen, and has told that all of before was told.
    asked: usize,
    told_all: usize,
    /// Something new was told since the last question began.
    is_told: bool,
    /// When to ask, or to wait no longer for what was told before the answer.
    look: BootTime,
    /// How it is, asked of a server that has not answered yet.
    question: Option<Task<Result<Option<Present>, Error>>>,
    /// The answer, until everything was told that was there before.
    found: Option<Option<Present>>,
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
        Self { core, subject, name, known, place: Place::Nowhere, has_missed: false, changes }
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
    /// made anew, at another node if need be, and what has happened meanwhile is told; or, if that was too long ago,
    /// [`Event::Missed`], and what is different by then: but for what one holder, who still has it, has let others know in between.
    /// May be given up at any time, and asked again: what is under way goes on.
    ///
    /// A lock that is shared has one holder, whoever they are: it is acquired with the first of them, and released with the last.
    ///
    /// While nothing is told, it is asked from time to time whether that is all: when the time for an answer
    /// ([`Settings::answer_timeout`](crate::Settings::answer_timeout)) has passed since the last question. So a node that stands
    /// still is left after twice that, if this is awaited meanwhile.
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
    /// patience, which the next call is told if this one was given up before. To ask again goes on from what was told last.
    pub async fn next(&mut self) -> Result<Change, Error> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(change);
            }
            match &mut self.place {
                Place::Nowhere => self.begin(Duration::ZERO),
                Place::Coming(coming) => {
                    let come = coming.done().await;
                    self.place = Place::Nowhere;
                    self.arrive(come??);
                }
                Place::At(line) => {
                    let is_asked = line.question.is_some();
                    let answer = async {
                        match &mut line.question {
                            Some(question) => question.done().await.flatten(),
                            None => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        // Whoever comes late finds many messages, and nobody is to blame for the time.
                        biased;
                        message = line.messages.recv() => match message {
                            Some(message) => self.hear(&message),
                            // The server has ended, or told more than we took.
                            None => self.leave(),
                        },
                        answer = answer => self.answered(answer),
                        () = sleep_until(line.look), if !is_asked => self.look(),
                    }
                }
            }
        }
    }

    /// Sets out for some server.
    fn begin(&mut self, pause: Duration) {
        let (core, subject, name) = (Arc::clone(&self.core), self.subject, self.name.clone());
        let from = self.known.position.filter(|_| !self.has_missed);
        self.place = Place::Coming(Task::begin(async move {
            tokio::time::sleep(pause).await;
            listen(&core, subject, &name, from).await
        }));
    }

    /// Takes up where it has come to.
    fn arrive(&mut self, Arrival { line, found, is_gap }: Arrival) {
        self.place = Place::At(Box::new(line));
        // Whoever has it still had it all the time.
        if (is_gap || self.has_missed) && !self.known.is_held_as(found.as_ref()) {
            self.changes.push_back(Change { event: Event::Missed, token: None, value: None, position: None });
        }
        self.has_missed = false;
        self.answered(Ok(found));
    }

    /// Takes up what is told.
    fn hear(&mut self, message: &[u8]) {
        let Place::At(line) = &mut self.place else { return };
        line.told_all += usize::from(message.starts_with(b"watching "));
        let change = self.known.hear(message);
        line.is_told |= change.is_some();
        self.changes.extend(change);
        self.conclude();
    }

    /// Takes up how it is, once everything is told, and whether there is still somebody to tell it.
    fn answered(&mut self, answer: Result<Option<Present>, Error>) {
        let Place::At(line) = &mut self.place else { return };
        line.question = None;
        match answer {
            Ok(found) => {
                line.found = Some(found);
                line.look = BootTime::now() + self.core.backend.exchange.settings().answer_timeout;
                self.conclude();
            }
            Err(error) => self.turn_away(&error),
        }
    }

    /// Compares an answer with what is known, once that is everything from before it.
    fn conclude(&mut self) {
        let Place::At(line) = &mut self.place else { return };
        if line.told_all < line.asked {
            return;
        }
        let found = line.found.take().filter(|_| !line.is_told);
        self.changes.extend(found.and_then(|found| self.known.find(found)));
    }

    /// Asks how it is; or leaves a server that has answered that, and does not tell what was before.
    fn look(&mut self) {
        let Place::At(line) = &mut self.place else { return };
        match line.found {
            None => line.ask(&self.core, self.subject, &self.name),
            Some(_) => self.turn_away(&Error::unknown("the server does not tell what it has told others")),
        }
    }

    fn turn_away(&mut self, error: &Error) {
        let Place::At(line) = &self.place else { return };
        self.core.backend.exchange.turn_away(&line.connection, error);
        self.leave();
    }

    /// Goes elsewhere, and not at once if a server sends away whoever comes.
    fn leave(&mut self) {
        let Place::At(line) = &self.place else { return };
        // One entry alone tells more than we take: to begin there once more would lead nowhere.
        let is_behind = line.from.is_some() && line.from == self.known.position;
        self.has_missed |= line.connection.is_full() && line.told_all == 0 && is_behind;
        self.begin(pause_since(line.begun));
    }
}

/// Listens at some server, from a position on if it can, and learns how it is there.
async fn listen(
    core: &Core<Quorate>,
    subject: Subject,
    name: &str,
    from: Option<u64>,
) -> Result<Arrival, Error> {
    let exchange = &core.backend.exchange;
    let limit = exchange.settings().answer_timeout;
    let patience = exchange.settings().patience;
    let (gaps, wait_until) = (Mutex::new(BTreeSet::new()), BootTime::now() + patience / 2);
    let attempt = || async {
        let (connection, messages) = exchange.listen().await?;
        let gaps = || gaps.lock().unwrap_or_else(PoisonError::into_inner);
        // Each has said so, or those that have not were waited for.
        let is_over = !gaps().is_empty() && wait_until <= BootTime::now();
        let is_gap = is_over || gaps().len() >= exchange.servers();
        let from = from.filter(|_| !is_gap);
        let inquiry = async {
            connection.ask(&subject.listen(name, from), limit).await?;
            subject.inquire(&connection, name, limit).await
        };
        let elsewhere = |error| match error {
            Error::Refused { code, text } if code == "GAP" => {
                gaps().insert(connection.endpoint().clone());
                Error::not_applied(text)
            }
            error => error,
        };
        let found = inquiry.await.map_err(elsewhere);
        let found = found.inspect_err(|error| exchange.turn_away(&connection, error))?;
        let begun = BootTime::now();
        let line = Line {
            connection,
            messages,
            begun,
            from,
            // Here, and by the inquiry.
            asked: 2,
            told_all: 0,
            is_told: false,
            look: begun,
            question: None,
            found: None,
        };
        Ok(Arrival { line, found, is_gap })
    };
    persist(patience, Again::Always, attempt).await
}

impl Subject {
    /// Asks how it is on a connection on which changes are told, and to be told from where to go on behind all before that.
    async fn inquire(
        self,
        connection: &Connection,
        name: &str,
        limit: Duration,
    ) -> Result<Option<Present>, Error> {
        let found = found(connection.ask(&self.ask(name), limit).await?)?;
        connection.ask(&self.listen(name, None), limit).await?;
        Ok(found)
    }

    /// The command that has changes told.
    fn listen(self, name: &str, from: Option<u64>) -> Cmd {
        let mut command = match self {
            Self::Lock => redis::cmd("LOCK").arg("WATCH").arg(name).take(),
            Self::Election => redis::cmd("ELECTION").arg("OBSERVE").arg(name).take(),
        };
        if let Some(position) = from {
            command.arg("FROM").arg(position);
        }
        command
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
    /// Asks how it is.
    fn ask(&mut self, core: &Core<Quorate>, subject: Subject, name: &str) {
        let (connection, name) = (self.connection.clone(), name.to_owned());
        let limit = core.backend.exchange.settings().answer_timeout;
        (self.asked, self.is_told) = (self.asked + 1, false);
        let question = async move { subject.inquire(&connection, &name, limit).await };
        self.question = Some(Task::begin(question));
    }
}

/// Who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Present {
    token: FencingToken,
    value: Option<Vec<u8>>,
}

/// What is found by an answer.
fn found(answer: Value) -> Result<Option<Present>, Error> {
    present(&answer).ok_or_else(|| Error::unexpected(&answer))
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
    /// From where in the log to go on.
    position: Option<u64>,
}

impl Known {
    /// Whether somebody was the holder, and this is he.
    fn is_held_as(&self, found: Option<&Present>) -> bool {
        let held = self.present.as_ref().and_then(Option::as_ref);
        held.is_some_and(|held| found.is_some_and(|found| found.token == held.token))
    }

    /// What a message says that is not known: `event token position`, and a value behind that.
    fn hear(&mut self, message: &[u8]) -> Option<Change> {
        let mut words = message.splitn(4, |byte| *byte == b' ');
        let mut word = || std::str::from_utf8(words.next()?).ok();
        let (event, token, position) = (word()?, word()?.parse::<u64>().ok()?, word()?.parse().ok()?);
        self.position = Some(position);
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
            // `watching`, or of a newer server.
            _ => return None,
        };
        if !is_news {
            return None;
        }
        self.newest = Some(token);
        self.present = Some(match event {
            Event::Acquired | Event::Value => Some(Present { token, value: value.clone() }),
            Event::Released | Event::Expired | Event::Free | Event::Missed => None,
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
