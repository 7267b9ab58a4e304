//! What both engines replicate a log with, each part a value without a will of its own: the engine decides, and these
//! compute.
//!
//! * The log in memory ([`log_view`]), what of it is on the disk ([`durability`]), and what others offer to add to it
//!   ([`offer`]); how far it is committed and applied ([`standing`]).
//! * What has been caused and not been told yet ([`outbox`]).
//! * What a leader keeps ([`leadership`]), what it knows of a peer ([`progress`]) and of all of them ([`circle`]), and how
//!   each gets what it lacks ([`courier`]); snapshots on their way out ([`outgoing`]) and in ([`incoming`]).
//! * Reads that wait ([`reads`]), and how far a damaged node is ([`repair`]).
//!
//! Which leader is followed, and when an entry is committed, are questions that the engines answer.

pub(crate) mod circle;
pub(crate) mod courier;
pub(crate) mod durability;
pub(crate) mod incoming;
pub(crate) mod leadership;
pub(crate) mod log_view;
pub(crate) mod offer;
pub(crate) mod outbox;
pub(crate) mod outgoing;
pub(crate) mod progress;
pub(crate) mod reads;
pub(crate) mod repair;
pub(crate) mod standing;
