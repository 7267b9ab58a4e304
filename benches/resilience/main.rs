//! What a guard costs while all is well: calls through a closed breaker, and retries that succeed at once, beside
//! a bare call and beside peers, on one thread and on two that share the guard.
//!
//! Read differences and ratios within one run: `docs/resilience.md` keeps a set of them.

mod asynchronous;
mod blocking;
mod retrying;
mod service;

use std::hint::{black_box, spin_loop};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

fn main() {
    divan::Divan::default().sample_size(SAMPLE_CALLS).config_with_args().main();
}

/// Calls in a sample, unless `--sample-size` says otherwise: for two threads to meet, it must be a million. Left to itself
/// divan may take one, if the first ones are slow, and then measures its timer.
const SAMPLE_CALLS: u32 = 1_000;

/// The call that is guarded, the same for all: through a pointer that the compiler does not see through, as calls of
/// a client go, with as much to do as it takes to mix a number (the finish of SplitMix64).
#[inline(always)]
fn work(input: u64) -> Result<u64, u64> {
    black_box(mix as fn(u64) -> Result<u64, u64>)(input)
}

#[inline(never)]
fn mix(input: u64) -> Result<u64, u64> {
    let mut mixed = (input ^ (input >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    black_box(Ok(mixed ^ (mixed >> 31)))
}

/// The same as an asynchronous call that answers at once.
async fn answer(input: u64) -> Result<u64, u64> {
    work(input)
}

/// The output of a future that answers soon. No runtime is measured; and inline, as it would be polled in place. Only
/// tower-resilience waits at all, on two threads: for its lock.
#[inline(always)]
fn at_once<F: Future>(future: F) -> F::Output {
    let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => spin_loop(),
        }
    }
}
