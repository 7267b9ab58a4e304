//! A server's process: started, stopped for a while, killed.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::File,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// How to start a server: again and again with the same data.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Where it runs, and where its log goes.
    pub(crate) folder: PathBuf,
}

/// A server that runs. It is killed when dropped, and by the kernel when this program's main thread ends.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Launch {
    /// Starts the server. To be called on the main thread: the server lives no longer than its parent thread.
    pub(crate) fn start(&self) -> Result<Process> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal goes to the whole foreground group; servers are to hear of it from us.
            .process_group(0)
            .spawn()
            .with_context(|| {
                format!("cannot start {} by setpriv (package util-linux)", self.program.display())
            })?;
        Ok(Process { child })
    }

    fn log(&self) -> PathBuf {
        self.folder.join("log.txt")
    }

    /// The end of what the server has logged, for a message about its failure.
    pub(crate) fn last_words(&self) -> String {
        const LINES: usize = 5;
        let text = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }
}

impl Process {
    /// The files in which the kernel tells of this process.
    pub(crate) fn facts(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }

    /// SIGSTOP: it stands still, and its connections stay open.
    pub(crate) fn pause(&self) -> Result<()> {
        Ok(kill_process(self.pid(), Signal::STOP)?)
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) -> Result<()> {
        Ok(kill_process(self.pid(), Signal::CONT)?)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)) | Err(_))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Either fails only if the process is gone already. A killed process ends soon, also a stopped one.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
