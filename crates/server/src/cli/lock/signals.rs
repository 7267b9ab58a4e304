//! The signals that `quorate lock` is sent, and how it stands still.

use std::{fs, io};

use rustix::process::{Signal, getpid, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// What is passed on to CMD, or has it stand still and go on.
const HEARD: [Signal; 8] = [
    Signal::TERM,
    Signal::INT,
    Signal::HUP,
    Signal::QUIT,
    Signal::USR1,
    Signal::USR2,
    Signal::TSTP,
    Signal::CONT,
];

/// Signals, in the order in which they arrive.
pub(super) struct Signals(mpsc::Receiver<Signal>);

impl Signals {
    /// Those that arrive from now on. What whoever has started us ignores, as `nohup` does, stays ignored, here and by CMD.
    pub(super) fn listen() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(HEARD.len());
        let ignored = ignored();
        for heard in HEARD.into_iter().filter(|signal| !is_in(ignored, *signal)) {
            let mut arrivals = signal(SignalKind::from_raw(heard.as_raw()))?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while arrivals.recv().await.is_some() && sender.send(heard).await.is_ok() {}
            });
        }
        Ok(Self(receiver))
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Signal {
        match self.0.recv().await {
            Some(signal) => signal,
            None => std::future::pending().await,
        }
    }

    /// Does something unless a signal comes before that would end a process; which.
    pub(super) async fn unless_ended<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Signal> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                signal = self.next() => match signal {
                    Signal::TSTP => stand_still(),
                    Signal::CONT => {}
                    ending => return Err(ending),
                }
            }
        }
    }
}

/// Stops this process until somebody has it go on.
pub(super) fn stand_still() {
    // Nobody may refuse that to himself.
    let _ = kill_process(getpid(), Signal::STOP);
}

/// The signals that this process ignores, a bit for each; none where the system does not tell.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn is_in(mask: u64, signal: Signal) -> bool {
    let bit = u32::try_from(signal.as_raw() - 1).ok().and_then(|place| 1_u64.checked_shl(place));
    bit.is_some_and(|bit| mask & bit != 0)
}
