//! A lock that is held, and kept.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};

use crate::{
    backend::{Backend, Fenced, Locks, Quorate},
    client::{Core, TTL_MIN},
    clock::{BootTime, sleep_until},
    error::{Error, Loss},
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
pub struct LockGuard<B: Backend = Quorate> {
    held: Arc<Held<B>>,
    keeper: JoinHandle<()>,
    is_released: bool,
}

/// What guard and keeper share.
struct Held<B: Locks> {
    core: Arc<Core<B>>,
    name: String,
    proof: B::Proof,
    lease: watch::Sender<Lease>,
    /// Extensions are asked for one after the other: the arithmetic of the lease rests on that.
    turn: Mutex<()>,
}

impl<B: Backend> LockGuard<B> {
    pub(crate) fn new(core: Arc<Core<B>>, name: String, proof: B::Proof, lease: Lease) -> Self {
        let lease = watch::Sender::new(lease);
        let held = Arc::new(Held { core, name, proof, lease, turn: Mutex::new(()) });
        let keeper = tokio::spawn(keep(Arc::clone(&held)));
        Self { held, keeper, is_released: false }
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
        self.held.lease.borrow().loss(BootTime::now()).is_none()
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
        let until = self.held.lease.borrow().until();
        until.map_or(Duration::ZERO, |until| until.since(BootTime::now()))
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
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + use<B> {
        let mut lease = self.held.lease.subscribe();
        async move {
            loop {
                let current = *lease.borrow_and_update();
                let Some(until) = current.until().filter(|_| current.loss(BootTime::now()).is_none()) else {
                    return current.loss(BootTime::now()).unwrap_or(Loss::Released);
                };
                tokio::select! {
                    changed = lease.changed() => if changed.is_err() { return Loss::Released },
                    () = sleep_until(until) => {}
                }
            }
        }
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
        if ttl < TTL_MIN {
            return Err(Error::invalid("ttl", format_args!("{ttl:?} is less than {TTL_MIN:?}")));
        }
        for failures in 1.. {
            match self.held.extend(Some(ttl)).await {
                Err(Error::NotApplied { .. } | Error::OutcomeUnknown { .. }) => {
                    let pause = self.held.lease.borrow().pause(failures);
                    tokio::time::sleep(pause).await;
                }
                answer => return answer,
            }
        }
        Err(Error::Lost(Loss::Expired))
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
        self.keeper.abort();
        let held = &self.held;
        // What counts is whether it was held when the work was done.
        let loss = held.lease.borrow().loss(BootTime::now());
        let released = held.core.backend.release(&held.name, &held.proof).await;
        self.is_released = true;
        loss.map_or(released, |loss| Err(Error::Lost(loss)))
    }
}

impl<B: Fenced> LockGuard<B> {
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
        self.held.proof
    }

    /// The client's own backend, and what else a fenced command needs.
    pub(crate) fn backend(&self) -> &B {
        &self.held.core.backend
    }

    /// The server has refused the token.
    pub(crate) fn refused(&self) {
        self.held.lease.send_modify(|lease| lease.end(Loss::Taken));
    }
}

impl<B: Backend> Drop for LockGuard<B> {
    fn drop(&mut self) {
        self.keeper.abort();
        // Also one that is lost: if only the answers were, nobody should wait for the rest of its time.
        if !self.is_released {
            self.held.core.release(self.held.name.clone(), self.held.proof.clone());
        }
        self.held.lease.send_modify(|lease| lease.end(Loss::Released));
    }
}

impl<B: Backend> Held<B> {
    /// One attempt to have it last for `ttl`, or for as long as last time.
    async fn extend(&self, ttl: Option<Duration>) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let asked = BootTime::now();
        let current = *self.lease.borrow();
        let ttl = ttl.or(current.ttl()).unwrap_or_default();
        let limit = current.attempt_limit(asked);
        let mut begun = Ok(());
        self.lease.send_modify(|lease| begun = lease.ask(asked, ttl));
        begun?;
        let answer = self.core.backend.extend(&self.name, &self.proof, ttl, limit).await;
        self.lease.send_modify(|lease| match &answer {
            Ok(()) => lease.extended(asked, ttl, BootTime::now()),
            Err(Error::Lost(loss)) => lease.end(*loss),
            Err(Error::OutcomeUnknown { .. }) => {}
            Err(_) => lease.not_extended(),
        });
        answer
    }
}

/// Renews a lock until it is lost.
async fn keep<B: Backend>(held: Arc<Held<B>>) {
    let mut lease = held.lease.subscribe();
    let (mut failures, mut earliest) = (0_u32, BootTime::now());
    loop {
        let Some(renewal) = lease.borrow_and_update().renewal() else { return };
        tokio::select! {
            // The holder may have extended it: then there is another time to renew it.
            Ok(()) = lease.changed() => continue,
            () = sleep_until(renewal.max(earliest)) => {}
        }
        match held.extend(None).await {
            Ok(()) => failures = 0,
            Err(Error::Lost(_)) => return,
            Err(_) => {
                failures = failures.saturating_add(1);
                earliest = BootTime::now() + held.lease.borrow().pause(failures);
            }
        }
    }
}
