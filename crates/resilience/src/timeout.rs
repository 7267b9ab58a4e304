//! A bound on the time of one call.

use std::time::Duration;

use crate::error::Error;

/// Drops a call that takes longer than `after`. Needs tokio's timer.
///
/// ```
/// use quorate_resilience::{Error, timeout};
/// use std::{future::pending, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let after = Duration::from_secs(1);
/// let answer = timeout(after, pending::<Result<(), ()>>()).await;
/// assert_eq!(answer, Err(Error::TimedOut { after }));
/// # }
/// ```
///
/// # Errors
///
/// [`Error::TimedOut`], or [`Error::Failed`] with the call's own error.
pub async fn timeout<T, E>(after: Duration, call: impl Future<Output = Result<T, E>>) -> Result<T, Error<E>> {
    match tokio::time::timeout(after, call).await {
        Ok(result) => result.map_err(Error::Failed),
        Err(_) => Err(Error::TimedOut { after }),
    }
}
