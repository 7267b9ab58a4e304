//! A bound on the calls that run at once, so that one slow service cannot use up everything.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::{Error, InvalidSetting, Rejected, RejectedBy};

/// Lets so many calls run at once, so many more wait in line for so long, and refuses the rest. Clones are the
/// same bulkhead.
///
/// ```
/// use quorate_resilience::Bulkhead;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let bulkhead = Bulkhead::new(10, 100, Duration::from_secs(1)).unwrap();
/// assert_eq!(bulkhead.call(async { Ok::<_, ()>(7) }).await, Ok(7));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Bulkhead {
    places: Arc<Places>,
}

#[derive(Debug)]
struct Places {
    running: Semaphore,
    waiting: Semaphore,
    wait_max: Duration,
}

impl Bulkhead {
    /// `running` calls at once; `waiting` more wait, first come first served, for `wait_max` at most.
    ///
    /// ```
    /// # use quorate_resilience::Bulkhead; use std::time::Duration;
    /// let bulkhead = Bulkhead::new(10, 100, Duration::from_secs(1))?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If no call could ever run, or there are more places than a semaphore counts.
    pub fn new(running: usize, waiting: usize, wait_max: Duration) -> Result<Self, InvalidSetting> {
        let countable = |places| places <= Semaphore::MAX_PERMITS;
        InvalidSetting::unless(running >= 1, "running", "must be at least 1")?;
        InvalidSetting::unless(countable(running), "running", "is more than can be counted")?;
        InvalidSetting::unless(countable(waiting), "waiting", "is more than can be counted")?;
        let (running, waiting) = (Semaphore::new(running), Semaphore::new(waiting));
        Ok(Self { places: Arc::new(Places { running, waiting, wait_max }) })
    }

    /// Makes a call once there is room. A call that is dropped while it waits or runs leaves its place at once.
    ///
    /// ```
    /// # use quorate_resilience::Bulkhead; use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let one_at_a_time = Bulkhead::new(1, 0, Duration::ZERO).unwrap();
    /// let answer = one_at_a_time.call(async { one_at_a_time.call(async { Ok::<_, ()>(7) }).await }).await;
    /// assert!(answer.is_err());
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if there was none, [`Error::Failed`] with the call's own error.
    pub async fn call<T, E>(&self, call: impl Future<Output = Result<T, E>>) -> Result<T, Error<E>> {
        let _place = self.place().await?;
        call.await.map_err(Error::Failed)
    }

    async fn place(&self) -> Result<SemaphorePermit<'_>, Rejected> {
        let Places { running, waiting, wait_max } = &*self.places;
        let full = || Rejected::new(RejectedBy::FullBulkhead, None);
        if let Ok(place) = running.try_acquire() {
            return Ok(place);
        }
        let _in_line = waiting.try_acquire().map_err(|_| full())?;
        match tokio::time::timeout(*wait_max, running.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(full()),
        }
    }
}
