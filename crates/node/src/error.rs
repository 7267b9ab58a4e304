//! What can be wrong with a node's data.

/// Why a node's data could not be taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data were written by something else, or by a newer version: use that version.
    #[error("the log holds {what}")]
    Malformed {
        /// What was found.
        what: &'static str,
    },
    /// A snapshot could not be read: the disk, or whoever sent it, has damaged it.
    #[error("the snapshot at {index} cannot be read")]
    Unreadable {
        /// The snapshot's index.
        index: u64,
        /// What the log says.
        source: quorate_log::Error,
    },
    /// A snapshot's bytes are as they were written, and yet not a machine: mostly, they are of a newer version.
    #[error("the snapshot at {index} is not one of a machine that this release knows")]
    NoMachine {
        /// The snapshot's index.
        index: u64,
        /// What the machine says.
        source: quorate_machine::Error,
    },
    /// A snapshot holds a machine in another state than its head says.
    #[error("the snapshot at {index} holds a machine at {applied}")]
    Mislabelled {
        /// The snapshot's index.
        index: u64,
        /// The last entry that its machine has applied.
        applied: u64,
    },
}
