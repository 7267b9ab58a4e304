//! The value of a key, told as it changes.
//!
//! A server says of each change that there was one ([keyspace notifications]), and then the key is read, linearizably: so what is
//! told is never older than what was told before, and of values that come and go quickly only the last is seen. Whoever loses the
//! connection listens at another server, and reads.
//!
//! [keyspace notifications]: https://redis.io/docs/latest/develop/pubsub/keyspace-notifications/

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::sync::mpsc;

use crate::{
    backend::Quorate,
    client::{Client, Core},
    clock::{BootTime, sleep_until},
    error::Error,
    exchange::{Again, persist},
    keys,
    lock_info::{field, text},
    task::Task,
    watch::pause_since,
};

/// The replicated setting that says of which events notifications are sent.
const SETTING: &str = "notify-keyspace-events";

/// What it must have: messages by key (`K`) of strings, of what all kinds of keys have in common, and of expiry.
const EVENTS: [char; 3] = ['$', 'g', 'x'];

/// A key that is watched; made by [`Client::watch`].
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// let mut watch = client.watch("config");
/// loop {
///     match watch.next().await? {
///         Some(config) => println!("{}", String::from_utf8_lossy(&config)),
///         None => println!("the defaults"),
///     }
/// }
/// # }
/// ```
#[must_use = "nothing is watched before the next value is asked for"]
pub struct KeyWatch {
    core: Arc<Core<Quorate>>,
    key: Vec<u8>,
    /// What was told last; `None` before the first time.
    told: Option<Option<Vec<u8>>>,
    place: Place,
}

/// Where changes are told.
enum Place {
    Nowhere,
    Coming(Task<Result<Line, Error>>),
    At(Line),
}

/// A server that tells of changes.
struct Line {
    messages: mpsc::Receiver<Vec<u8>>,
    /// Ends when the server does.
    death: Pin<Box<dyn Future<Output = Error> + Send>>,
    begun: BootTime,
    /// Whether the key may have changed since it was last asked for.
    is_stale: bool,
    /// What it holds, asked of a server that has not answered yet.
    question: Option<Task<Result<Option<Vec<u8>>, Error>>>,
    /// When to ask if nothing is told until then: nothing is told of a key that `FLUSHALL` removes.
    look: BootTime,
}

impl Client<Quorate> {
    /// Watches a key: [`KeyWatch::next`] returns its value, and then each one that is different. The cluster must send keyspace
    /// notifications, which it does after `CONFIG SET notify-keyspace-events KA`, once and for all its nodes.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let present = client.watch("config").next().await?;
    /// # Ok(()) }
    /// ```
    pub fn watch(&self, key: impl AsRef<[u8]>) -> KeyWatch {
        let (core, key) = (Arc::clone(self.core()), key.as_ref().to_vec());
        KeyWatch { core, key, told: None, place: Place::Nowhere }
    }
}

impl KeyWatch {
    /// Returns the next value, `None` if there is none: first of all the present one, then whatever is different from the one
    /// before. Values that others have replaced already may be left out. May be given up at any time, and asked again:
    /// what is under way goes on.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let mut watch = client.watch("ready");
    /// while watch.next().await?.is_none() {}
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Invalid` if the cluster sends no such notifications; `Refused` if the key holds something else than a value; `NotApplied` or
    /// `OutcomeUnknown` if no server has answered for the client's patience. To ask again goes on from what was told last.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            match &mut self.place {
                Place::Nowhere => self.begin(Duration::ZERO),
                Place::Coming(coming) => {
                    let come = coming.done().await;
                    self.place = Place::Nowhere;
                    self.place = Place::At(come??);
                }
                Place::At(Line { question: Some(question), .. }) => {
                    let answer = question.done().await.flatten();
                    if let Some(value) = self.answered(answer)? {
                        return Ok(value);
                    }
                }
                Place::At(line) if line.is_stale => line.ask(&self.core, &self.key),
                Place::At(line) => tokio::select! {
                    message = line.messages.recv() => match message {
                        Some(_) => line.is_stale = true,
                        // The server has ended, or told more than we took.
                        None => self.leave(),
                    },
                    _ = &mut line.death => self.leave(),
                    () = sleep_until(line.look) => line.is_stale = true,
                },
            }
        }
    }

    /// Sets out for some server.
    fn begin(&mut self, pause: Duration) {
        let (core, key) = (Arc::clone(&self.core), self.key.clone());
        self.place = Place::Coming(Task::begin(async move {
            tokio::time::sleep(pause).await;
            listen(&core, &key).await
        }));
    }

    /// Goes elsewhere, and not at once if a server sends away whoever comes.
    fn leave(&mut self) {
        let Place::At(line) = &self.place else { return };
        self.begin(pause_since(line.begun));
    }

    /// What an answer says, if that is not what was told last.
    fn answered(&mut self, answer: Result<Option<Vec<u8>>, Error>) -> Result<Option<Option<Vec<u8>>>, Error> {
        if let Place::At(line) = &mut self.place {
            line.question = None;
            line.is_stale |= answer.is_err();
        }
        let value = answer?;
        if self.told.as_ref() == Some(&value) {
            return Ok(None);
        }
        self.told = Some(value.clone());
        Ok(Some(value))
    }
}

impl Line {
    /// Asks for the key. Whatever is told from here on is newer than the answer, or as new.
    fn ask(&mut self, core: &Arc<Core<Quorate>>, key: &[u8]) {
        while self.messages.try_recv().is_ok() {}
        self.is_stale = false;
        self.look = BootTime::now() + core.backend.exchange.settings().answer_timeout;
        let (core, key) = (Arc::clone(core), key.to_vec());
        self.question = Some(Task::begin(async move { keys::get(&core.backend.exchange, &key).await }));
    }
}

/// Listens at some server.
async fn listen(core: &Arc<Core<Quorate>>, key: &[u8]) -> Result<Line, Error> {
    let exchange = &core.backend.exchange;
    let set = exchange.ask(redis::cmd("CONFIG").arg("GET").arg(SETTING), Again::Always).await?;
    check_events(&field(&set, SETTING).and_then(text).unwrap_or_default())?;
    let subscribe = redis::cmd("SUBSCRIBE").arg([b"__keyspace@0__:", key].concat()).take();
    let attempt = || async {
        let (connection, messages) = exchange.listen().await?;
        let subscribed = connection.ask(&subscribe, exchange.settings().answer_timeout).await;
        subscribed.inspect_err(|error| exchange.turn_away(&connection, error))?;
        Ok((connection, messages))
    };
    let (connection, messages) = persist(exchange.settings().patience, Again::Always, attempt).await?;
    let core = Arc::clone(core);
    let death = Box::pin(async move { core.backend.exchange.death_of(&connection).await });
    let now = BootTime::now();
    Ok(Line { messages, death, begun: now, is_stale: true, question: None, look: now })
}

/// Refuses a setting by which nothing would be told of a key.
fn check_events(set: &str) -> Result<(), Error> {
    let has = |letter| set.contains(letter);
    if has('K') && (has('A') || EVENTS.into_iter().all(has)) {
        return Ok(());
    }
    let needed: String = ['K'].into_iter().chain(EVENTS).filter(|letter| !has(*letter)).collect();
    let why = format!("it is '{set}', and no key can be watched: CONFIG SET {SETTING} {set}{needed}");
    Err(Error::invalid(SETTING, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_tells_nothing_is_refused_with_one_that_does() {
        for enough in ["KA", "AKE", "K$gx", "xg$EK"] {
            assert_eq!(check_events(enough), Ok(()), "{enough}");
        }
        for (set, advised) in [("", "K$gx"), ("A", "AK$gx"), ("K$", "K$gx"), ("EA", "EAK$gx")] {
            let Err(Error::Invalid { why, .. }) = check_events(set) else { panic!("{set} is accepted") };
            assert!(why.ends_with(&format!(" {advised}")), "{why}");
        }
    }
}
