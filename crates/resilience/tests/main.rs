//! Tests through the public interface, on clocks that stand still until they are moved.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the verdict")]

mod backoff;
mod budget;
mod bulkhead;
mod cancellation;
mod composition;
mod concurrency;
mod documented;
mod events;
mod golden;
mod hedge;
mod jitter;
#[cfg(feature = "tower")]
mod layers;
#[cfg(feature = "rate-limit")]
mod rate_limit;
mod registry;
mod retry;
mod retry_after;
mod sequential_model;
mod settings;
mod throttle;
mod untold;

/// What `src/breaker/untold.rs` names, which `untold` compiles by itself.
mod sync {
    pub(crate) use std::sync::atomic::AtomicU64;
}

/// Makes each row of a table a test of its own: `name: expression => expected`.
#[macro_export]
macro_rules! table {
    ($($name:ident: $actual:expr => $expected:expr;)*) => {
        $(
            #[test]
            fn $name() {
                assert_eq!($actual, $expected);
            }
        )*
    };
}
