//! What a guard costs while all is well: calls through a closed breaker, and retries that succeed at once, beside
//! a bare call and beside peers, on one thread and on two that share the guard.
//!
//! Read the medians, and the ratios of one run: `docs/resilience.md` keeps those of a quiet machine.

mod asynchronous;
mod blocking;
mod retrying;
mod service;

use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

fn main() {
    divan::main();
}

/// The call that is guarded: as little as a call can be, and not to be inlined into its guard.
#[inline(never)]
fn work(input: u64) -> Result<u64, u64> {
    black_box(Ok(input))
}

/// The same as an asynchronous call that answers at once.
async fn answer(input: u64) -> Result<u64, u64> {
    work(input)
}

/// The output of a future that does not wait. No runtime is measured; and inline, as it would be polled in place.
#[inline(always)]
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the work answers at once"),
    }
}
