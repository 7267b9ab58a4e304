//! A wish for a lock, and how it becomes a guard.

use std::{sync::Arc, time::Duration};

use crate::{
    backend::{Backend, Grant, Quorate, Wish},
    client::{Core, TTL_MIN},
    clock::BootTime,
    error::Error,
    guard::LockGuard,
    lease::Lease,
};

const TTL: Duration = Duration::from_secs(10);

/// A lock that is to be acquired; made by [`Client::lock`](crate::Client::lock).
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// use std::time::Duration;
///
/// let guard = client.lock("report").ttl(Duration::from_secs(30)).owner("nightly job").acquire().await?;
/// # Ok(()) }
/// ```
#[must_use = "a lock is not held before it is acquired"]
pub struct Lock<B: Backend = Quorate> {
    core: Arc<Core<B>>,
    name: String,
    owner: Option<String>,
    ttl: Duration,
    wait: Duration,
}

impl<B: Backend> Lock<B> {
    pub(crate) fn new(core: Arc<Core<B>>, name: String) -> Self {
        Self { core, name, owner: None, ttl: TTL, wait: Duration::ZERO }
    }

    /// For how long the server keeps the lock for a holder that it does not hear from: 10 s by default, 100 ms at least. It is
    /// renewed when a third of that is over.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let lock = client.lock("report").ttl(std::time::Duration::from_secs(30));
    /// # }
    /// ```
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// For how long to wait while somebody else holds it: not at all by default.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let lock = client.lock("report").wait(std::time::Duration::from_secs(5));
    /// # }
    /// ```
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// What the server tells others of the holder: the id of this process by default. It lets nobody in: whoever acquires
    /// the lock, under the same name or another, does so for himself.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let lock = client.lock("report").owner("nightly job on host 7");
    /// # }
    /// ```
    pub fn owner(self, owner: impl Into<String>) -> Self {
        Self { owner: Some(owner.into()), ..self }
    }

    /// Acquires the lock, and keeps it until the guard is released or dropped.
    ///
    /// May be given up at any time, by `select!` or a time-out: what has been asked for is then taken back in the background,
    /// at once if the server answers, and by the lock's time to live if it does not.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// use quorate_client::Error;
    ///
    /// match client.lock("report").acquire().await {
    ///     Ok(guard) => println!("token {}", guard.token()),
    ///     Err(Error::NotAcquired { .. }) => println!("somebody else is at it"),
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `NotAcquired` if others held it all the time; `Invalid` if a setting cannot work; `Refused` if the name is that of other
    /// data; `NotApplied` and `OutcomeUnknown` if no server answered, in which case nothing is held for long.
    pub async fn acquire(self) -> Result<LockGuard<B>, Error> {
        let (core, wish) = self.checked()?;
        let begun = BootTime::now();
        // From here on, whatever way this ends, what was taken is a guard's or is given back.
        let mut claim = Claim { core: &core, wish: Some(wish) };
        while let Some(wish) = &claim.wish {
            let Some(grant) = core.backend.acquire(wish).await? else { break };
            // Who has waited may have been given the lock long ago, or may find that it is gone already.
            let Some((proof, lease)) = confirmed(&core, wish, grant).await? else { continue };
            let wish = claim.wish.take().expect("it is there");
            return Ok(LockGuard::new(Arc::clone(&core), wish.name, proof, lease));
        }
        let name = claim.wish.as_ref().map_or_else(String::new, |wish| wish.name.clone());
        // Nothing was taken, unless an attempt is still on its way.
        claim.wish.take_if(|wish| !wish.is_astray());
        Err(Error::NotAcquired { name, waited: BootTime::now().since(begun) })
    }

    fn checked(self) -> Result<(Arc<Core<B>>, Wish), Error> {
        if self.name.is_empty() {
            return Err(Error::invalid("name", "a lock needs one"));
        }
        if self.ttl < TTL_MIN {
            return Err(Error::invalid("ttl", format_args!("{:?} is less than {TTL_MIN:?}", self.ttl)));
        }
        let label = self.owner.unwrap_or_else(|| format!("process {}", std::process::id()));
        Ok((self.core, Wish::new(self.name, &label, self.ttl, self.wait)?))
    }
}

/// What was granted, as a lease that has most of its time before it; `None` if it is to be asked for again.
async fn confirmed<B: Backend>(
    core: &Core<B>,
    wish: &Wish,
    Grant { proof, asked }: Grant<B::Proof>,
) -> Result<Option<(B::Proof, Lease)>, Error> {
    let lease = Lease::new(asked, wish.ttl);
    if lease.renewal().is_some_and(|renewal| BootTime::now() < renewal) {
        return Ok(Some((proof, lease)));
    }
    // It lasts no longer than that by itself, whenever it was given.
    let end = BootTime::now() + wish.ttl;
    for failures in 1.. {
        let asked = BootTime::now();
        match core.backend.extend(&wish.name, &proof, wish.ttl, wish.ttl / 3).await {
            Ok(()) => return Ok(Some((proof, Lease::new(asked, wish.ttl)))),
            Err(Error::Lost(_)) => break,
            Err(Error::NotApplied { .. } | Error::OutcomeUnknown { .. }) if asked < end => {
                tokio::time::sleep(lease.pause(failures)).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A wish that is under way: if nobody waits for it any longer, what it has taken is given back.
struct Claim<'a, B: Backend> {
    core: &'a Arc<Core<B>>,
    wish: Option<Wish>,
}

impl<B: Backend> Drop for Claim<'_, B> {
    fn drop(&mut self) {
        if let Some(wish) = self.wish.take() {
            self.core.abandon(wish);
        }
    }
}
