//! The command that runs under a lock.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    process::ExitStatus,
    time::Duration,
};

use quorate_client::FencingToken;
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use super::signals::Signals;

/// A command, and what it has started.
pub(super) struct Child {
    process: tokio::process::Child,
    pid: Pid,
    group: Group,
}

/// How often to look whether all of a group have ended: only their parents are told.
const LOOK: Duration = Duration::from_millis(20);

/// To whom signals go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// The command is the first of its process group.
    Own,
    /// It is in ours, whose terminal it reads: signals of the keyboard reach it without us.
    Ours,
}

impl Child {
    /// Starts `command`, which is not empty.
    pub(super) fn start(command: &[OsString], name: &str, token: FencingToken) -> io::Result<Self> {
        let group = if io::stdin().is_terminal() { Group::Ours } else { Group::Own };
        let mut start = Command::new(&command[0]);
        start.args(&command[1..]).env("QUORATE_TOKEN", token.to_string()).env("QUORATE_LOCK", name);
        if group == Group::Own {
            start.process_group(0);
        }
        let process = start.spawn()?;
        let pid = process.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("it has no process id"))?;
        Ok(Self { process, pid, group })
    }

    /// Returns when the command has ended, and how.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// A signal that was sent to us.
    pub(super) fn pass_on(&self, signal: Signal) {
        let is_of_keyboard = matches!(signal, Signal::INT | Signal::QUIT);
        if self.group == Group::Own || !is_of_keyboard {
            self.signal(signal);
        }
    }

    /// Has all that may work under the lock stand still. In our group the keyboard's signal has reached the command, which may
    /// have the terminal to tidy up first.
    pub(super) fn stand_still(&self) {
        if self.group == Group::Own {
            self.signal(Signal::STOP);
        }
    }

    /// Ends the command, and what it has left in its group: politely, and with force after `grace`, or once a signal says not to
    /// wait for it.
    pub(super) async fn end(&mut self, grace: Duration, signals: &mut Signals) {
        self.signal(Signal::TERM);
        // Who stands still hears of nothing else.
        self.signal(Signal::CONT);
        let in_order = async {
            let ended = self.process.wait().await;
            while ended.is_ok() && self.group == Group::Own && test_kill_process_group(self.pid).is_ok() {
                sleep(LOOK).await;
            }
        };
        if !matches!(signals.unless_ended(timeout(grace, in_order)).await, Ok(Ok(()))) {
            self.signal(Signal::KILL);
            let _ = self.ended().await;
        }
    }

    fn signal(&self, signal: Signal) {
        // Whoever has ended meanwhile need not hear of it.
        let _ = match self.group {
            Group::Own => kill_process_group(self.pid, signal),
            Group::Ours => kill_process(self.pid, signal),
        };
    }
}
