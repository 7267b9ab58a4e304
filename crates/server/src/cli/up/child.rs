//! One node's process: started, listened to, and ended.

use std::{
    io::{self, Write as _},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::mpsc,
};
use tracing_appender::non_blocking::NonBlocking;

/// What a node may take to hand over and stop, before it is killed. Its share of [`super::STOP_MAX`].
pub(super) const GRACE: Duration = Duration::from_millis(3_500);
const _: () = assert!(GRACE.as_millis() + 1_000 < super::STOP_MAX.as_millis());

/// The longest line of a node's log that is passed on whole.
const LINE_BYTES_MAX: usize = 16 << 10;

/// What is told about a node's process.
#[derive(Debug)]
pub(super) struct Ended {
    /// The node.
    pub(super) node: u64,
    /// How its process ended.
    pub(super) how: io::Result<ExitStatus>,
}

/// A process that runs. Dropping it is the order to stop.
#[derive(Debug)]
pub(super) struct Running {
    /// Its process id.
    pub(super) pid: u32,
    /// Closed when the process is to end.
    _orders: mpsc::Sender<()>,
}

impl Running {
    /// Starts `executable` with `arguments` as `node`; its log lines go to `screen`, its end to `ended`.
    pub(super) fn start(
        node: u64,
        executable: &Path,
        arguments: &[String],
        screen: NonBlocking,
        ended: mpsc::Sender<Ended>,
    ) -> io::Result<Self> {
        let mut child = Command::new(executable)
            .args(arguments)
            .args(["--end-with-stdin", "--shutdown-timeout", "2s"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal goes to the whole foreground group; the nodes are to hear of it from us.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().unwrap_or_default();
        if let Some(log) = child.stderr.take() {
            tokio::spawn(relay(node, BufReader::new(log), screen));
        }
        let (orders, stop) = mpsc::channel(1);
        tokio::spawn(watch(node, child, stop, ended));
        Ok(Self { pid, _orders: orders })
    }
}

/// Waits for the end of a process, bringing it about when `stop` is closed.
async fn watch(node: u64, mut child: Child, mut stop: mpsc::Receiver<()>, ended: mpsc::Sender<Ended>) {
    // Holding the pipe here keeps the node alive; `wait` would close it if it were left inside of `child`.
    let lifeline = child.stdin.take();
    let how = tokio::select! {
        how = child.wait() => how,
        _ = stop.recv() => {
            drop(lifeline);
            match tokio::time::timeout(GRACE, child.wait()).await {
                Ok(how) => how,
                Err(_) => match child.start_kill() {
                    Ok(()) => child.wait().await,
                    Err(error) => Err(error),
                },
            }
        }
    };
    // Nobody listens any more when `up` itself has given up waiting.
    drop(ended.send(Ended { node, how }).await);
}

/// Passes a node's log lines on, each with the node in front.
async fn relay(node: u64, mut log: impl AsyncBufRead + Unpin, mut screen: NonBlocking) {
    let mut line = Vec::new();
    while let Ok(true) = read_line(&mut log, &mut line).await {
        let text = String::from_utf8_lossy(&line);
        // The queue never fails, it drops.
        drop(screen.write_all(format!("n{node} | {text}\n").as_bytes()));
    }
}

/// Reads the next line, or the next [`LINE_BYTES_MAX`] bytes of a longer one. False at the end.
async fn read_line(log: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    loop {
        let available = log.fill_buf().await?;
        if available.is_empty() {
            return Ok(!line.is_empty());
        }
        let room = available.len().min(LINE_BYTES_MAX - line.len());
        let newline = available[..room].iter().position(|&byte| byte == b'\n');
        let taken = newline.unwrap_or(room);
        line.extend_from_slice(&available[..taken]);
        log.consume(taken + usize::from(newline.is_some()));
        if newline.is_some() || line.len() == LINE_BYTES_MAX {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_cut_at_newlines_and_at_the_limit() {
        let long = "x".repeat(LINE_BYTES_MAX + 5);
        let text = format!("one\n\n{long}\nlast");
        let mut log = text.as_bytes();
        let mut line = Vec::new();
        let mut lengths = Vec::new();
        while read_line(&mut log, &mut line).await.unwrap() {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [3, 0, LINE_BYTES_MAX, 5, 4]);
    }
}
