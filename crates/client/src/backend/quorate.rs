//! Quorate's native locks.
//!
//! **An attempt whose answer was lost** may have taken the lock, or may take it yet. Each thing that is asked for has a name
//! (`REQUEST`), and is asked for again under the same one, at whatever server: it takes effect once, and is answered as it
//! was. What that answer gives was given some time ago, perhaps, so the holder counts from the first attempt.
//!
//! **Who must wait** does so on a connection of his own, since commands behind one that waits would wait, too. The end of that
//! connection gives up his place in the queue; who asks again under the same name has kept it.
//!
//! **Who has given up** asks once more for what he asked last, under its name: then it is known what came of it, and whatever
//! is on its way still is answered the same, and has no effect. What he is told that he has he releases.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{
    Backend, Candidacy, Family, Fenced, Grant, Holding, Locks, Names, Permitting, Purpose, Request,
    SessionId, Tokens, Wish, millis,
};
use crate::{
    clock::BootTime,
    connection::Reads,
    endpoints::Endpoints,
    error::{Error, Loss},
    exchange::{Again, Exchange, persist},
    lock_info::field,
    settings::Settings,
    token::FencingToken,
};

/// A server waits no shorter than that: without any wait, a request for a lock would be another one.
pub(crate) const WAIT_MIN: Duration = Duration::from_millis(1);

/// A cluster of Quorate.
///
/// Locks are waited for in a queue, first come, first served; they have fencing tokens; and what the server has acknowledged
/// survives the loss of any minority of its nodes.
pub struct Quorate {
    pub(crate) exchange: Exchange,
    /// The same servers, asked for what they have at hand.
    pub(crate) stale: Exchange,
}

impl Backend for Quorate {}
impl Fenced for Quorate {}

impl Quorate {
    pub(crate) fn new(url: &str, settings: Settings) -> Result<Self, Error> {
        let endpoints = Endpoints::read(url, "quorate", 7379)?;
        let stale = Exchange::new(endpoints.clone(), Reads::Stale, settings.clone());
        Ok(Self { exchange: Exchange::new(endpoints, Reads::Linearizable, settings), stale })
    }

    /// Takes what is wished for; what the server has answered, and since when that counts. `None` if somebody had it all the time.
    pub(crate) async fn obtain(&self, wish: &Wish) -> Result<Option<(Value, BootTime)>, Error> {
        loop {
            let round = wish.next_round();
            // Most locks are free: then no connection is needed for it.
            let take = Request { name: format!("{} take {round}", wish.id), waits: false };
            if let Some(answer) = self.take(wish, &take).await? {
                return Ok(Some(answer));
            }
            if wish.left().is_zero() {
                return Ok(None);
            }
            let wait = Request { name: format!("{} wait {round}", wish.id), waits: true };
            if let Some(answer) = self.queue(wish, &wait).await? {
                return Ok(Some(answer));
            }
        }
    }

    /// How many names a session has a lock or permits of.
    pub(crate) async fn locks_of(&self, session: SessionId) -> Result<usize, Error> {
        let mut command = redis::cmd("SESSION");
        let answer = self.exchange.ask(command.arg("INFO").arg(session.0), Again::Always).await?;
        let locks = fields(&answer).find(|(field, _)| **field == Value::BulkString(b"locks".to_vec()));
        match locks {
            Some((_, Value::Int(locks))) => usize::try_from(*locks).map_err(|_| Error::unexpected(&answer)),
            // It has ended, and all its locks with it.
            None if answer == Value::Nil => Ok(0),
            Some(_) | None => Err(Error::unexpected(&answer)),
        }
    }

    /// The tokens of those who hold something now. There are several only of those who have permits, each his own.
    pub(crate) async fn current(&self, family: Family, name: &str) -> Result<Vec<FencingToken>, Error> {
        let mut command = match family {
            Family::Lock | Family::Election => redis::cmd("FENCE"),
            Family::Semaphore => redis::cmd("SEMAPHORE").arg("INFO").take(),
        };
        let answer = match self.exchange.ask(command.arg(name), Again::Always).await {
            // Other data of that name: what was there is not.
            Err(Error::Refused { code, .. }) if code == "WRONGTYPE" => return Ok(Vec::new()),
            answer => answer?,
        };
        match (family, &answer) {
            (_, Value::Nil) => Ok(Vec::new()),
            (Family::Lock | Family::Election, current) => Ok(vec![token(current)?]),
            (Family::Semaphore, _) => match field(&answer, "holders") {
                Some(Value::Array(holders)) => {
                    Ok(holders.iter().filter_map(|holder| token(field(holder, "token")?).ok()).collect())
                }
                _ => Err(Error::unexpected(&answer)),
            },
        }
    }

    /// Asks on the connection that all share, and does not wait.
    async fn take(&self, wish: &Wish, request: &Request) -> Result<Option<(Value, BootTime)>, Error> {
        let command = acquire_command(wish, None, request);
        let limit = self.exchange.settings().answer_timeout;
        self.insist(wish, request, || self.exchange.ask_once(&command, limit)).await
    }

    /// Asks on a connection of its own, and waits in the queue.
    async fn queue(&self, wish: &Wish, request: &Request) -> Result<Option<(Value, BootTime)>, Error> {
        let command = || {
            let wait = wish.left().max(WAIT_MIN);
            (acquire_command(wish, Some(wait), request), wait)
        };
        self.insist(wish, request, || self.exchange.ask_waiting(command)).await
    }

    /// Asks for the same until it is known what came of it.
    async fn insist<F>(
        &self,
        wish: &Wish,
        request: &Request,
        ask: impl FnMut() -> F,
    ) -> Result<Option<(Value, BootTime)>, Error>
    where
        F: Future<Output = Result<Value, Error>>,
    {
        let asked = BootTime::now();
        let patience = self.exchange.settings().patience.max(wish.left());
        wish.asks(request);
        match persist(patience, Again::Always, ask).await.map_err(lost_if_gone)? {
            Value::Nil => Ok(None),
            answer => Ok(Some((answer, asked))),
        }
    }
}

impl Tokens for Quorate {
    fn token(proof: &Hold) -> FencingToken {
        proof.token
    }
}

/// By what Quorate knows a holder.
#[derive(Clone, Debug)]
pub struct Hold {
    pub(crate) token: FencingToken,
    /// Whose part of a lock that is shared.
    reader: Option<String>,
    words: &'static Words,
    /// How its release is called.
    release: String,
}

impl Hold {
    /// What was given to a wish.
    pub(crate) fn new(wish: &Wish, token: FencingToken) -> Self {
        let reader = (wish.holding == Holding::Shared).then(|| wish.owner.clone());
        // One wish may be given more than one, if the first is over before that is known.
        Self {
            token,
            reader,
            words: words(wish.purpose.family()),
            release: format!("{} release {token}", wish.id),
        }
    }

    /// `LOCK command name token ..`, and the owner behind that where one must be named.
    fn command(&self, command: &str, name: &str, more: &[u64]) -> Cmd {
        let mut line = redis::cmd(self.words.family);
        line.arg(command).arg(name).arg(self.token.get()).arg(more);
        if let Some(reader) = &self.reader {
            line.arg("OWNER").arg(reader);
        }
        line
    }
}

impl Locks for Quorate {
    type Proof = Hold;

    async fn acquire(&self, wish: &Wish) -> Result<Option<Grant<Hold>>, Error> {
        let Some((answer, asked)) = self.obtain(wish).await? else { return Ok(None) };
        Ok(Some(Grant { proof: Hold::new(wish, token(&answer)?), asked }))
    }

    async fn extend(&self, name: &str, hold: &Hold, ttl: Duration, limit: Duration) -> Result<(), Error> {
        let command = hold.command("EXTEND", name, &[millis(ttl)]);
        self.exchange.ask_once(&command, limit).await.map(drop).map_err(lost_if_gone)
    }

    async fn release(&self, name: &str, hold: &Hold) -> Result<(), Error> {
        let mut command = hold.command(hold.words.release, name, &[]);
        command.arg("REQUEST").arg(&hold.release);
        self.exchange.ask(&command, Again::Always).await.map(drop).map_err(lost_if_gone)
    }

    async fn abandon(&self, wish: &Wish) -> Result<(), Error> {
        let Some(request) = wish.last() else { return Ok(()) };
        let command = acquire_command(wish, request.waits.then_some(WAIT_MIN), &request);
        let limit = self.exchange.settings().answer_timeout;
        // What waits has a connection of its own, however short the time.
        let ask = || async {
            let connection = if request.waits { Some(self.exchange.open().await?) } else { None };
            match connection {
                Some(connection) => connection.ask(&command, limit).await,
                None => self.exchange.ask_once(&command, limit).await,
            }
        };
        let answer = persist(self.exchange.settings().patience, Again::Always, ask).await;
        match answer.map_err(lost_if_gone) {
            Ok(Value::Nil) | Err(Error::Lost(_)) => Ok(()),
            Ok(answer) => self.release(wish.name(), &Hold::new(wish, token(&answer)?)).await,
            Err(error) => Err(error),
        }
    }
}

/// What is said of locks, of elections, and of semaphores.
#[derive(Debug)]
struct Words {
    family: &'static str,
    acquire: &'static str,
    release: &'static str,
}

const OF_LOCKS: Words = Words { family: "LOCK", acquire: "ACQUIRE", release: "RELEASE" };
const OF_ELECTIONS: Words = Words { family: "ELECTION", acquire: "CAMPAIGN", release: "RESIGN" };
const OF_SEMAPHORES: Words = Words { family: "SEMAPHORE", acquire: "ACQUIRE", release: "RELEASE" };

fn words(family: Family) -> &'static Words {
    match family {
        Family::Lock => &OF_LOCKS,
        Family::Election => &OF_ELECTIONS,
        Family::Semaphore => &OF_SEMAPHORES,
    }
}

fn acquire_command(wish: &Wish, wait: Option<Duration>, request: &Request) -> Cmd {
    let words = words(wish.purpose.family());
    let mut command = redis::cmd(words.family);
    match &wish.names {
        Names::One(name) => command.arg(words.acquire).arg(name),
        Names::All(names) => command.arg("ACQUIREALL").arg(names.len()).arg(names),
    };
    if let Purpose::Permits(Permitting { permits, .. }) = &wish.purpose {
        command.arg(permits);
    }
    match wish.holding {
        Holding::Session(id) => command.arg("SESSION").arg(id.0),
        Holding::Alone | Holding::Shared => {
            command.arg("OWNER").arg(&wish.owner).arg("TTL").arg(millis(wish.ttl))
        }
    };
    if wish.holding == Holding::Shared {
        command.arg("SHARED");
    }
    match &wish.purpose {
        Purpose::Lock => {}
        Purpose::Leadership(Candidacy { value, priority }) => {
            command.arg("PRIORITY").arg(priority);
            if let Some(value) = value {
                command.arg("VALUE").arg(value);
            }
        }
        Purpose::Permits(Permitting { count, .. }) => {
            command.arg("COUNT").arg(count);
        }
    }
    if let Some(wait) = wait {
        command.arg("WAIT").arg(millis(wait));
    }
    command.arg("REQUEST").arg(&request.name);
    command
}

/// What an answer says of something by names; nothing if it says nothing.
pub(crate) fn fields(answer: &Value) -> impl Iterator<Item = (&Value, &Value)> {
    answer.as_map_iter().into_iter().flatten()
}

pub(crate) fn token(answer: &Value) -> Result<FencingToken, Error> {
    match answer {
        Value::Int(number) => {
            u64::try_from(*number).map_err(|_| Error::unexpected(answer)).map(FencingToken::from)
        }
        other => Err(Error::unexpected(other)),
    }
}

/// What a refusal of a token or a session means to whom it was given.
pub(crate) fn lost_if_gone(error: Error) -> Error {
    if error.is_of_lost() { Error::Lost(Loss::Taken) } else { error }
}
