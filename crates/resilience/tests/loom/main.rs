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

/// What the library names in its own module `sync`; and how often locks were taken, by all threads of a model.
mod sync {
    use std::cell::Cell;

    pub(crate) use loom::sync::{MutexGuard, atomic::AtomicU64};

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(data: T) -> Self {
            Self(loom::sync::Mutex::new(data))
        }

        pub(crate) fn lock(&self) -> std::sync::LockResult<MutexGuard<'_, T>> {
            LOCKS_TAKEN.set(locks_taken() + 1);
            self.0.lock()
        }
    }

    // The standard library's: loom runs all threads of a model in one.
    std::thread_local! {
        static LOCKS_TAKEN: Cell<u64> = const { Cell::new(0) };
    }

    pub(crate) fn locks_taken() -> u64 {
        LOCKS_TAKEN.get()
    }
}

mod protocol;
