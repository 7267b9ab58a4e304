//! Retries whose first attempt succeeds, without waiting.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::sync::Arc;

use backon::Retryable as _;
use divan::Bencher;
use quorate_resilience::Retry;
use quorate_resilience::retry::{RetryBudget, RetryLayer};
use tower::Layer as _;
use tower::retry::Policy;
use tower::retry::budget::{Budget as _, TpsBudget};

use crate::service::{Answers, bench_service};
use crate::{answer, at_once};

#[divan::bench(threads = [1, 2])]
fn bare(bencher: Bencher<'_, '_>) {
    bencher.bench(|| at_once(answer(black_box(7))));
}

#[divan::bench(threads = [1, 2])]
fn bare_loop(bencher: Bencher<'_, '_>) {
    let attempts = async || {
        let mut last = Err(0);
        for _ in 0..black_box(3) {
            last = answer(black_box(7)).await;
            if last.is_ok() {
                break;
            }
        }
        last
    };
    bencher.bench(|| at_once(attempts()));
}

#[divan::bench(threads = [1, 2])]
fn quorate(bencher: Bencher<'_, '_>) {
    let retry = Retry::new();
    bencher.bench(|| at_once(retry.run(|| answer(black_box(7)))));
}

#[divan::bench(threads = [1, 2])]
fn quorate_with_budget(bencher: Bencher<'_, '_>) {
    let builder = Retry::builder().budget(RetryBudget::default());
    let retry = builder.build().expect("the settings are valid");
    bencher.bench(|| at_once(retry.run(|| answer(black_box(7)))));
}

#[divan::bench(threads = [1, 2])]
fn quorate_with_throttling(bencher: Bencher<'_, '_>) {
    let budget = RetryBudget::throttling(10, 0.1).expect("the settings are valid");
    let retry = Retry::builder().budget(budget).build().expect("the settings are valid");
    bencher.bench(|| at_once(retry.run(|| answer(black_box(7)))));
}

#[divan::bench(threads = [1, 2])]
fn backon(bencher: Bencher<'_, '_>) {
    bencher.bench(|| {
        let attempts = (|| answer(black_box(7))).retry(backon::ExponentialBuilder::default());
        at_once(attempts.into_future())
    });
}

#[divan::bench(threads = [1, 2])]
fn tokio_retry(bencher: Bencher<'_, '_>) {
    bencher.bench(|| {
        let waits = tokio_retry::strategy::ExponentialBackoff::from_millis(1_000).take(2);
        at_once(tokio_retry::Retry::start(waits, || answer(black_box(7))))
    });
}

/// Three attempts, and a budget if there is one.
#[derive(Clone)]
struct Attempts {
    left: u32,
    budget: Option<Arc<TpsBudget>>,
}

impl Policy<u64, u64, u64> for Attempts {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, u64>) -> Option<Ready<()>> {
        if result.is_ok() {
            self.budget.iter().for_each(|budget| budget.deposit());
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        self.budget.as_ref().is_none_or(|budget| budget.withdraw()).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

#[divan::bench(threads = [1, 2])]
fn service_quorate(bencher: Bencher<'_, '_>) {
    bench_service(bencher, RetryLayer::new(Retry::new()).layer(Answers));
}

#[divan::bench(threads = [1, 2])]
fn service_tower(bencher: Bencher<'_, '_>) {
    bench_service(bencher, tower::retry::Retry::new(Attempts { left: 2, budget: None }, Answers));
}

#[divan::bench(threads = [1, 2])]
fn service_tower_with_budget(bencher: Bencher<'_, '_>) {
    let budget = Some(Arc::new(TpsBudget::default()));
    bench_service(bencher, tower::retry::Retry::new(Attempts { left: 2, budget }, Answers));
}
