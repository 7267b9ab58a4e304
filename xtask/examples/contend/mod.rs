//! One contender for one lock, whatever crate it takes it with: `compat/programs/contend.py` in Rust, with the
//! same options, the same life and the same journal.

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::error::Error;
use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Between two attempts to take the lock, and how often and long it works while it holds it.
const RETRY: Duration = Duration::from_millis(50);
const WORK: Duration = Duration::from_millis(50);
const EXTENSIONS: u64 = 2;

/// Deletes the lock of its holder, and sets its TTL anew.
pub(crate) const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";
pub(crate) const EXTEND: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";

/// A lock as one crate takes it. An error says that nobody knows what became of the request.
pub(crate) trait Lock {
    type Error: Display;

    async fn acquire(&mut self, me: &str) -> Result<bool, Self::Error>;
    async fn extend(&mut self, me: &str) -> Result<bool, Self::Error>;
    async fn release(&mut self, me: &str) -> Result<bool, Self::Error>;

    /// The fencing token of what is held, where there is one.
    fn token(&self) -> Option<u64> {
        None
    }
}

#[derive(clap::Parser)]
pub(crate) struct Options {
    #[arg(long)]
    pub(crate) url: String,
    #[arg(long)]
    name: String,
    #[arg(long)]
    log: PathBuf,
    #[arg(long)]
    ttl: u64,
}

impl Options {
    pub(crate) fn ttl_ms(&self) -> u64 {
        self.ttl * 1000
    }
}

/// Takes, extends and releases the lock until SIGTERM.
pub(crate) async fn contend(options: &Options, mut lock: impl Lock) -> Result<(), Box<dyn Error>> {
    let mut contender = Contender {
        journal: OpenOptions::new().append(true).create(true).open(&options.log)?,
        terminate: signal(SignalKind::terminate())?,
        stopped: false,
    };
    let mut turn = 0;
    while !contender.stopped {
        turn += 1;
        let me = format!("{} {} {turn}", options.name, std::process::id());
        // An error is in the journal. What was held runs out by itself.
        drop(contender.hold_once(&mut lock, &me).await);
        contender.wait(RETRY).await;
    }
    Ok(())
}

struct Contender {
    journal: File,
    terminate: Signal,
    stopped: bool,
}

impl Contender {
    async fn hold_once<L: Lock>(&mut self, lock: &mut L, me: &str) -> Result<(), L::Error> {
        let sent = now_s();
        let acquired = lock.acquire(me).await;
        if !self.note_with_token("acquire", me, sent, acquired, lock.token())? {
            return Ok(());
        }
        for _ in 0..EXTENSIONS {
            self.wait(WORK).await;
            let sent = now_s();
            self.note("extend", me, sent, lock.extend(me).await)?;
        }
        let sent = now_s();
        self.note("release", me, sent, lock.release(me).await).map(drop)
    }

    /// Lets time pass, unless the program is stopped.
    async fn wait(&mut self, duration: Duration) {
        if !self.stopped {
            self.stopped = tokio::time::timeout(duration, self.terminate.recv()).await.is_ok();
        }
    }

    fn note<E: Display>(
        &mut self,
        action: &str,
        id: &str,
        sent: f64,
        outcome: Result<bool, E>,
    ) -> Result<bool, E> {
        self.note_with_token(action, id, sent, outcome, None)
    }

    fn note_with_token<E: Display>(
        &mut self,
        action: &str,
        id: &str,
        sent: f64,
        outcome: Result<bool, E>,
        token: Option<u64>,
    ) -> Result<bool, E> {
        let mut line = json!({"action": action, "id": id, "sent": sent, "answered": now_s()});
        match &outcome {
            Ok(answer) => line["answer"] = Value::from(*answer),
            Err(error) => line["error"] = Value::from(error.to_string()),
        }
        if let Some(token) = token {
            line["token"] = Value::from(token);
        }
        writeln!(self.journal, "{line}").expect("the journal's disk takes a line");
        outcome
    }
}

/// The clock of all journals.
fn now_s() -> f64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
