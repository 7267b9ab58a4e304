//! The Redis serialization protocol, both directions, without a socket.
//!
//! [`decode`] turns what clients send into commands, under limits; [`encode`] turns a machine's reply into
//! RESP2 or RESP3. A server reads arrays of bulk strings and inline lines only, so that is all the decoder
//! knows: it is a few hundred lines in which each allocation can be seen to be bounded.

pub mod decode;
pub mod encode;
mod inline;

pub use decode::{Decoder, Frame, FrameLimits, ProtocolError, read_again};
pub use encode::{Protocol, encode, encode_array_head, encoded_bytes};
