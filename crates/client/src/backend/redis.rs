//! The classic lock of Redis: `SET name owner NX PX ttl`, and scripts that compare before they extend or delete.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use redis::{Cmd, Value};

use super::{Backend, Grant, Locks, Wish, millis};
use crate::{
    clock::BootTime,
    connection::Reads,
    endpoints::Endpoints,
    error::{Error, Loss},
    exchange::{Again, Exchange, persist},
    settings::Settings,
};

const EXTEND: &str = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0";
const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

/// The pause before the lock is tried for again: it doubles from the first to the second of these.
const POLL_MIN: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_millis(250);

/// How long after it was given up a command may still be carried out, for all that is usual.
const LATE: Duration = Duration::from_secs(1);

/// A Redis server, or whatever speaks like one.
///
/// The same interface, with the promises that Redis can keep. It cannot keep these, and nothing here pretends otherwise:
///
/// * **No fencing token**: [`Fenced`](super::Fenced) is not implemented. Nothing that Redis counts with survives a failover.
/// * **A failover may forget a lock** that was acknowledged, since replication is asynchronous; then there are two holders. A
///   restart does so, too, unless each write is synced (`appendfsync always`).
/// * **Wall clock**: a jump of the server's clock ends locks early or late.
/// * **No queue**: who waits asks again and again, and whoever asks at the right time is next.
///
/// Several endpoints are a primary and its replicas, tried in turn: this is not Redlock.
pub struct Redis {
    pub(crate) exchange: Exchange,
}

impl Backend for Redis {}

impl Redis {
    pub(crate) fn new(url: &str, settings: Settings) -> Result<Self, Error> {
        let endpoints = Endpoints::read(url, "redis", 6379)?;
        Ok(Self { exchange: Exchange::new(endpoints, Reads::Linearizable, settings) })
    }

    /// Asks once; an earlier attempt that may have been carried out has taken it for us.
    async fn take(&self, wish: &Wish) -> Result<Option<Grant<String>>, Error> {
        let limit = self.exchange.settings().answer_timeout;
        let (owner, asked) = (wish.owner.clone(), BootTime::now());
        let mut command = redis::cmd("SET");
        command.arg(wish.name()).arg(&owner).arg("NX").arg("PX").arg(millis(wish.ttl));
        match self.exchange.ask_once(&command, limit).await? {
            Value::Okay => Ok(Some(Grant { proof: owner, asked })),
            Value::Nil if wish.is_astray() => {
                let asked = BootTime::now();
                match self.extend(wish.name(), &owner, wish.ttl, limit).await {
                    Ok(()) => Ok(Some(Grant { proof: owner, asked })),
                    Err(Error::Lost(_)) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Value::Nil => Ok(None),
            other => Err(Error::unexpected(other)),
        }
    }
}

impl Locks for Redis {
    /// The value of the key, which nobody else knows.
    type Proof = String;

    async fn acquire(&self, wish: &Wish) -> Result<Option<Grant<String>>, Error> {
        let patience = self.exchange.settings().patience.max(wish.left());
        let mut pause = POLL_MIN;
        loop {
            let attempt = || async { self.take(wish).await.inspect_err(|error| wish.note(error)) };
            let grant = persist(patience, Again::Always, attempt).await?;
            let left = wish.left();
            if grant.is_some() || left.is_zero() {
                return Ok(grant);
            }
            tokio::time::sleep(jittered(pause).min(left)).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    async fn extend(&self, name: &str, owner: &String, ttl: Duration, limit: Duration) -> Result<(), Error> {
        let mut command = script(EXTEND, name, owner);
        command.arg(millis(ttl));
        held(&self.exchange.ask_once(&command, limit).await?)
    }

    async fn release(&self, name: &str, owner: &String) -> Result<(), Error> {
        let is_astray = AtomicBool::new(false);
        let command = script(RELEASE, name, owner);
        let limit = self.exchange.settings().answer_timeout;
        let attempt = || async {
            match self.exchange.ask_once(&command, limit).await {
                // An attempt before this one has released it.
                Ok(Value::Int(0)) if is_astray.load(Ordering::Relaxed) => Ok(()),
                Ok(answer) => held(&answer),
                Err(error) => {
                    is_astray.fetch_or(matches!(error, Error::OutcomeUnknown { .. }), Ordering::Relaxed);
                    Err(error)
                }
            }
        };
        persist(self.exchange.settings().patience, Again::Always, attempt).await
    }

    async fn abandon(&self, wish: &Wish) -> Result<(), Error> {
        // What was given up a moment ago may be carried out yet.
        if self.release(wish.name(), &wish.owner).await.is_err() {
            tokio::time::sleep(LATE).await;
            return self.release(wish.name(), &wish.owner).await;
        }
        Ok(())
    }
}

fn script(text: &str, name: &str, owner: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(1).arg(name).arg(owner);
    command
}

/// What the scripts answer: 1 if the key had the owner's value.
fn held(answer: &Value) -> Result<(), Error> {
    match answer {
        Value::Int(1) => Ok(()),
        Value::Int(0) => Err(Error::Lost(Loss::Taken)),
        other => Err(Error::unexpected(other)),
    }
}

/// Between half of a pause and all of it, so that those who wait do not ask together.
fn jittered(pause: Duration) -> Duration {
    let part = getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX));
    pause.mul_f64(0.5 + part / 2.0)
}
