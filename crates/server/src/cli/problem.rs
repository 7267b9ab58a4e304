//! How the commands end that work on backups and data folders.

use std::{io, path::Path};

use super::Exit;
use crate::snapshots::chain;

/// Why such a command has failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Problem {
    /// The backup or the folder is not what it should be; trying again does not help.
    #[error("{0}")]
    Refused(String),
    /// Something broke; trying again may help.
    #[error("{0}")]
    Failed(String),
}

impl Problem {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Refused(_) => Exit::Data,
            Self::Failed(_) => Exit::Failure,
        }
    }
}

impl From<quorate_log::Error> for Problem {
    fn from(error: quorate_log::Error) -> Self {
        match error {
            // As `serve` does: it needs somebody to do something else first.
            quorate_log::Error::Locked { .. } => Self::Refused(error.to_string()),
            error if error.can_retry() => Self::Failed(error.to_string()),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// Says how `command` has ended, if it has failed.
pub(super) fn told(command: &str, result: Result<(), Problem>) -> Exit {
    match result {
        Ok(()) => Exit::Success,
        Err(problem) => {
            eprintln!("quorate {command}: {problem}");
            problem.exit()
        }
    }
}

/// What the system has said about `path`.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> Problem + '_ {
    move |error| Problem::Failed(format!("{}: {error}", path.display()))
}

/// What an error about what is in `path` amounts to, with its causes.
pub(super) fn refused<E: std::error::Error>(path: &Path) -> impl Fn(E) -> Problem + '_ {
    move |error| Problem::Refused(format!("{}: {}", path.display(), chain(&error)))
}
