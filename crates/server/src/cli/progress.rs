//! How far a long command is, on standard error: a line that moves on a terminal, a line now and then elsewhere.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// How often a terminal is told.
const ON_TERMINAL: Duration = Duration::from_millis(100);
/// How often anything else is told: a log wants to see that the command lives, and no more.
const ELSEWHERE: Duration = Duration::from_secs(10);
/// The bar's length in letters.
const BAR: u64 = 30;

/// What was done so far, in bytes.
#[derive(Debug)]
pub(super) struct Progress {
    doing: &'static str,
    /// How many bytes there are to do, if that is known.
    total: Option<u64>,
    begin: Instant,
    told: Instant,
    terminal: bool,
}

impl Progress {
    pub(super) fn new(doing: &'static str, total: Option<u64>) -> Self {
        let now = Instant::now();
        Self { doing, total, begin: now, told: now, terminal: io::stderr().is_terminal() }
    }

    /// So many bytes are done by now.
    pub(super) fn at(&mut self, bytes: u64) {
        let total = self.total;
        self.shows(|took| line(bytes, total, took));
    }

    /// What is to be seen after `doing`, made of the time that has passed; only if it is time to tell.
    pub(super) fn shows(&mut self, done: impl FnOnce(Duration) -> String) {
        let interval = if self.terminal { ON_TERMINAL } else { ELSEWHERE };
        if self.told.elapsed() < interval {
            return;
        }
        self.told = Instant::now();
        let line = format!("{} {}", self.doing, done(self.begin.elapsed()));
        // Nobody is there to be told that nobody can be told.
        let _ = match self.terminal {
            true => write!(io::stderr(), "\r{line}\x1b[K"),
            false => writeln!(io::stderr(), "{line}"),
        };
    }

    /// Tells a line at once, above what moves.
    pub(super) fn interject(&mut self, line: &str) {
        self.clear();
        let _ = writeln!(io::stderr(), "{} {line}", self.doing);
    }

    /// Makes room for what others write to the terminal.
    pub(super) fn clear(&mut self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn line(bytes: u64, total: Option<u64>, took: Duration) -> String {
    let rate = mebibytes(bytes) / took.as_secs_f64().max(0.001);
    let done = match total.filter(|&total| total > 0) {
        Some(total) => format!("{} {} of {}", picture(bytes, total), size(bytes), size(total)),
        None => size(bytes),
    };
    format!("{done}, {rate:.1} MiB/s")
}

/// How much of a whole is done, in numbers, too.
pub(super) fn bar(done: u64, total: u64, unit: &str) -> String {
    format!("{} {done} of {total} {unit}", picture(done, total))
}

fn picture(done: u64, total: u64) -> String {
    let filled = u128::from(done.min(total)) * u128::from(BAR) / u128::from(total.max(1));
    let filled = usize::try_from(filled).unwrap_or_default();
    let length = usize::try_from(BAR).unwrap_or_default();
    format!("[{:<length$}]", "#".repeat(filled))
}

/// A number of bytes as people read it.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..10_240 => format!("{bytes} bytes"),
        10_240.. => format!("{:.1} MiB", mebibytes(bytes)),
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people, to a tenth")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_needs_an_end_to_go_to() {
        let second = Duration::from_secs(1);
        assert_eq!(line(3 << 20, None, second), "3.0 MiB, 3.0 MiB/s");
        let half = "[###############               ] 2.0 MiB of 4.0 MiB, 2.0 MiB/s";
        assert_eq!(line(2 << 20, Some(4 << 20), second), half);
        assert!(line(9, Some(4), second).contains(&"#".repeat(30)));
        assert_eq!(size(10_239), "10239 bytes");
        assert_eq!(bar(1, 0, "seeds"), format!("[{}] 1 of 0 seeds", " ".repeat(30)));
    }
}
