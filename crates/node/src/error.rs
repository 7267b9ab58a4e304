//! What can go wrong before a driver runs.

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
}
