//! Commands to whichever server of a cluster answers.
//!
//! All commands that do not wait share one connection. It stays at its server until that fails: then the next command goes
//! to the next endpoint of the list. Which server it is makes no difference, since each takes every command.
//!
//! * A command is sent again only if it was certainly not carried out, or if doing it twice is as good as once.
//! * Whoever drops a call loses nothing that belongs to others: no lock of ours is held by a caller, but while it connects.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use quorate_resilience::{Backoff, Retry, RetryError, retry::Advice};
use redis::{Cmd, Value};
use tokio::sync::{Mutex, mpsc};

use crate::{
    clock::BootTime,
    connection::{Connection, Reads},
    endpoints::{Endpoint, Endpoints},
    error::Error,
    settings::Settings,
    vigil::Vigils,
};

/// The wait before a command is tried again for the first time, and the longest one.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Which failures are worth another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// Those that certainly changed nothing.
    IfNotApplied,
    /// Also those whose outcome is unknown: the command reads, or twice is as good as once.
    Always,
}

impl Again {
    fn is_wanted(self, error: &Error) -> bool {
        match error {
            Error::NotApplied { .. } => true,
            Error::OutcomeUnknown { .. } => self == Self::Always,
            Error::Invalid { .. }
            | Error::Refused { .. }
            | Error::NotAcquired { .. }
            | Error::Missing { .. }
            | Error::Lost(_) => false,
        }
    }
}

pub(crate) struct Exchange {
    endpoints: Endpoints,
    reads: Reads,
    settings: Settings,
    /// The connection that commands share; none before the first one, and after a failure.
    current: Mutex<Option<Connection>>,
    /// Whose turn is the next, of the endpoints. It stays with one that works.
    turn: AtomicUsize,
    vigils: Vigils,
}

impl Exchange {
    pub(crate) fn new(endpoints: Endpoints, reads: Reads, settings: Settings) -> Self {
        let (current, turn, vigils) = (Mutex::new(None), AtomicUsize::new(0), Vigils::default());
        Self { endpoints, reads, settings, current, turn, vigils }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sends a command, and again after a failure that is `again`'s, for as long as the settings say.
    pub(crate) async fn ask(&self, command: &Cmd, again: Again) -> Result<Value, Error> {
        persist(self.settings.patience, again, || self.ask_once(command, self.settings.answer_timeout)).await
    }

    /// Sends a command once, and waits for its answer; together for `limit`, and no longer than for any answer.
    pub(crate) async fn ask_once(&self, command: &Cmd, limit: Duration) -> Result<Value, Error> {
        let limit = limit.min(self.settings.answer_timeout);
        let begun = BootTime::now();
        let connection = tokio::time::timeout(limit, self.connection())
            .await
            .map_err(|_| Error::not_applied(format_args!("no connection within {limit:?}")))??;
        let answer = connection.ask(command, limit.saturating_sub(BootTime::now().since(begun))).await;
        if let Err(Error::NotApplied { .. } | Error::OutcomeUnknown { .. }) = &answer {
            self.leave(&connection).await;
        }
        answer
    }

    /// Sends a command that waits for so long, on a connection of its own, since those behind it would wait, too; once. It is
    /// made when there is a connection.
    pub(crate) async fn ask_waiting(
        &self,
        command: impl FnOnce() -> (Cmd, Duration),
    ) -> Result<Value, Error> {
        let connection = self.open().await?;
        let (command, wait) = command();
        let limit = wait.saturating_add(self.settings.answer_timeout);
        let answer = tokio::select! {
            answer = connection.ask(&command, limit) => answer,
            error = self.death_of(&connection) => Err(error),
        };
        // A node that is cut off may take connections all the same.
        answer.inspect_err(|error| self.turn_away(&connection, error))
    }

    /// Connects, and tries for as long as the settings say.
    pub(crate) async fn reach(&self) -> Result<(), Error> {
        persist(self.settings.patience, Again::Always, || self.connection()).await.map(drop)
    }

    /// The connection that commands share, which is new if there was none.
    pub(crate) async fn connection(&self) -> Result<Connection, Error> {
        let mut current = self.current.lock().await;
        match &*current {
            Some(connection) if !connection.has_ended() => Ok(connection.clone()),
            _ => {
                *current = None;
                let connection = self.open().await?;
                *current = Some(connection.clone());
                Ok(connection)
            }
        }
    }

    /// A connection of the caller's own, to the first endpoint that takes one.
    pub(crate) async fn open(&self) -> Result<Connection, Error> {
        let (reads, limit) = (self.reads, self.settings.connect_timeout);
        self.in_turn(|endpoint| async move { Connection::open(&endpoint, reads, limit).await }).await
    }

    /// One of the caller's own, likewise, and what it tells without being asked.
    pub(crate) async fn listen(&self) -> Result<(Connection, mpsc::Receiver<Vec<u8>>), Error> {
        let limit = self.settings.connect_timeout;
        self.in_turn(|endpoint| async move { Connection::listen(&endpoint, limit).await }).await
    }

    /// Tries one endpoint after the other.
    async fn in_turn<T, F>(&self, open: impl Fn(Endpoint) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut failures = Vec::new();
        for _ in 0..self.endpoints.len() {
            // Counted before it is tried: whoever gives up on a server that hangs leaves the next one to the next caller.
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let endpoint = self.endpoints.at(turn);
            match open(endpoint.clone()).await {
                Ok(connection) => {
                    self.turn.store(turn, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(Error::NotApplied { why }) => failures.push(why),
                Err(error) => return Err(error),
            }
        }
        Err(Error::not_applied(failures.join("; ")))
    }

    /// Returns when the server of a connection on which something waits does not answer others any longer. One that is cut off
    /// from its leader says so itself; one that stands still says nothing. All who wait at a server look at it together.
    pub(crate) async fn death_of(&self, connection: &Connection) -> Error {
        let vigil = self.vigils.at(connection, &self.settings);
        Error::unknown(vigil.death().await)
    }

    /// How many servers there are.
    pub(crate) fn servers(&self) -> usize {
        self.endpoints.len()
    }

    /// After a failure on a connection, has the next one be one to the next endpoint. A server that refuses a command is as good
    /// as any; and of all who leave one together, only the first does it, or they might come round to it again.
    pub(crate) fn turn_away(&self, connection: &Connection, error: &Error) {
        if Again::Always.is_wanted(error) {
            self.turn_from(connection);
        }
    }

    fn turn_from(&self, connection: &Connection) {
        let turn = self.turn.load(Ordering::Relaxed);
        if self.endpoints.at(turn) == connection.endpoint() {
            // If it is another one's turn by now, so much the better.
            let next = turn.wrapping_add(1);
            let _ = self.turn.compare_exchange(turn, next, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Has the next command use another connection, to the next endpoint. Those that wait for answers on this one go on.
    pub(crate) async fn leave(&self, connection: &Connection) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|current| current.is(connection)) {
            *current = None;
            self.turn_from(connection);
        }
    }
}

/// Makes attempts until one succeeds or fails for good, or `patience` is over.
pub(crate) async fn persist<T, F>(
    patience: Duration,
    again: Again,
    mut attempt: impl FnMut() -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let is_astray = AtomicBool::new(false);
    let attempt = || {
        let (attempt, is_astray) = (attempt(), &is_astray);
        async move {
            let answer = attempt.await;
            is_astray.fetch_or(matches!(answer, Err(Error::OutcomeUnknown { .. })), Ordering::Relaxed);
            answer
        }
    };
    let advice = move |error: &Error| if again.is_wanted(error) { Advice::Retry } else { Advice::Stop };
    let answer = retry(patience).advise(advice).run(attempt).await;
    answer.map_err(|error: RetryError<Error>| match error.into_last() {
        // What an earlier attempt has done is not known by the failure of a later one.
        quorate_resilience::Error::Failed(Error::NotApplied { why }) if is_astray.load(Ordering::Relaxed) => {
            Error::unknown(why)
        }
        quorate_resilience::Error::Failed(error) => error,
        // Neither attempts nor calls are guarded here.
        other => Error::unknown(format_args!("{other}")),
    })
}

fn retry(patience: Duration) -> Retry {
    Retry::builder()
        .max_attempts(u32::MAX)
        .backoff(Backoff::exponential(PAUSE_MIN, 2.0))
        .max_delay(PAUSE_MAX)
        .max_elapsed(patience)
        .build()
        .expect("these settings are valid")
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    /// A server that greets whoever connects.
    async fn server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound").to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 1_024];
                    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                        let asked = bytes[..length].iter().filter(|byte| **byte == b'*').count();
                        let _ = stream.write_all(&b"+OK\r\n".repeat(asked)).await;
                    }
                });
            }
        });
        address
    }

    /// Each had the turn go on by one: as many as there are servers came round to the dead one again.
    #[tokio::test]
    async fn all_who_leave_a_server_together_go_on_to_the_next_and_nobody_leaves_one_that_refuses() {
        let url = format!("quorate://{},{}", server().await, server().await);
        let endpoints = Endpoints::read(&url, "quorate", 1).expect("a URL");
        let exchange = Exchange::new(endpoints.clone(), Reads::Linearizable, Settings::new());
        let (one, other) = (exchange.open().await.expect("greeted"), exchange.open().await.expect("greeted"));
        exchange.turn_away(&one, &Error::from_server("WRONGTYPE", ""));
        assert_eq!(exchange.open().await.expect("greeted").endpoint(), endpoints.at(0));
        exchange.turn_away(&one, &Error::unknown("no answer"));
        exchange.turn_away(&other, &Error::not_applied("no leader"));
        assert_eq!(exchange.open().await.expect("greeted").endpoint(), endpoints.at(1));
    }
}
