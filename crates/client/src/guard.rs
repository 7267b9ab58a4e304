//! A lock that is held, and kept.

use std::{sync::Arc, time::Duration};

use crate::{
    backend::{Backend, Fenced, Locks, Quorate},
    client::{Core, check_ttl},
    error::{Error, Loss},
    kept::{Kept, Renew},
    kind::{
        Exclusive, Kind,
        sealed::{Tenure, Timed},
    },
    lease::Lease,
    token::FencingToken,
};

/// A lock that is held. It is renewed in the background until it is [released](LockGuard::release), dropped or lost.
///
/// **Whoever holds a guard may have lost the lock**: no network can promise that renewals arrive. [`lost`](LockGuard::lost) tells
/// at the latest when the time to live is over, counted by this machine's own clock from when the last successful request
/// was sent, so never later than the server gives it to somebody else. A machine that was suspended learns of it within a
/// quarter of a second of waking; what it did in between can be refused only by whoever checks the
/// [`token`](LockGuard::token).
///
/// **A guard that is dropped** releases its lock in the background, as well as it can: that takes a runtime that goes on. To
/// be certain, and to learn of errors, use [`release`](LockGuard::release).
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// # async fn work(token: quorate_client::FencingToken) {}
/// let guard = client.lock("report").acquire().await?;
/// tokio::select! {
///     () = work(guard.token()) => guard.release().await?,
///     loss = guard.lost() => eprintln!("stopped in the middle: {loss}"),
/// }
/// # Ok(()) }
/// ```
#[must_use = "a lock whose guard is dropped is released"]
pub struct LockGuard<B: Backend = Quorate, K: Kind = Exclusive> {
    held: Arc<Held<B>>,
    tenure: K::Tenure<B>,
    is_released: bool,
}

/// What a holder shows, and to whom.
pub struct Held<B: Locks> {
    pub(crate) core: Arc<Core<B>>,
    pub(crate) name: String,
    pub(crate) proof: B::Proof,
}

impl<B: Backend> Renew for Arc<Held<B>> {
    async fn renew(&self, ttl: Duration, limit: Duration) -> Result<(), Error> {
        self.core.backend.extend(&self.name, &self.proof, ttl, limit).await
    }
}

impl<B: Backend, K: Kind> LockGuard<B, K> {
    /// A guard of a lock that lasts as `tenure` says.
    pub(crate) fn new(held: Arc<Held<B>>, tenure: K::Tenure<B>) -> Self {
        Self { held, tenure, is_released: false }
    }

    /// The lock's name.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// assert_eq!(client.lock("report").acquire().await?.name(), "report");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.held.name
    }

    /// Whether the lock is certainly held at this instant, by this machine's clock.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock("report").acquire().await?;
    /// assert!(guard.is_held());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.tenure.loss().is_none()
    }

    /// For how long the lock is certainly held from now on, even if no renewal should arrive: zero once it is lost.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock("report").acquire().await?;
    /// assert!(guard.remaining() > std::time::Duration::from_secs(5));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.tenure.remaining()
    }

    /// Returns when the lock is lost, and why. It does not borrow the guard: it may be given to another task.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock("report").acquire().await?;
    /// let lost = guard.lost();
    /// tokio::spawn(async move { eprintln!("the lock is gone: {}", lost.await) });
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + use<B, K> {
        self.tenure.lost()
    }

    /// Releases the lock, and returns once the server has said so. If this is dropped, it goes on in the background.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock("report").acquire().await?;
    /// guard.release().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Lost` if it was not held any longer: what was done last was perhaps not done alone. Otherwise no server answered,
    /// and it ends by its time to live.
    pub async fn release(mut self) -> Result<(), Error> {
        self.tenure.stop();
        let held = &self.held;
        // What counts is whether it was held when the work was done.
        let loss = self.tenure.loss();
        let released = held.core.backend.release(&held.name, &held.proof).await;
        self.is_released = matches!(released, Ok(()) | Err(Error::Lost(_)));
        loss.map_or(released, |loss| Err(Error::Lost(loss)))
    }
}

impl<B: Backend, K: Timed<Tenure<B> = Kept<Arc<Held<B>>>> + Kind> LockGuard<B, K> {
    /// A guard of a lock that lasts as `lease` says, and is renewed.
    pub(crate) fn kept(held: Held<B>, lease: Lease) -> Self {
        let held = Arc::new(held);
        Self::new(Arc::clone(&held), Kept::new(held, lease))
    }

    /// Has the lock last for `ttl` from now on, and be renewed for as long from then on. It may also be shortened.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock("report").acquire().await?;
    /// guard.extend(std::time::Duration::from_secs(60)).await?; // a step follows that blocks this runtime
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Lost` if the lock is not held any longer: until then, attempts are made until one is answered. `Invalid` for less than
    /// 100 ms.
    pub async fn extend(&self, ttl: Duration) -> Result<(), Error> {
        check_ttl(ttl)?;
        self.tenure.extend(ttl).await
    }
}

impl<B: Fenced, K: Kind> LockGuard<B, K> {
    /// The fencing token of this acquisition, to be handed to whatever the lock guards.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock("report").acquire().await?;
    /// println!("update report set rows = 42, token = {0} where token <= {0}", guard.token());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn token(&self) -> FencingToken {
        B::token(&self.held.proof)
    }

    /// The client's own backend, and what else a fenced command needs.
    pub(crate) fn backend(&self) -> &B {
        &self.held.core.backend
    }

    /// The server has refused the token.
    pub(crate) fn refused(&self) {
        self.tenure.end(Loss::Taken);
    }

    /// Asks for the lock to be given to somebody else, as its holder wishes.
    pub(crate) async fn hand_over(&self, ask: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        let handover = Handover::begin(&self.tenure);
        ask.await?;
        // What is over is not taken up again.
        self.tenure.stop();
        self.tenure.end(Loss::Released);
        std::mem::forget(handover);
        Ok(())
    }
}

/// A lock that is being handed over. If this is dropped, it may be its holder's still, who goes on with it.
struct Handover<'a, T: Tenure>(&'a T);

impl<'a, T: Tenure> Handover<'a, T> {
    fn begin(tenure: &'a T) -> Self {
        tenure.hand_over(true);
        Self(tenure)
    }
}

impl<T: Tenure> Drop for Handover<'_, T> {
    fn drop(&mut self) {
        self.0.hand_over(false);
    }
}

impl<B: Backend, K: Kind> Drop for LockGuard<B, K> {
    fn drop(&mut self) {
        self.tenure.stop();
        // Also one that is lost: if only the answers were, nobody should wait for the rest of its time.
        if !self.is_released {
            self.held.core.release(&self.held, self.tenure.session());
        }
        self.tenure.end(Loss::Released);
    }
}
