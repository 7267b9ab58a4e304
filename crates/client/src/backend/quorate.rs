//! Quorate's native locks.
//!
//! **An attempt whose answer was lost** may have taken the lock, or may take it yet. The owner is of one wish alone, and every
//! attempt is REENTRANT: if an earlier one has taken the lock, the next one enters it again and learns its token, so that
//! the wish is granted once. Each of them counts, therefore a release goes on until the server says that nobody holds it.
//!
//! **Who must wait** does so on a connection of his own, since commands behind one that waits would wait, too; the end of that
//! connection gives up his place in the queue. After a connection was lost its place may still be there, in front of the
//! new one, and may be served: so for a moment the new one is short, and then a third attempt enters what the first was given.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use redis::{Cmd, Value};

use super::{Backend, Fenced, Grant, Locks, Wish, millis};
use crate::{
    clock::BootTime,
    connection::{Connection, Reads},
    endpoints::Endpoints,
    error::{Error, Loss},
    exchange::{Again, Exchange},
    settings::Settings,
    token::FencingToken,
};

/// How long the place in the queue of a connection that has ended may outlive it: a node that is silent for a second is
/// given up by the others.
const DEPARTURE: Duration = Duration::from_secs(2);

/// When to look whether an abandoned wish was granted. By the last time its place in the queue is gone.
const LOOKS: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(450), DEPARTURE];

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

    /// Asks once, on the connection that all share, and does not wait.
    async fn take(&self, wish: &Wish) -> Result<Option<Grant<FencingToken>>, Error> {
        let asked = BootTime::now();
        let command = acquire_command(wish, Duration::ZERO);
        let answer = self.exchange.ask_once(&command, self.exchange.settings().answer_timeout).await?;
        granted(&answer, asked)
    }

    /// Asks once, on a connection of its own, and waits in the queue for `wait`.
    async fn queue(&self, wish: &Wish, wait: Duration) -> Result<Option<Grant<FencingToken>>, Error> {
        let connection: Connection = self.exchange.open().await?;
        let asked = BootTime::now();
        let limit = wait.saturating_add(self.exchange.settings().answer_timeout);
        let answer = connection.ask(&acquire_command(wish, wait), limit).await?;
        granted(&answer, asked)
    }

    /// One attempt: until the lock is taken or the time is over, if nothing fails.
    async fn attempt(&self, wish: &Wish) -> Result<Option<Grant<FencingToken>>, Error> {
        let mut is_astray = wish.is_astray();
        loop {
            if let Some(grant) = self.take(wish).await? {
                return Ok(Some(grant));
            }
            let left = wish.left();
            if left.is_zero() {
                return Ok(None);
            }
            // Once only, since each time costs the place in the queue.
            let wait = if std::mem::take(&mut is_astray) { left.min(DEPARTURE) } else { left };
            if let Some(grant) = self.queue(wish, wait).await? {
                return Ok(Some(grant));
            }
        }
    }

    /// Releases a lock as often as it was entered.
    async fn leave(&self, name: &str, token: FencingToken) -> Result<(), Error> {
        let command = release_command(name, token);
        loop {
            match self.exchange.ask_once(&command, self.exchange.settings().answer_timeout).await? {
                Value::Int(0) => return Ok(()),
                Value::Int(_) => {}
                other => return Err(Error::unexpected(other)),
            }
        }
    }

    /// The token by which `owner` holds a lock.
    async fn held_by(&self, name: &str, owner: &str) -> Result<Option<FencingToken>, Error> {
        let mut command = redis::cmd("LOCK");
        let answer = self.exchange.ask(command.arg("INFO").arg(name), Again::Always).await?;
        let Some(fields) = answer.as_map_iter() else { return Ok(None) };
        let (mut holder, mut token) = (None, None);
        for (field, value) in fields {
            match (text(field), value) {
                (Some("owner"), value) => holder = text(value),
                (Some("token"), Value::Int(number)) => token = u64::try_from(*number).ok(),
                _ => {}
            }
        }
        Ok(token.map(FencingToken::from).filter(|_| holder == Some(owner)))
    }
}

impl Locks for Quorate {
    type Proof = FencingToken;

    async fn acquire(&self, wish: &Wish) -> Result<Option<Grant<FencingToken>>, Error> {
        let patience = self.exchange.settings().patience.max(wish.left());
        let attempt = || async { self.attempt(wish).await.inspect_err(|error| wish.note(error)) };
        self.exchange.persist(patience, Again::Always, attempt).await
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
        let is_astray = AtomicBool::new(false);
        let patience = self.exchange.settings().patience;
        let attempt = || async {
            match self.leave(name, *token).await {
                // An attempt before this one has released it.
                Err(error) if error.is_stale() && is_astray.load(Ordering::Relaxed) => Ok(()),
                Err(error @ Error::OutcomeUnknown { .. }) => {
                    is_astray.store(true, Ordering::Relaxed);
                    Err(error)
                }
                answer => answer,
            }
        };
        self.exchange.persist(patience, Again::Always, attempt).await.map_err(lost_if_stale)
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

/// Every attempt to acquire is this one. A server that knows attempts by their id (`REQUEST`) would be told it here, in place of
/// REENTRANT, and in `release_command`.
fn acquire_command(wish: &Wish, wait: Duration) -> Cmd {
    let mut command = redis::cmd("LOCK");
    command.arg("ACQUIRE").arg(&wish.name).arg("OWNER").arg(&wish.owner).arg("TTL").arg(millis(wish.ttl));
    if !wait.is_zero() {
        command.arg("WAIT").arg(millis(wait));
    }
    command.arg("REENTRANT");
    command
}

fn release_command(name: &str, token: FencingToken) -> Cmd {
    let mut command = redis::cmd("LOCK");
    command.arg("RELEASE").arg(name).arg(token.get());
    command
}

fn granted(answer: &Value, asked: BootTime) -> Result<Option<Grant<FencingToken>>, Error> {
    match answer {
        Value::Nil => Ok(None),
        Value::Int(number) => {
            let number = u64::try_from(*number).map_err(|_| Error::unexpected(answer))?;
            Ok(Some(Grant { proof: FencingToken::from(number), asked }))
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
