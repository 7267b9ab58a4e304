//! Barriers and latches: whoever waits does so until so many have arrived.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value};

use crate::{
    backend::{Quorate, millis, quorate::WAIT_MIN},
    client::{Client, Core},
    clock::BootTime,
    error::Error,
    exchange::{Again, persist},
};

/// A point that so many have to reach before anybody goes on.
///
/// Who has arrived is a member of an ordinary set, under the barrier's name: `SMEMBERS` tells who, `SREM` takes somebody back who has
/// given up. Who arrives twice counts once, so that each call can be made again. Give each round a name of its own, and have it end by
/// its time, or delete it when all have gone on.
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// use std::time::Duration;
///
/// let hour = Duration::from_secs(3_600);
/// // Three loaders, each on a machine of its own, go on when all have loaded their part.
/// let barrier = client.barrier("load:2026-11-27", 3).ttl(2 * hour).wait(hour);
/// let arrived = barrier.arrive("loader-1").await?;
/// assert!(arrived >= 3);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "nobody arrives before he says so"]
pub struct Barrier {
    core: Arc<Core<Quorate>>,
    name: String,
    parties: u64,
    ttl: Option<Duration>,
    wait: Duration,
}

impl Client<Quorate> {
    /// A barrier for so many: 1 to 1,000,000.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let barrier = client.barrier("load:2026-11-27", 3);
    /// # }
    /// ```
    pub fn barrier(&self, name: impl Into<String>, parties: u64) -> Barrier {
        let core = Arc::clone(self.core());
        Barrier { core, name: name.into(), parties, ttl: None, wait: Duration::ZERO }
    }
}

impl Barrier {
    /// For how long those who have arrived are remembered, counted from whoever has arrived last: for good by default, until somebody
    /// deletes the key. Let it be longer than anybody waits.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let barrier = client.barrier("load:2026-11-27", 3).ttl(std::time::Duration::from_secs(7_200));
    /// # }
    /// ```
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// For how long to wait for the others: not at all by default.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let barrier = client.barrier("load:2026-11-27", 3).wait(std::time::Duration::from_secs(3_600));
    /// # }
    /// ```
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Arrives, and waits for the others. How many have arrived then. `id` is who does, different for each.
    ///
    /// If this is given up, or its outcome is unknown, this one may be among those who have arrived, or may be yet.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// use quorate_client::Error;
    ///
    /// match client.barrier("load:2026-11-27", 3).arrive("loader-1").await {
    ///     Ok(arrived) => println!("all {arrived} are there"),
    ///     Err(Error::Missing { .. }) => println!("it has arrived, and somebody has not"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Missing` if there were not enough all the time: this one has arrived, though; `Refused` if the name is that of other data than a
    /// set, for a number of parties or a time to live that cannot be, or if the servers have no room for another one to wait; otherwise
    /// no server answered.
    pub async fn arrive(&self, id: impl AsRef<[u8]>) -> Result<u64, Error> {
        let mut command = self.command("ARRIVE");
        command.arg(id.as_ref());
        if let Some(ttl) = self.ttl {
            command.arg("TTL").arg(millis(ttl));
        }
        self.gather(&command).await
    }

    /// Waits until so many have arrived, without arriving: a latch. How many have then.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// use std::time::Duration;
    ///
    /// client.barrier("ready", 1).wait(Duration::from_secs(60)).reached().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`arrive`](Barrier::arrive); whose outcome is unknown has changed nothing.
    pub async fn reached(&self) -> Result<u64, Error> {
        self.gather(&self.command("AWAIT")).await
    }

    fn command(&self, what: &str) -> Cmd {
        let mut command = redis::cmd("BARRIER");
        command.arg(what).arg(&self.name).arg(self.parties);
        command
    }

    /// Asks on the connection that all share, or on one of its own, where it waits.
    async fn gather(&self, command: &Cmd) -> Result<u64, Error> {
        let (exchange, begun) = (&self.core.backend.exchange, BootTime::now());
        let left = || (begun + self.wait).since(BootTime::now());
        let waiting = || {
            let wait = left().max(WAIT_MIN);
            let mut command = command.clone();
            command.arg("WAIT").arg(millis(wait));
            (command, wait)
        };
        let attempt = || async {
            match self.wait.is_zero() {
                true => exchange.ask_once(command, exchange.settings().answer_timeout).await,
                // One command arrives and waits: in between, all the others could have gone on, and have ended the round.
                false => exchange.ask_waiting(waiting).await.map_err(untold_if_unblocked),
            }
        };
        match persist(exchange.settings().patience.max(self.wait), Again::Always, attempt).await? {
            Value::Nil => {
                Err(Error::Missing { name: self.name.clone(), waited: BootTime::now().since(begun) })
            }
            Value::Int(arrived) => u64::try_from(arrived).map_err(|_| Error::unexpected(arrived)),
            other => Err(Error::unexpected(&other)),
        }
    }
}

/// Whose place in a queue was given up has arrived before.
fn untold_if_unblocked(error: Error) -> Error {
    match error {
        Error::NotApplied { why } if why.starts_with("UNBLOCKED") => Error::unknown(why),
        error => error,
    }
}
