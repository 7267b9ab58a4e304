//! Asking twice instead of waiting: for the slowest of many calls, where asking twice does no harm.
//!
//! The idea is that of Dean and Barroso, *The Tail at Scale* (CACM, 2013).

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::InvalidSetting;

/// Makes a call again if it has not answered after a while, and takes the first success. The others are dropped.
///
/// Choose a delay that few calls exceed, such as their 95th percentile: then hedging costs a twentieth of the
/// load. The call must be idempotent.
///
/// ```
/// use quorate_resilience::Hedge;
/// use std::{future::pending, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
/// let hedge = Hedge::new(Duration::from_millis(50), 1).unwrap();
/// let mut asked = 0;
/// let answer = hedge
///     .run(|| {
///         asked += 1;
///         let hangs = asked == 1;
///         async move { if hangs { pending().await } else { Ok::<_, ()>("quick") } }
///     })
///     .await;
/// assert_eq!(answer, Ok("quick"));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hedge {
    delay: Duration,
    extra_calls: usize,
}

/// The most further calls: each is polled whenever one of them wakes.
const EXTRA_CALLS_MAX: usize = 16;

impl Hedge {
    /// Another call after each `delay` without an answer, `extra_calls` at most, which are 1 to 16.
    ///
    /// ```
    /// # use quorate_resilience::Hedge; use std::time::Duration;
    /// assert!(Hedge::new(Duration::from_millis(50), 0).is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// If there would be none, or more than 16.
    pub fn new(delay: Duration, extra_calls: usize) -> Result<Self, InvalidSetting> {
        let fits = (1..=EXTRA_CALLS_MAX).contains(&extra_calls);
        InvalidSetting::unless(fits, "extra_calls", "must be from 1 to 16")?;
        Ok(Self { delay, extra_calls })
    }

    /// The first success; or, once every call that was made has failed, the last error. A failure makes no
    /// further call: that is what a retry is for.
    ///
    /// ```
    /// # use quorate_resilience::Hedge; use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let hedge = Hedge::new(Duration::from_millis(50), 1).unwrap();
    /// assert_eq!(hedge.run(|| async { Ok::<_, ()>(7) }).await, Ok(7));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The last error, if all calls failed.
    pub async fn run<T, E, F>(&self, mut call: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut running = vec![Box::pin(call())];
        let mut left = self.extra_calls;
        let mut delay = pin!(tokio::time::sleep(self.delay));
        poll_fn(|context| {
            loop {
                let answer = poll_all(&mut running, context);
                if answer.is_ready() || left == 0 || delay.as_mut().poll(context).is_pending() {
                    return answer;
                }
                running.push(Box::pin(call()));
                left -= 1;
                delay.as_mut().reset(tokio::time::Instant::now() + self.delay);
            }
        })
        .await
    }
}

/// Polls what is running; ready with the first success, or the last error when nothing is left.
fn poll_all<T, E, F>(running: &mut Vec<Pin<Box<F>>>, context: &mut Context<'_>) -> Poll<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut index = 0;
    while index < running.len() {
        match running[index].as_mut().poll(context) {
            Poll::Pending => index += 1,
            Poll::Ready(Ok(value)) => return Poll::Ready(Ok(value)),
            Poll::Ready(Err(error)) => {
                drop(running.remove(index));
                if running.is_empty() {
                    return Poll::Ready(Err(error));
                }
            }
        }
    }
    Poll::Pending
}
