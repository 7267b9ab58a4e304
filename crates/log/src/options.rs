//! The settings of a log.

use bytes::Bytes;

use crate::{Error, record, segment};

const MIB: u64 = 1 << 20;

/// The least size of a segment: a header, and a few records. So small that only tests want it.
const SEGMENT_BYTES_MIN: u64 = 512;

/// The greatest size of a segment, which recovery reads into memory as a whole.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// The size of a new log's first segment, unless all are smaller: it is filled with zeros before a node can
/// start, and its disk may be one that others are waiting for.
const FIRST_SEGMENT_BYTES_MAX: u64 = 4 * MIB;

/// Settings of a [`Log`](crate::Log): whose it is, and how much room it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// This node. A folder of another node is refused.
    pub node_id: u64,
    /// The cluster that this node belongs to, if known. A folder of another cluster is refused.
    pub cluster_id: Option<u128>,
    /// The name of the consensus engine, since the meaning of terms and entries depends on it. A folder of
    /// another engine is refused. At most 255 bytes.
    pub engine: String,
    /// Whether an empty folder may become this node's. Without it an empty folder is refused, so that a node
    /// whose disk was wiped does not come back as if it had never promised anything.
    pub create: bool,
    /// What a new folder's identity says about the cluster's birth; opaque. A folder that exists keeps its own.
    pub birth: Bytes,
    /// The size of a segment in bytes, from 512 to 1 GiB. An entry must fit into one. Larger segments cost more
    /// room ahead of time, smaller ones more file operations.
    pub segment_bytes: u64,
    /// Room is [`Scarce`](crate::Room::Scarce) when less than this is free on the disk, in bytes: so
    /// much is left for elections, for what is already in flight, and for a snapshot that makes room.
    pub reserve_bytes: u64,
}

impl Options {
    /// The usual settings for a node, which may also be a new one.
    #[must_use]
    pub fn new(node_id: u64, engine: impl Into<String>) -> Self {
        Self {
            node_id,
            cluster_id: None,
            engine: engine.into(),
            create: true,
            birth: Bytes::new(),
            segment_bytes: 16 * MIB,
            reserve_bytes: 64 * MIB,
        }
    }

    /// The largest payload of an entry in bytes: what fits into one segment.
    #[must_use]
    pub fn entry_bytes_max(&self) -> u64 {
        self.segment_bytes.saturating_sub(segment::HEADER_BYTES + record::ENTRY_OVERHEAD_BYTES)
    }

    /// The size of a new log's first segment. An entry too large for it goes into the second.
    pub(crate) fn first_segment_bytes(&self) -> u64 {
        self.segment_bytes.min(FIRST_SEGMENT_BYTES_MAX)
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            return Err(Error::Refused {
                what: format!("a segment size of {} bytes", self.segment_bytes),
                why: format!("must be between {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES_MAX}"),
            });
        }
        if self.engine.len() > usize::from(u8::MAX) {
            return Err(Error::Refused {
                what: format!("an engine name of {} bytes", self.engine.len()),
                why: "must not exceed 255".to_owned(),
            });
        }
        Ok(())
    }
}

/// How much a [`Log`](crate::Log) can still write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room for one more segment than the one being written, and the reserve beyond it is free.
    Enough,
    /// The next segment is ready, but the disk is nearly full. Refuse what is new before it is written; what is
    /// under way, elections, and marks that time has passed fit into what is ready.
    Scarce,
    /// The segment being written is the last. Write nothing but hard state, or the log may die of a full disk.
    Gone,
}
