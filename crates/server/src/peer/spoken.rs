//! What the transport has to know of an engine's messages.

use super::{convert::Malformed, lane::Kind, wire::Content};

/// A message of an engine that travels between nodes. Each engine has a kind of frame of its own; one of another engine is
/// refused like any other that no node of this cluster sends.
pub(crate) trait Spoken: Clone + Send + std::fmt::Debug + 'static {
    /// What stands in the frame.
    fn into_content(self) -> Content;

    /// What a frame says.
    ///
    /// # Errors
    /// No node with this engine says it.
    fn from_content(content: Content) -> Result<Self, Malformed>;

    /// The lane that it takes. One kind of message always takes the same, so that it keeps its order.
    fn lane(&self) -> Kind;

    /// The bytes of what it carries: entries, or a part of a snapshot.
    fn payload_bytes(&self) -> usize;
}
