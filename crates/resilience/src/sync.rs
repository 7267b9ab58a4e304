//! The primitives that the breaker's protocol stands on, named in one place.
//!
//! `tests/loom` compiles the breaker's own sources with this module replaced by loom's, and so tries every
//! interleaving of the very code that ships.

pub(crate) use std::sync::{Mutex, MutexGuard, atomic::AtomicU64};
