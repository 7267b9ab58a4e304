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
/// given up, `DEL` ends the round. Arriving twice is arriving once, so that each call can be made again. Give each round a name of its
/// own.
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
    /// For how long those who have arrived are remembered after each that does: for good by default, until somebody deletes the key.
    /// Let it be longer than anybody waits.
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
    /// If this is given up, or fails, the server may count this one among those who have arrived.
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
    /// `Missing` if there were not enough all the time; `Refused` if the name is that of other data than a set, or for a number of
    /// parties that cannot be; otherwise no server answered.
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
    /// As for [`arrive`](Barrier::arrive).
    pub async fn reached(&self) -> Result<u64, Error> {
        self.gather(&self.command("AWAIT")).await
    }

    fn command(&self, what: &str) -> Cmd {
        let mut command = redis::cmd("BARRIER");
        command.arg(what).arg(&self.name).arg(self.parties);
        command
    }

    /// Asks at once, on the connection that all share, and then on one of its own, where it waits.
    async fn gather(&self, command: &Cmd) -> Result<u64, Error> {
        let (exchange, begun) = (&self.core.backend.exchange, BootTime::now());
        let mut answer = exchange.ask(command, Again::Always).await?;
        let left = || (begun + self.wait).since(BootTime::now());
        if answer == Value::Nil && !left().is_zero() {
            let waiting = || {
                let wait = left().max(WAIT_MIN);
                let mut command = command.clone();
                command.arg("WAIT").arg(millis(wait));
                (command, wait)
            };
            let patience = exchange.settings().patience.max(left());
            answer = persist(patience, Again::Always, || exchange.ask_waiting(waiting)).await?;
        }
        match answer {
            Value::Nil => {
                Err(Error::Missing { name: self.name.clone(), waited: BootTime::now().since(begun) })
            }
            Value::Int(arrived) => u64::try_from(arrived).map_err(|_| Error::unexpected(&answer)),
            other => Err(Error::unexpected(&other)),
        }
    }
}
