//! `quorate lock` and `quorate elect`: a command runs while a lock is held, or while one leads, and ends when that is lost.

mod child;
pub(crate) mod elect;
mod signals;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use quorate_client::{Client, Error, LockGuard, Loss, Settings, TTL_MIN};
use rustix::process::Signal;

use self::{
    child::Child,
    signals::{Signals, stand_still},
};
use super::address::Servers;

const EXAMPLES: &str = "\
Examples:
  quorate lock nightly -- ./report.sh             on every machine's crontab: one of them runs it
  quorate lock deploy --wait 10m -- ./deploy.sh   one after the other, in the order of arrival
  quorate lock db --ttl 30s -- sh -c 'psql -v token=$QUORATE_TOKEN -f migrate.sql'

CMD finds the fencing token in QUORATE_TOKEN and the lock's name in QUORATE_LOCK. Its standard input and
output are those of this command, which itself writes to standard error alone, and only if something
is wrong. Signals are passed on to it: to all of its process group, of which it is the first. If
standard input is a terminal, it stays in the group of the shell, so that it can read and Ctrl-C reaches
it; then it alone is signalled. What is ignored when this command starts, as under nohup, stays ignored.
Ctrl-Z stops both; the lock is not renewed meanwhile, and if it is lost by then, CMD is ended when they
go on. A signal while this command itself waits for nodes, to take the lock or to give it back, ends it
at once; the lock is then free after its --ttl at the latest.

When the lock is lost, since no node answered for its whole --ttl or somebody took it away, CMD's group
gets SIGTERM, and whatever is left of it SIGKILL after --kill-after, or once another signal comes. Until
then it may run beside the next holder, and so it may if it was suspended or this command was killed
(kill -9): whatever CMD changes should refuse a token smaller than the greatest that it has seen.

Exit status: that of CMD; 128 and the number of the signal that ended it; and of this command itself:
123 the lock was lost before CMD ended, 124 somebody else held it for all of --wait, 125 no node
answered, or the lock was refused, 126 CMD cannot be run, 127 there is no CMD, 2 a flag is wrong.";

/// The flags of `lock`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The lock's name
    name: String,
    /// How long to wait while somebody else holds it
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    wait: Duration,
    #[command(flatten)]
    terms: Terms,
}

/// On which terms something is held, and for what.
#[derive(Clone, Debug, clap::Args)]
struct Terms {
    #[command(flatten)]
    servers: Servers,
    /// For how long it outlives this command, should that be killed: 100ms at least; it is renewed after a third
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = parse_ttl)]
    ttl: Duration,
    /// Who holds it, for whoever asks; lets nobody in [default: this process's id]
    #[arg(long, value_name = "ID")]
    owner: Option<String>,
    /// How long CMD may take to end when it is lost
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = humantime::parse_duration)]
    kill_after: Duration,
    /// What to run
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// How long nodes are tried that do not answer: an election takes less.
const PATIENCE: Duration = Duration::from_secs(5);

/// How this command ends by itself. The numbers are those that `timeout`, `env` and shells use, as far as they have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Lost,
    NotAcquired,
    Failed,
    CannotRun,
    NoCommand,
    /// As CMD did, or a signal had us do.
    Status(u8),
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Lost => 123,
            Ending::NotAcquired => 124,
            Ending::Failed => 125,
            Ending::CannotRun => 126,
            Ending::NoCommand => 127,
            Ending::Status(status) => status,
        })
    }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let shortest = || format!("at least {}: it must be renewed in time", humantime::format_duration(TTL_MIN));
    if ttl < TTL_MIN { Err(shortest()) } else { Ok(ttl) }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    let task = Task { program: "lock", thing: "lock", name: &args.name, terms: &args.terms };
    task.run(async |client: &Client| {
        let lock = client.lock(&args.name).ttl(args.terms.ttl).wait(args.wait);
        let lock = if let Some(owner) = &args.terms.owner { lock.owner(owner) } else { lock };
        lock.acquire().await
    })
}

/// A command that is to run while something is held.
struct Task<'a> {
    /// What this program is called.
    program: &'static str,
    /// What is held, in a word.
    thing: &'static str,
    name: &'a str,
    terms: &'a Terms,
}

impl Task<'_> {
    fn run(&self, acquire: impl AsyncFnOnce(&Client) -> Result<LockGuard, Error>) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ending = match runtime {
            Ok(runtime) => runtime.block_on(self.hold(acquire)),
            Err(error) => self.failed(&error),
        };
        ending.into()
    }

    /// Whether anybody reads it must not decide what becomes of the command.
    fn say(&self, text: &dyn std::fmt::Display) {
        let _ = writeln!(io::stderr(), "quorate {}: {text}", self.program);
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> Ending {
        self.say(error);
        Ending::Failed
    }

    /// Acquires it, and runs the command.
    async fn hold(&self, acquire: impl AsyncFnOnce(&Client) -> Result<LockGuard, Error>) -> Ending {
        let mut signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return self.failed(&error),
        };
        let (url, settings) = (self.terms.servers.url(), Settings::new().patience(PATIENCE));
        let client = match signals.unless_ended(Client::connect_with(&url, settings)).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => {
                return self.failed(&format_args!("{error}. --addr or QUORATE_ADDR say where to look"));
            }
            Err(signal) => return Ending::Status(status_of_signal(signal.as_raw())),
        };
        let acquired = match signals.unless_ended(acquire(&client)).await {
            Ok(acquired) => acquired,
            Err(signal) => {
                settle(&client, &mut signals).await;
                return Ending::Status(status_of_signal(signal.as_raw()));
            }
        };
        match acquired {
            Ok(guard) => self.run_under(guard, &mut signals).await,
            Err(error) => {
                settle(&client, &mut signals).await;
                if let Error::NotAcquired { .. } = error {
                    self.say(&format_args!("the {} {error}", self.thing));
                    return Ending::NotAcquired;
                }
                self.say(&error);
                Ending::Failed
            }
        }
    }

    /// Runs the command until it ends or what is held is lost.
    async fn run_under(&self, guard: LockGuard, signals: &mut Signals) -> Ending {
        let mut child = match Child::start(&self.terms.command, guard.name(), guard.token()) {
            Ok(child) => child,
            Err(error) => {
                self.tell_release(release(guard, signals).await);
                self.say(&format_args!("{}: {error}", self.terms.command[0].display()));
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                return if is_missing { Ending::NoCommand } else { Ending::CannotRun };
            }
        };
        let lost = guard.lost();
        tokio::pin!(lost);
        loop {
            tokio::select! {
                // A signal that came with the loss is the first one, and not another one that is tired of waiting.
                biased;
                ended = child.ended() => {
                    let released = release(guard, signals).await;
                    return match ended {
                        Err(error) => self.failed(&error),
                        Ok(_) if matches!(released, Err(Error::Lost(_))) => self.lost_early(None),
                        Ok(status) => {
                            self.tell_release(released);
                            Ending::Status(status_of(status))
                        }
                    };
                }
                signal = signals.next() => match signal {
                    Signal::TSTP => {
                        child.stand_still();
                        stand_still();
                    }
                    signal => child.pass_on(signal),
                },
                loss = &mut lost => {
                    // First things first: to tell it may take as long as somebody likes.
                    child.end(self.terms.kill_after, signals).await;
                    return self.lost_early(Some(loss));
                }
            }
        }
    }

    fn lost_early(&self, loss: Option<Loss>) -> Ending {
        let Self { thing, name, .. } = self;
        match loss {
            Some(loss) => {
                self.say(&format_args!("the {thing} {name} is lost: {loss}. The command was ended"));
            }
            None => self.say(&format_args!("the {thing} {name} was lost before the command ended")),
        }
        Ending::Lost
    }

    fn tell_release(&self, released: Result<(), Error>) {
        if let Err(error) = released {
            let ttl = humantime::format_duration(self.terms.ttl);
            self.say(&format_args!("the {} {} may be held for {ttl} still: {error}", self.thing, self.name));
        }
    }
}

/// Gives a lock back, unless a signal says not to wait for it.
async fn release(guard: LockGuard, signals: &mut Signals) -> Result<(), Error> {
    let release = signals.unless_ended(guard.release()).await;
    release
        .unwrap_or_else(|_| Err(Error::OutcomeUnknown { why: "a signal came before an answer".to_owned() }))
}

/// Lets the client give back what it has, unless a signal says not to wait for it: then it ends by its time to live.
async fn settle(client: &Client, signals: &mut Signals) {
    let _ = signals.unless_ended(client.settled()).await;
}

/// As shells tell how a command has ended.
fn status_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, signal) => status_of_signal(signal.unwrap_or_default()),
    }
}

fn status_of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
