//! Jitter: its ranges, its cap, and that a seed repeats it.

use std::time::Duration;

use proptest::prelude::*;
use quorate_resilience::retry::{Builder, Jitter};
use quorate_resilience::{Retry, clock::Clock};

const SECOND: Duration = Duration::from_secs(1);
const ALL: [Jitter; 4] = [Jitter::None, Jitter::Equal, Jitter::Full, Jitter::Decorrelated];

/// Tells each wait to a closure instead of waiting.
struct Listen<F>(F);

impl<F: Fn(Duration) + Send + Sync + 'static> Clock for Listen<F> {
    fn now(&self) -> std::time::Instant {
        std::time::Instant::now()
    }

    fn sleep(&self, duration: Duration) {
        self.0(duration);
    }
}

fn waits(builder: Builder) -> Vec<Duration> {
    let (tell, told) = std::sync::mpsc::channel();
    let retry = builder.clock(Listen(move |wait| tell.send(wait).unwrap())).build().unwrap();
    assert!(retry.run_blocking(|| Err::<(), _>("refused")).is_err());
    drop(retry);
    told.iter().collect()
}

fn seeded(jitter: Jitter, seed: u64) -> Builder {
    Retry::builder().jitter(jitter).seed(seed).max_attempts(200)
}

/// The share of the plain wait that was waited; from the seventh on that is the cap, 60 s.
fn shares(jitter: Jitter) -> Vec<f64> {
    waits(seeded(jitter, 7)).iter().skip(6).map(|wait| wait.as_secs_f64() / 60.0).collect()
}

#[test]
fn default_is_equal_jitter() {
    let shares = shares(Jitter::default());
    assert!(shares.iter().all(|share| (0.5..1.0).contains(share)));
}

#[test]
fn equal_jitter_fills_its_range() {
    let shares = shares(Jitter::Equal);
    assert!(shares.iter().any(|share| *share < 0.52) && shares.iter().any(|share| *share > 0.98));
    let mean = shares.iter().sum::<f64>() / shares.len() as f64;
    assert!((0.70..0.80).contains(&mean), "{mean}");
}

#[test]
fn full_jitter_fills_its_range() {
    let shares = shares(Jitter::Full);
    assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
    assert!(shares.iter().any(|share| *share < 0.05) && shares.iter().any(|share| *share > 0.95));
}

#[test]
fn decorrelated_jitter_follows_the_wait_before() {
    let waits = waits(seeded(Jitter::Decorrelated, 7));
    assert!((SECOND..SECOND * 3).contains(&waits[0]));
    assert!(waits.windows(2).all(|pair| pair[1] >= SECOND && pair[1] <= (pair[0] * 3).min(SECOND * 60)));
}

#[test]
fn no_jitter_is_exact() {
    assert_eq!(waits(seeded(Jitter::None, 7))[..3], [SECOND, SECOND * 2, SECOND * 4]);
}

#[test]
fn seed_repeats_the_waits() {
    assert_eq!(waits(seeded(Jitter::Full, 7)), waits(seeded(Jitter::Full, 7)));
    assert_ne!(waits(seeded(Jitter::Full, 7)), waits(seeded(Jitter::Full, 8)));
}

#[test]
fn without_a_seed_two_retries_differ() {
    let unseeded = || waits(Retry::builder().jitter(Jitter::Full));
    assert_ne!(unseeded(), unseeded());
}

#[test]
fn clones_share_the_generator() {
    let (tell, told) = std::sync::mpsc::channel();
    let clock = Listen(move |wait| tell.send(wait).unwrap());
    let retry = Retry::builder().seed(7).max_attempts(2).clock(clock).build().unwrap();
    for retry in [retry.clone(), retry] {
        assert!(retry.run_blocking(|| Err::<(), _>("refused")).is_err());
    }
    let waits: Vec<_> = told.iter().collect();
    assert_ne!(waits[0], waits[1]);
}

proptest! {
    /// Hazard 40: backon adds its jitter after the cap.
    #[test]
    fn no_wait_exceeds_the_cap(
        jitter in prop::sample::select(ALL.to_vec()),
        seed: u64,
        base in 0..u64::MAX / 2,
        over in 0..u64::MAX / 2,
        factor in 1.0..1e300f64,
    ) {
        let (base, cap) = (Duration::from_nanos(base), Duration::from_nanos(base + over));
        let builder = Retry::builder().jitter(jitter).seed(seed).max_attempts(12);
        let waits = waits(builder.base_delay(base).max_delay(cap).exponential_base(factor));
        prop_assert_eq!(waits.len(), 11);
        prop_assert!(waits.iter().all(|wait| *wait <= cap));
    }

    #[test]
    fn endless_caps_do_not_overflow(jitter in prop::sample::select(ALL.to_vec()), seed: u64) {
        let builder = Retry::builder().jitter(jitter).seed(seed).max_attempts(40).max_delay(Duration::MAX);
        prop_assert_eq!(waits(builder.base_delay(Duration::MAX)).len(), 39);
    }
}
