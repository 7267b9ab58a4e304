//! Quorate's native locks.
//!
//! **An attempt whose answer was lost** may have taken the lock, or may take it yet. Each thing that is asked for has a name
//! (`REQUEST`), and is asked for again under the same one, at whatever server: it takes effect once, and is answered as it
//! was. What that answer gives was given some time ago, perhaps, so the holder counts from the first attempt.
//!
//! **Who must wait** does so on a connection of his own, since commands behind one that waits would wait, too. The end of that
//! connection gives up his place in the queue; who asks again under the same name has kept it.

use std::time::Duration;

use redis::{Cmd, Value};

use super::{Backend, Fenced, Grant, Locks, Wish, millis};
use crate::{
    clock::BootTime,
    connection::Reads,
    endpoints::Endpoints,
    error::{Error, Loss},
    exchange::{Again, Exchange},
    settings::Settings,
    token::FencingToken,
};

/// When to look whether an abandoned wish was granted. Its place in the queue goes with its connection, and what it is
/// given nevertheless its own server gives back; this is for what was asked on the connection that goes on.
const LOOKS: [Duration; 3] = [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(450)];

/// A server waits for a lock no shorter than that: without any wait, the request would be another one.
const WAIT_MIN: Duration = Duration::from_millis(1);

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

    /// Asks for a lock on the connection that all share, and does not wait.
    async fn take(&self, wish: &Wish, round: u64) -> Result<Option<Grant<FencingToken>>, Error> {
        let command = acquire_command(wish, None, &format!("{} take {round}", wish.id));
        let limit = self.exchange.settings().answer_timeout;
        self.insist(wish, || self.exchange.ask_once(&command, limit)).await
    }

    /// Asks for a lock on a connection of its own, and waits in the queue.
    async fn queue(&self, wish: &Wish, round: u64) -> Result<Option<Grant<FencingToken>>, Error> {
        let request = format!("{} wait {round}", wish.id);
        let ask = || async {
            let connection = self.exchange.open().await?;
            let wait = wish.left().max(WAIT_MIN);
            let limit = wait.saturating_add(self.exchange.settings().answer_timeout);
            let answer = connection.ask(&acquire_command(wish, Some(wait), &request), limit).await;
            if answer.is_err() {
                // A node that is cut off may take connections all the same.
                self.exchange.turn_away();
            }
            answer
        };
        self.insist(wish, ask).await
    }

    /// Asks for the same until it is known what came of it.
    async fn insist<F>(
        &self,
        wish: &Wish,
        ask: impl FnMut() -> F,
    ) -> Result<Option<Grant<FencingToken>>, Error>
    where
        F: Future<Output = Result<Value, Error>>,
    {
        let asked = BootTime::now();
        let patience = self.exchange.settings().patience.max(wish.left());
        match self.exchange.persist(patience, Again::Always, ask).await? {
            Value::Nil => Ok(None),
            answer => Ok(Some(Grant { proof: token(&answer)?, asked })),
        }
    }

    /// The token by which `owner` holds a lock.
    async fn held_by(&self, name: &str, owner: &str) -> Result<Option<FencingToken>, Error> {
        let mut command = redis::cmd("LOCK");
        let answer = self.exchange.ask(command.arg("INFO").arg(name), Again::Always).await?;
        let Some(fields) = answer.as_map_iter() else { return Ok(None) };
        let (mut holder, mut held) = (None, None);
        for (field, value) in fields {
            match text(field) {
                Some("owner") => holder = text(value),
                Some("token") => held = Some(token(value)?),
                _ => {}
            }
        }
        Ok(held.filter(|_| holder == Some(owner)))
    }
}

impl Locks for Quorate {
    type Proof = FencingToken;

    async fn acquire(&self, wish: &Wish) -> Result<Option<Grant<FencingToken>>, Error> {
        loop {
            let round = wish.next_round();
            // Most locks are free: then no connection is needed for it.
            if let Some(grant) = self.take(wish, round).await? {
                return Ok(Some(grant));
            }
            if wish.left().is_zero() {
                return Ok(None);
            }
            if let Some(grant) = self.queue(wish, round).await? {
                return Ok(Some(grant));
            }
        }
    }

    async fn extend(
        &self,
        name: &str,
        token: &FencingToken,
        ttl: Duration,
        limit: Duration,
    ) -> Result<(), Error> {
        let mut command = redis::cmd("LOCK");
        command.arg("EXTEND").arg(name).arg(token.get()).arg(millis(ttl));
        match self.exchange.ask_once(&command, limit).await {
            Ok(_) => Ok(()),
            Err(error) => Err(lost_if_stale(error)),
        }
    }

    async fn release(&self, name: &str, token: &FencingToken) -> Result<(), Error> {
        let mut command = redis::cmd("LOCK");
        command.arg("RELEASE").arg(name).arg(token.get());
        // No other acquisition has this token.
        command.arg("REQUEST").arg(format!("release {token}"));
        self.exchange.ask(&command, Again::Always).await.map(drop).map_err(lost_if_stale)
    }

    async fn abandon(&self, wish: &Wish) {
        for pause in LOOKS {
            tokio::time::sleep(pause).await;
            // What fails here ends by its time to live, as the documentation of those who call this says.
            if let Ok(Some(token)) = self.held_by(&wish.name, &wish.owner).await
                && self.release(&wish.name, &token).await.is_ok()
            {
                return;
            }
        }
    }
}

fn acquire_command(wish: &Wish, wait: Option<Duration>, request: &str) -> Cmd {
    let mut command = redis::cmd("LOCK");
    command.arg("ACQUIRE").arg(&wish.name).arg("OWNER").arg(&wish.owner).arg("TTL").arg(millis(wish.ttl));
    if let Some(wait) = wait {
        command.arg("WAIT").arg(millis(wait));
    }
    command.arg("REQUEST").arg(request);
    command
}

fn token(answer: &Value) -> Result<FencingToken, Error> {
    match answer {
        Value::Int(number) => {
            u64::try_from(*number).map_err(|_| Error::unexpected(answer)).map(FencingToken::from)
        }
        other => Err(Error::unexpected(other)),
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// What a refusal of a token means to its holder.
pub(crate) fn lost_if_stale(error: Error) -> Error {
    if error.is_stale() { Error::Lost(Loss::Taken) } else { error }
}
