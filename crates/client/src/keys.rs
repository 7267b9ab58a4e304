//! Small data beside the locks: keys with values.

use std::time::Duration;

use redis::{Cmd, Value};

use crate::{
    backend::{Quorate, millis, quorate::lost_if_gone},
    client::Client,
    error::{Error, Loss},
    exchange::{Again, Exchange, persist},
    guard::LockGuard,
    kind::Sole,
};

/// What a server had at hand, however old.
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// use std::time::Duration;
///
/// let read = client.get_stale("config").await?;
/// let is_fresh = read.age.is_some_and(|age| age < Duration::from_secs(1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stale {
    /// The value; `None` if there was none.
    pub value: Option<Vec<u8>>,
    /// All that was acknowledged this long before the read is in it. `None` if the server does not know, since it has not heard
    /// of a leader yet.
    pub age: Option<Duration>,
}

impl Client<Quorate> {
    /// The value of a key, `None` if there is none: the newest, as a majority of the nodes knows it.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let config = client.get("config").await?.unwrap_or_default();
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Refused` if the key holds something else than a value; `NotApplied` or `OutcomeUnknown` if no server answers.
    pub async fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, Error> {
        get(&self.quorate().exchange, key.as_ref()).await
    }

    /// The value of a key as the nearest server has it, without asking the others, and how old that may be. It is answered
    /// also by a server that is cut off.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let read = client.get_stale("config").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`get`](Client::get).
    pub async fn get_stale(&self, key: impl AsRef<[u8]>) -> Result<Stale, Error> {
        let exchange = &self.quorate().stale;
        // Both on one connection, or the age would be that of another server.
        let read = || async {
            let connection = exchange.connection().await?;
            let limit = exchange.settings().answer_timeout;
            let (freshness, get) = (redis::cmd("FRESHNESS"), get_command(key.as_ref()));
            let (age, value) = tokio::join!(connection.ask(&freshness, limit), connection.ask(&get, limit));
            if age.is_err() || value.is_err() {
                exchange.leave(&connection).await;
            }
            Ok(Stale { value: bytes(value?)?, age: age_of(&age?)? })
        };
        persist(exchange.settings().patience, Again::Always, read).await
    }

    /// Sets a key, whatever it held.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// client.set("config", "verbose").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `OutcomeUnknown` if the connection ended before the answer came: it was, or will be, set once or not at all.
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.write(&set_command(key.as_ref(), value.as_ref())).await.map(drop)
    }

    /// Sets a key that is gone after `ttl`.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// client.set_for("seen:7", "", std::time::Duration::from_secs(60)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`set`](Client::set); `Refused` if `ttl` is zero.
    pub async fn set_for(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<(), Error> {
        self.write(set_command(key.as_ref(), value.as_ref()).arg("PX").arg(millis(ttl))).await.map(drop)
    }

    /// Sets a key that is not there; whether it was.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// if client.set_if_absent("config", "verbose").await? {
    ///     println!("this is the first configuration");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`set`](Client::set).
    pub async fn set_if_absent(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool, Error> {
        done(self.write(set_command(key.as_ref(), value.as_ref()).arg("NX")).await?)
    }

    /// Sets a key that has the value `expected`; whether it had.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let is_ours = client.compare_and_set("state", "ready", "running").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`set`](Client::set); `Refused` if the key holds something else than a value.
    pub async fn compare_and_set(
        &self,
        key: impl AsRef<[u8]>,
        expected: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        let mut command = set_command(key.as_ref(), value.as_ref());
        done(self.write(command.arg("IFEQ").arg(expected.as_ref())).await?)
    }

    /// Removes a key; whether there was one.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let was_there = client.delete("config").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`set`](Client::set).
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        done(self.write(&delete_command(key.as_ref())).await?)
    }

    /// Removes a key that has the value `expected`; whether it had.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let was_mine = client.compare_and_delete("state", "running").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`compare_and_set`](Client::compare_and_set).
    pub async fn compare_and_delete(
        &self,
        key: impl AsRef<[u8]>,
        expected: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        let mut command = redis::cmd("DELEX");
        done(self.write(command.arg(key.as_ref()).arg("IFEQ").arg(expected.as_ref())).await?)
    }

    async fn write(&self, command: &Cmd) -> Result<Value, Error> {
        self.quorate().exchange.ask(command, Again::IfNotApplied).await
    }
}

/// Writes that take effect only while the lock is held: the server checks the token, in the same step.
impl<K: Sole> LockGuard<Quorate, K> {
    /// Sets a key, if the lock is held still.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock("report").acquire().await?;
    /// guard.set("report:rows", "42").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Lost` if it is not: nothing was changed; otherwise as for [`Client::set`].
    pub async fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.fenced(&set_command(key.as_ref(), value.as_ref())).await.map(drop)
    }

    /// Removes a key, if the lock is held still; whether there was one.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock("report").acquire().await?;
    /// guard.delete("report:rows").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`set`](LockGuard::set).
    pub async fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool, Error> {
        done(self.fenced(&delete_command(key.as_ref())).await?)
    }

    async fn fenced(&self, command: &Cmd) -> Result<Value, Error> {
        let mut fenced = redis::cmd("FENCED");
        fenced.arg(self.name()).arg(self.token().get());
        for argument in command.args_iter() {
            if let redis::Arg::Simple(bytes) = argument {
                fenced.arg(bytes);
            }
        }
        let answer = self.backend().exchange.ask(&fenced, Again::IfNotApplied).await.map_err(lost_if_gone);
        if let Err(Error::Lost(Loss::Taken)) = answer {
            self.refused();
        }
        answer
    }
}

pub(crate) async fn get(exchange: &Exchange, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    bytes(exchange.ask(&get_command(key), Again::Always).await?)
}

fn get_command(key: &[u8]) -> Cmd {
    let mut command = redis::cmd("GET");
    command.arg(key);
    command
}

fn set_command(key: &[u8], value: &[u8]) -> Cmd {
    let mut command = redis::cmd("SET");
    command.arg(key).arg(value);
    command
}

fn delete_command(key: &[u8]) -> Cmd {
    let mut command = redis::cmd("DEL");
    command.arg(key);
    command
}

fn bytes(answer: Value) -> Result<Option<Vec<u8>>, Error> {
    match answer {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        other => Err(Error::unexpected(other)),
    }
}

/// Whether a command did what it was told.
fn done(answer: Value) -> Result<bool, Error> {
    match answer {
        Value::Nil | Value::Int(0) => Ok(false),
        Value::Okay | Value::Int(_) => Ok(true),
        other => Err(Error::unexpected(other)),
    }
}

/// `FRESHNESS` answers the last entry applied, and an age in milliseconds or nil.
fn age_of(answer: &Value) -> Result<Option<Duration>, Error> {
    match answer {
        Value::Array(parts) => match &parts[..] {
            [_, Value::Nil] => Ok(None),
            [_, Value::Int(age)] => Ok(u64::try_from(*age).ok().map(Duration::from_millis)),
            _ => Err(Error::unexpected(answer)),
        },
        other => Err(Error::unexpected(other)),
    }
}
