//! Every interleaving of the breaker's protocol, as far as loom's bound goes: the sources of the breaker are
//! compiled here once more, with loom's lock and atomic word in place of the standard library's.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the verdict")]
#![expect(dead_code, unreachable_pub, unused_imports, reason = "these are modules of the library, in part")]

#[path = "../../src/backoff.rs"]
mod backoff;
#[path = "../../src/breaker/mod.rs"]
mod breaker;
#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/window.rs"]
mod window;

/// What the library names in its own module `sync`.
mod sync {
    pub(crate) use loom::sync::{Mutex, MutexGuard, atomic::AtomicU64};
}

mod protocol;
