//! Several locks that are held together.

use std::{sync::Arc, time::Duration};

use redis::Value;

use crate::{
    backend::{Family, Names, Quorate, quorate::token},
    client::{Core, TTL, label},
    clock::BootTime,
    error::{Error, Loss},
    kind::sealed::Tenure as _,
    session::{Member, NewSession, Session},
    token::FencingToken,
};

/// Several locks that are to be acquired together; made by [`Client::lock_all`](crate::Client::lock_all).
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// use std::time::Duration;
///
/// let accounts = client.lock_all(["account:1", "account:2"]).owner("transfer").wait(Duration::from_secs(5));
/// let guard = accounts.acquire().await?;
/// # Ok(()) }
/// ```
#[must_use = "locks are not held before they are acquired"]
pub struct MultiLock {
    core: Arc<Core<Quorate>>,
    names: Vec<String>,
    owner: Option<String>,
    ttl: Duration,
    wait: Duration,
}

impl MultiLock {
    pub(crate) fn new(core: Arc<Core<Quorate>>, names: Vec<String>) -> Self {
        Self { core, names, owner: None, ttl: TTL, wait: Duration::ZERO }
    }

    /// For how long the servers keep the locks for a holder that they do not hear from: 10 s by default, 100 ms at least.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let locks = client.lock_all(["a", "b"]).ttl(std::time::Duration::from_secs(30));
    /// # }
    /// ```
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// For how long to wait until all of them are free at once: not at all by default. Whoever is the first in the queue of each
    /// gets them; those that are free meanwhile are kept for him.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let locks = client.lock_all(["a", "b"]).wait(std::time::Duration::from_secs(5));
    /// # }
    /// ```
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// What the servers tell others of the holder: the id of this process by default.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let locks = client.lock_all(["a", "b"]).owner("transfer on host 7");
    /// # }
    /// ```
    pub fn owner(self, owner: impl Into<String>) -> Self {
        Self { owner: Some(owner.into()), ..self }
    }

    /// Acquires all of them, and keeps them until the guard is released or dropped. They are held by a session of their own,
    /// under the owner's name.
    ///
    /// May be given up at any time: nothing is held then, and nothing waited for.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock_all(["account:1", "account:2"]).acquire().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `NotAcquired` if others held some of them all the time; `Refused` for no name at all, more than 128, or one that stands
    /// twice; otherwise as for [`Lock::acquire`](crate::Lock::acquire).
    pub async fn acquire(self) -> Result<MultiGuard, Error> {
        let Self { core, names, owner, ttl, wait } = self;
        // The time to open the session is part of the wait.
        let begun = BootTime::now();
        let session = NewSession::new(Arc::clone(&core)).ttl(ttl).name(label(owner)).open().await?;
        let wait = wait.saturating_sub(BootTime::now().since(begun));
        let wish = session.open.wish(Names::All(names), wait)?;
        // If this is given up or fails, the session ends, and all with it.
        let Some((answer, _)) = session.open.unless_lost(core.backend.obtain(&wish)).await? else {
            let waited = BootTime::now().since(begun);
            return Err(Error::NotAcquired { name: wish.names.as_slice().join(", "), waited });
        };
        let Value::Array(tokens) = &answer else { return Err(Error::unexpected(answer)) };
        let tokens = tokens.iter().map(token).collect::<Result<Vec<_>, _>>()?;
        let locks: Vec<_> = wish.names.as_slice().iter().cloned().zip(tokens).collect();
        let member = Member::new(Arc::clone(&session.open), Family::Lock, locks.clone());
        Ok(MultiGuard { session, member, locks })
    }
}

/// Several locks that are held together, and are all free at the same instant when this is released or dropped, or is lost.
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// # async fn transfer(tokens: &[(String, quorate_client::FencingToken)]) {}
/// let guard = client.lock_all(["account:1", "account:2"]).acquire().await?;
/// tokio::select! {
///     () = transfer(guard.tokens()) => guard.release().await?,
///     loss = guard.lost() => eprintln!("stopped in the middle: {loss}"),
/// }
/// # Ok(()) }
/// ```
#[must_use = "locks whose guard is dropped are released"]
pub struct MultiGuard {
    session: Session,
    member: Member,
    locks: Vec<(String, FencingToken)>,
}

impl MultiGuard {
    /// The locks in the order in which they were named, each with its fencing token.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock_all(["account:1", "account:2"]).acquire().await?;
    /// for (name, token) in guard.tokens() {
    ///     println!("{name}: {token}");
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn tokens(&self) -> &[(String, FencingToken)] {
        &self.locks
    }

    /// Whether all of them are certainly held at this instant, by this machine's clock, as far as servers have told.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// assert!(client.lock_all(["account:1", "account:2"]).acquire().await?.is_held());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.member.loss().is_none()
    }

    /// Returns when the first of them is lost, and why.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock_all(["account:1", "account:2"]).acquire().await?;
    /// println!("some of them are gone: {}", guard.lost().await);
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + use<> {
        self.member.lost()
    }

    /// Releases all of them, and returns once the server has said so. If this is dropped, it goes on in the background.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let guard = client.lock_all(["account:1", "account:2"]).acquire().await?;
    /// guard.release().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Lost` if one of them was not held any longer; otherwise no server answered, and they end by their time to live.
    pub async fn release(self) -> Result<(), Error> {
        let Self { session, member, .. } = self;
        let loss = member.loss();
        member.end(Loss::Released);
        let closed = session.close().await;
        loss.map_or(closed, |loss| Err(Error::Lost(loss)))
    }
}
