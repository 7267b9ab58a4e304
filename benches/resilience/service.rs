//! A service, and how guards of services are measured.

use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll};

use divan::Bencher;
use tower::Service;

use crate::{at_once, work};

/// A service that answers at once.
#[derive(Clone)]
pub(crate) struct Answers;

impl Service<u64> for Answers {
    type Response = u64;
    type Error = u64;
    type Future = Ready<Result<u64, u64>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), u64>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, input: u64) -> Self::Future {
        ready(work(input))
    }
}

/// A service is called by one owner: each call has a clone, made beforehand.
pub(crate) fn bench_service<S>(bencher: Bencher<'_, '_>, service: S)
where
    S: Service<u64> + Clone + Send + Sync,
{
    bencher.with_inputs(|| service.clone()).bench_refs(|service| at_once(service.call(black_box(7))));
}
