//! What is done after those who began it have gone: what was theirs is given back.

use std::{collections::BTreeSet, sync::Arc};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};

/// How much may be under way at once; the next one waits, and its lock may end by its time to live.
const UNDER_WAY_MAX: usize = 1_024;

pub(crate) struct Background {
    /// The runtime that the client was made in: a guard may be dropped anywhere.
    runtime: Handle,
    limit: Arc<Semaphore>,
    open: watch::Sender<Open>,
}

/// What was handed over and is not done, whether it has begun or waits.
#[derive(Debug, Default)]
struct Open {
    next: u64,
    numbers: BTreeSet<u64>,
}

/// Work that is open for as long as this is there.
struct Work {
    number: u64,
    open: watch::Sender<Open>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.open.send_modify(|open| {
            open.numbers.remove(&self.number);
        });
    }
}

impl Background {
    /// What runs in the present runtime.
    pub(crate) fn new() -> Self {
        let limit = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        Self { runtime: Handle::current(), limit, open: watch::Sender::default() }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Does some work, for as long as the runtime lives. From when this returns, [`settled`](Self::settled) waits for it.
    pub(crate) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        let (open, limit) = (self.begin(), Arc::clone(&self.limit));
        // Where the runtime has ended, the time to live has to do: all of this is dropped, and nothing is open.
        self.runtime.spawn(async move {
            let _open = open;
            // It is never closed.
            let _permit = limit.acquire_owned().await;
            work.await;
        });
    }

    /// Returns once all is done that was handed over before, and what that has left behind: the release of its last lock ends a
    /// session, which is to be closed then, and nothing comes of that.
    pub(crate) async fn settled(&self) {
        let mut open = self.open.subscribe();
        for _ in 0..2 {
            let end = open.borrow().next;
            // Its sender is here.
            let _ = open.wait_for(|open| open.numbers.first().is_none_or(|oldest| *oldest >= end)).await;
        }
    }

    fn begin(&self) -> Work {
        let mut number = 0;
        self.open.send_modify(|open| {
            number = open.next;
            open.next += 1;
            open.numbers.insert(number);
        });
        Work { number, open: self.open.clone() }
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use super::*;

    /// Work that waits for its turn was not counted: whoever had dropped more than 1,024 guards was told too early that they were
    /// released.
    #[tokio::test]
    async fn all_work_that_was_handed_over_is_waited_for_however_much_it_is() {
        let (background, gate) = (Background::new(), Arc::new(Semaphore::new(0)));
        for _ in 0..UNDER_WAY_MAX + 500 {
            let gate = Arc::clone(&gate);
            background.run(async move { gate.acquire().await.expect("it is open").forget() });
        }
        let mut settled = pin!(background.settled());
        for (done, left) in [(0, UNDER_WAY_MAX + 500), (UNDER_WAY_MAX, 500), (499, 1)] {
            gate.add_permits(done);
            while background.open.borrow().numbers.len() > left {
                tokio::task::yield_now().await;
            }
            let early = tokio::time::timeout(Duration::ZERO, settled.as_mut()).await;
            assert!(early.is_err(), "{left} are not done");
        }
        gate.add_permits(1);
        settled.await;
    }

    /// A session whose last guard was dropped stayed open: its close was handed over by the release, which was all that
    /// was waited for.
    #[tokio::test]
    async fn what_work_leaves_behind_is_waited_for_and_what_comes_later_is_not() {
        let (background, gate) = (Arc::new(Background::new()), Arc::new(Semaphore::new(0)));
        let (inner, closing) = (Arc::clone(&background), Arc::clone(&gate));
        background.run(async move {
            inner.run(async move { closing.acquire().await.expect("it is open").forget() });
        });
        let mut settled = pin!(background.settled());
        while background.open.borrow().numbers.first() != Some(&1) {
            let early = tokio::time::timeout(Duration::ZERO, settled.as_mut()).await;
            assert!(early.is_err(), "its work has left some behind");
            tokio::task::yield_now().await;
        }
        let early = tokio::time::timeout(Duration::ZERO, settled.as_mut()).await;
        assert!(early.is_err(), "what was left behind is not done");
        background.run(std::future::pending());
        gate.add_permits(1);
        settled.await;
    }
}
