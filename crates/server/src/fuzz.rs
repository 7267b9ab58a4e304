//! The door at which the fuzz targets (`fuzz/`) come to what only peers see. Nobody else's: it may change at any time.

use bytes::Bytes;
use prost::Message as _;
use quorate_consensus::raft::message::Message;
use quorate_machine::ClusterVersion;
use quorate_node::PeerMessage;

use crate::peer::{
    convert,
    wire::{Hello, Welcome},
};

/// What a frame of a peer says, as its reader hands it to the driver.
///
/// # Errors
/// What is wrong with it, upon which the connection is closed.
pub fn peer_message(frame: Bytes) -> Result<PeerMessage<Message>, String> {
    convert::from_bytes(frame).map_err(|malformed| malformed.to_string())
}

/// The frame that says `message`.
#[must_use]
pub fn peer_frame(message: PeerMessage<Message>) -> Bytes {
    convert::to_frame(message, ClusterVersion::NEWEST).encode_to_vec().into()
}

/// Whether a stranger's first frame is one, or an answer to ours.
#[must_use]
pub fn is_greeting(frame: &[u8]) -> (bool, bool) {
    (Hello::decode(frame).is_ok(), Welcome::decode(frame).is_ok())
}
