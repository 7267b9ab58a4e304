//! What can go wrong, by what the caller has to do about it.

use std::{io, sync::Arc};

use crate::Disk;

/// Why the log refused. Texts name the file or folder and say what an operator can do.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Stop the other process, or use another folder.
    #[error("{folder} is in use by another process: stop it, or choose another data folder")]
    Locked {
        /// The folder.
        folder: String,
    },
    /// Change the settings: this folder and they do not belong together.
    #[error("{what} {why}")]
    Refused {
        /// The file, folder or setting.
        what: String,
        /// What does not fit, and what to do.
        why: String,
    },
    /// Run a newer program.
    #[error("{file} has format {found}, and this program knows formats up to {known}: run a newer version")]
    Newer {
        /// The file.
        file: String,
        /// Its format version.
        found: u32,
        /// The greatest version that this program reads.
        known: u32,
    },
    /// Bytes that were durable have changed, so that the node must neither vote nor acknowledge. Set the damage aside by
    /// [`Log::set_damage_aside`](crate::Log::set_damage_aside); if that answers the same, replace the node.
    #[error(
        "{file} is damaged at byte {offset}: {detail}; keep the folder as it is for diagnosis, \
         and let a new node with a new id take this one's place"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Where in the file, in bytes.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// Take another backup: this one is not whole, or not one at all.
    #[error("{file} is no whole backup: {detail}, at byte {offset}")]
    BadBackup {
        /// The file.
        file: String,
        /// The first byte of what is wrong.
        offset: u64,
        /// What is wrong there.
        detail: &'static str,
    },
    /// Take the newest snapshot instead: this one has been removed, or never was.
    #[error("there is no snapshot of entry {index} in {folder}")]
    Gone {
        /// The last entry that it would include.
        index: u64,
        /// The folder.
        folder: String,
    },
    /// Split the entry, or choose larger segments. Nothing has been written.
    #[error("entry {index} has {bytes} bytes, but a segment holds at most {max}: choose larger segments")]
    TooLarge {
        /// The entry.
        index: u64,
        /// The bytes of its payload.
        bytes: u64,
        /// How many fit.
        max: u64,
    },
    /// Make room, and try again. Opening a log answers this, and making a snapshot, after which the log goes on.
    #[error("the disk is full: no room to {doing} {file}; {}", remedy(*needed_bytes))]
    NoRoom {
        /// The file.
        file: String,
        /// What was tried.
        doing: &'static str,
        /// How many bytes must be free for a log to open and take entries; none for a snapshot, of which nobody
        /// knows in advance how large it becomes.
        needed_bytes: Option<u64>,
    },
    /// See what the operating system says, and try again once it is mended. Nothing has been promised.
    #[error("cannot {doing} {file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// What was tried.
        doing: &'static str,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// End the process: a write or fdatasync has failed, what the disk holds is unknown, and this log does
    /// nothing any more. A restart finds out by recovery.
    #[error(
        "the log is dead, since it could not {doing} {file}: {source}; mend the disk and restart the node"
    )]
    Dead {
        /// The file.
        file: String,
        /// What was tried.
        doing: &'static str,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
}

impl Error {
    /// What was found, without the advice for a node that cannot be repaired.
    #[must_use]
    pub fn finding(&self) -> String {
        match self {
            Self::Corrupt { file, offset, detail } => format!("{file} is damaged at byte {offset}: {detail}"),
            other => other.to_string(),
        }
    }

    /// Whether the same call may succeed later without a restart or another setting.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Locked { .. } | Self::NoRoom { .. } | Self::Io { .. } => true,
            Self::Refused { .. }
            | Self::Newer { .. }
            | Self::Corrupt { .. }
            | Self::BadBackup { .. }
            | Self::Gone { .. }
            | Self::TooLarge { .. }
            | Self::Dead { .. } => false,
        }
    }

    /// The same failure, final.
    pub(crate) fn into_dead(self) -> Self {
        match self {
            Self::Io { file, doing, source } => Self::Dead { file, doing, source },
            Self::NoRoom { file, doing, .. } => {
                Self::Dead { file, doing, source: Arc::new(io::ErrorKind::StorageFull.into()) }
            }
            other @ (Self::Locked { .. }
            | Self::Refused { .. }
            | Self::Newer { .. }
            | Self::Corrupt { .. }
            | Self::BadBackup { .. }
            | Self::Gone { .. }
            | Self::TooLarge { .. }
            | Self::Dead { .. }) => other,
        }
    }

    /// The same failure of a log that was only being opened: it has promised nothing, and opening it can be tried
    /// again. `needed_bytes` must be free for it to take entries.
    pub(crate) fn of_opening(self, needed_bytes: u64) -> Self {
        let needed_bytes = Some(needed_bytes);
        match self {
            Self::Dead { file, doing, source } if is_full(&source) => {
                Self::NoRoom { file, doing, needed_bytes }
            }
            Self::Dead { file, doing, source } => Self::Io { file, doing, source },
            Self::NoRoom { file, doing, .. } => Self::NoRoom { file, doing, needed_bytes },
            other @ (Self::Locked { .. }
            | Self::Refused { .. }
            | Self::Newer { .. }
            | Self::Corrupt { .. }
            | Self::BadBackup { .. }
            | Self::Gone { .. }
            | Self::TooLarge { .. }
            | Self::Io { .. }) => other,
        }
    }
}

/// How to mend a full disk.
fn remedy(needed_bytes: Option<u64>) -> String {
    match needed_bytes {
        Some(bytes) => format!("free at least {} MiB there", bytes.div_ceil(1 << 20)),
        None => "free some space there".to_owned(),
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Says which file an operation of the disk was about.
pub(crate) trait About<T> {
    /// Turns the operating system's word into an [`Error::Io`] or [`Error::NoRoom`].
    fn about(self, disk: &impl Disk, name: &str, doing: &'static str) -> Result<T, Error>;
}

impl<T> About<T> for io::Result<T> {
    fn about(self, disk: &impl Disk, name: &str, doing: &'static str) -> Result<T, Error> {
        self.map_err(|source| {
            let file = disk.path(name);
            match is_full(&source) {
                true => Error::NoRoom { file, doing, needed_bytes: None },
                false => Error::Io { file, doing, source: Arc::new(source) },
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_pass_by_itself_may_be_tried_again() {
        let io = Error::Io { file: "f".into(), doing: "read", source: Arc::new(io::ErrorKind::Other.into()) };
        let full = Error::NoRoom { file: "f".into(), doing: "write", needed_bytes: None };
        assert!(io.can_retry() && full.can_retry());
        assert!(!io.clone().into_dead().can_retry());
        assert!(!full.clone().into_dead().can_retry());
        // Of a log that was only being opened nothing is final.
        assert!(matches!(io.into_dead().of_opening(1), Error::Io { .. }));
        let full = full.into_dead().of_opening((80 << 20) - 1);
        assert_eq!(full.to_string(), "the disk is full: no room to write f; free at least 80 MiB there");
        assert!(!Error::Corrupt { file: "f".into(), offset: 7, detail: "x".into() }.can_retry());
    }
}
