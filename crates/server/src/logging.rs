//! Log lines, which never make the service wait.
//!
//! Lines are queued for a thread that writes them to standard error. When that blocks (a full pipe, a stopped
//! terminal) the queue fills, and further lines are dropped and counted, instead of stopping the thread that
//! wrote them.

use std::panic::PanicHookInfo;

use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::LogFormat;

/// Lines that wait for standard error: some seconds of a busy log, and a few MiB.
const LINES_MAX: usize = 16_384;

/// The running log. Dropping it writes what is queued, and gives up soon if that blocks.
#[derive(Debug)]
pub struct Logging {
    /// Writes out the queue when it is dropped.
    _guard: WorkerGuard,
    dropped: ErrorCounter,
}

impl Logging {
    /// How many lines were dropped so far because standard error did not take them.
    #[must_use]
    pub fn dropped_lines(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// A writer to standard error that drops lines rather than wait.
pub fn lossy_stderr() -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_MAX)
        .thread_name("log-lines")
        .finish(std::io::stderr())
}

/// Starts the log of this process. Lines of our own crates are written from `level` on, those of others from
/// warnings on.
#[must_use]
pub fn start(format: LogFormat, level: Level) -> Logging {
    let (writer, guard) = lossy_stderr();
    let dropped = writer.error_counter();
    let filter = ["quorate", "quorate_node", "quorate_log", "quorate_machine", "quorate_consensus"]
        .into_iter()
        .fold(Targets::new().with_default(Level::WARN.min(level)), |filter, name| {
            filter.with_target(name, level)
        });
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        LogFormat::Text => {
            registry.with(fmt::layer().with_writer(writer).with_ansi(false).with_target(false)).try_init()
        }
        LogFormat::Json => {
            registry.with(fmt::layer().json().flatten_event(true).with_writer(writer)).try_init()
        }
    };
    if started.is_err() {
        tracing::debug!("this process has a log already");
    }
    std::panic::set_hook(Box::new(log_panic));
    Logging { _guard: guard, dropped }
}

/// A panic is a bug of ours, and goes where all lines go: printing it could block for ever.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let text = panic.payload_as_str().unwrap_or("no text");
    let thread = std::thread::current();
    tracing::error!(thread = thread.name().unwrap_or("unnamed"), place, "panic: {text}");
}
