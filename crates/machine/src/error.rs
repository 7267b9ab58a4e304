//! What keeps a machine from going on. A command's own error is never one of these: that is a reply.

use crate::cluster_version::ClusterVersion;

/// Why an entry cannot be applied or a snapshot not be restored. The state is as before the call; the node
/// must stop, since another replica may have gone on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Written by a newer release: upgrade this node.
    #[error(
        "cluster version {found} is newer than {known}, the newest that this program knows: run a newer program"
    )]
    Newer {
        /// The version in the bytes.
        found: ClusterVersion,
        /// The newest that is known here.
        known: ClusterVersion,
    },
    /// The bytes are not what the format allows: restore this node from its peers.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The bytes were damaged after they had been written: restore this node from its peers.
    #[error("checksum mismatch in {0}")]
    Checksum(&'static str),
    /// The entry does not follow the last one: a defect of the caller.
    #[error("entry {found} does not follow entry {applied}")]
    Order {
        /// The last applied index.
        applied: u64,
        /// The index of the refused entry.
        found: u64,
    },
    /// The entry's stamp lies before the last one: a defect of the caller.
    #[error("cluster time regressed {before} -> {after}")]
    TimeRegressed {
        /// The last applied stamp in milliseconds.
        before: u64,
        /// The refused entry's stamp in milliseconds.
        after: u64,
    },
}
