//! The door at which the fuzz targets (`fuzz/`) come to what only peers see. Nobody else's: it may change at any time.

use bytes::Bytes;
use prost::Message as _;
use quorate_consensus::{paxos::message::Message as PaxosMessage, raft::message::Message as RaftMessage};
use quorate_machine::ClusterVersion;
use quorate_node::PeerMessage;

use crate::peer::{
    Spoken, convert,
    wire::{Hello, Welcome},
};

/// An engine's messages as frames.
pub trait Framed: Sized {
    /// What a frame of a peer says, as its reader hands it to the driver.
    ///
    /// # Errors
    /// What is wrong with it, upon which the connection is closed.
    fn read(frame: Bytes) -> Result<PeerMessage<Self>, String>;

    /// The frame that says `message`.
    fn write(message: PeerMessage<Self>) -> Bytes;
}

impl Framed for RaftMessage {
    fn read(frame: Bytes) -> Result<PeerMessage<Self>, String> {
        read(frame)
    }

    fn write(message: PeerMessage<Self>) -> Bytes {
        write(message)
    }
}

impl Framed for PaxosMessage {
    fn read(frame: Bytes) -> Result<PeerMessage<Self>, String> {
        read(frame)
    }

    fn write(message: PeerMessage<Self>) -> Bytes {
        write(message)
    }
}

fn read<M: Spoken>(frame: Bytes) -> Result<PeerMessage<M>, String> {
    convert::from_bytes(frame).map_err(|malformed| malformed.to_string())
}

fn write<M: Spoken>(message: PeerMessage<M>) -> Bytes {
    convert::to_frame(message, ClusterVersion::NEWEST).encode_to_vec().into()
}

/// Whether a stranger's first frame is one, or an answer to ours.
#[must_use]
pub fn is_greeting(frame: &[u8]) -> (bool, bool) {
    (Hello::decode(frame).is_ok(), Welcome::decode(frame).is_ok())
}
