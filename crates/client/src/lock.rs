//! A wish for a lock, and how it becomes a guard.

use std::{sync::Arc, time::Duration};

use crate::{
    backend::{Backend, Grant, Locks as _, Names, Quorate, Wish},
    client::{Core, check_ttl, label},
    clock::BootTime,
    error::Error,
    guard::{Held, LockGuard},
    kept::Kept,
    kind::{Exclusive, InSession, Kind, OwnTime, Shared, sealed::Timed},
    lease::Lease,
    session::{Member, Open},
};

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
pub struct Lock<B: Backend = Quorate, K: Kind = Exclusive> {
    core: Arc<Core<B>>,
    name: String,
    wait: Duration,
    terms: K::Terms,
}

impl<B: Backend, K: Kind> Lock<B, K> {
    pub(crate) fn new(core: Arc<Core<B>>, name: String, terms: K::Terms) -> Self {
        Self { core, name, wait: Duration::ZERO, terms }
    }

    /// Of whom it would be asked for, and its name.
    pub(crate) fn into_name(self) -> (Arc<Core<B>>, String) {
        (self.core, self.name)
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
}

impl Lock<Quorate, Exclusive> {
    /// Makes it a reader's wish: readers hold the lock together, and nobody else beside them. The servers are fair: who asks for
    /// the lock after a writer has begun to wait for it waits behind him.
    ///
    /// Nobody rises from reader to writer: he would wait for himself. Release the guard, and acquire the lock anew.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let (one, two) = (client.lock("config").shared(), client.lock("config").shared());
    /// let readers = (one.acquire().await?, two.acquire().await?);
    /// # Ok(()) }
    /// ```
    pub fn shared(self) -> Lock<Quorate, Shared> {
        let Self { core, name, wait, terms } = self;
        Lock { core, name, wait, terms }
    }
}

impl<B: Backend, K: Kind<Terms = OwnTime>> Lock<B, K> {
    /// For how long the server keeps the lock for a holder that it does not hear from: 10 s by default, 100 ms at least. It is
    /// renewed when a third of that is over.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let lock = client.lock("report").ttl(std::time::Duration::from_secs(30));
    /// # }
    /// ```
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { terms: OwnTime { ttl, ..self.terms }, ..self }
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
        Self { terms: OwnTime { owner: Some(owner.into()), ..self.terms }, ..self }
    }
}

impl<B: Backend, K: Timed<Tenure<B> = Kept<Arc<Held<B>>>> + Kind> Lock<B, K> {
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
    pub async fn acquire(self) -> Result<LockGuard<B, K>, Error> {
        let Self { core, name, wait, terms: OwnTime { owner, ttl } } = self;
        check_ttl(ttl)?;
        let wish = Wish::new(Names::One(name), K::HOLDING, &label(owner), ttl, wait)?;
        obtain(&core, wish).await
    }
}

/// Acquires what is wished for, with a time to live of its own.
pub(crate) async fn obtain<B, K>(core: &Arc<Core<B>>, wish: Wish) -> Result<LockGuard<B, K>, Error>
where
    B: Backend,
    K: Timed<Tenure<B> = Kept<Arc<Held<B>>>> + Kind,
{
    // From here on, whatever way this ends, what was taken is a guard's or is given back.
    let mut claim = Claim::new(core, wish, None);
    while let Some(grant) = core.backend.acquire(claim.wish()).await? {
        // Who has waited may have been given the lock long ago, or may find that it is gone already.
        if let Some((proof, lease)) = confirmed(core, claim.wish(), grant).await? {
            let name = claim.granted();
            return Ok(LockGuard::kept(Held { core: Arc::clone(core), name, proof }, lease));
        }
    }
    Err(claim.not_acquired())
}

impl Lock<Quorate, InSession> {
    /// Acquires the lock, and keeps it until the guard is released or dropped, or the session ends.
    ///
    /// May be given up at any time, as the acquisition of any lock: what has been asked for is then taken back in the background.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let session = client.session().open().await?;
    /// let guard = session.lock("shard:7").wait(std::time::Duration::from_secs(5)).acquire().await?;
    /// guard.set("shard:7:owner", "me").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Lost` if the session ends meanwhile, otherwise as for a lock without one.
    pub async fn acquire(self) -> Result<LockGuard<Quorate, InSession>, Error> {
        let Self { core, name, wait, terms: session } = self;
        let wish = session.wish(Names::One(name), wait)?;
        obtain_within(&core, &session, wish).await
    }
}

/// Acquires what is wished for, for as long as a session lasts.
pub(crate) async fn obtain_within(
    core: &Arc<Core<Quorate>>,
    session: &Arc<Open>,
    wish: Wish,
) -> Result<LockGuard<Quorate, InSession>, Error> {
    let family = wish.purpose.family();
    let mut claim = Claim::new(core, wish, Some(session));
    let granted = session.unless_lost(core.backend.acquire(claim.wish())).await?;
    let Some(Grant { proof, .. }) = granted else { return Err(claim.not_acquired()) };
    let held = Arc::new(Held { core: Arc::clone(core), name: claim.granted(), proof });
    let tenure = Member::new(Arc::clone(session), family, vec![(held.name.clone(), held.proof.token)]);
    Ok(LockGuard::new(held, tenure))
}

/// What was granted, as a lease that has most of its time before it; `None` if it is to be asked for again.
async fn confirmed<B: Backend>(
    core: &Core<B>,
    wish: &Wish,
    Grant { proof, asked }: Grant<B::Proof>,
) -> Result<Option<(B::Proof, Lease)>, Error> {
    let lease = |asked, is_astray| {
        if is_astray { Lease::with_astray(asked, wish.ttl) } else { Lease::new(asked, wish.ttl) }
    };
    let granted = lease(asked, wish.is_astray());
    if granted.renewal().is_some_and(|renewal| BootTime::now() < renewal) {
        return Ok(Some((proof, granted)));
    }
    // It lasts no longer than that by itself, whenever it was given.
    let end = BootTime::now() + wish.ttl;
    let mut is_astray = wish.is_astray();
    for failures in 1.. {
        let asked = BootTime::now();
        match core.backend.extend(wish.name(), &proof, wish.ttl, wish.ttl / 3).await {
            Ok(()) => return Ok(Some((proof, lease(asked, is_astray)))),
            Err(Error::Lost(_)) => break,
            Err(error @ (Error::NotApplied { .. } | Error::OutcomeUnknown { .. })) if asked < end => {
                is_astray |= matches!(error, Error::OutcomeUnknown { .. });
                tokio::time::sleep(granted.pause(failures)).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A wish that is under way: if nobody waits for it any longer, what it has taken is given back.
struct Claim<'a, B: Backend> {
    core: &'a Arc<Core<B>>,
    /// There until it has become a guard's.
    wish: Option<Wish>,
    begun: BootTime,
    session: Option<&'a Arc<Open>>,
}

impl<'a, B: Backend> Claim<'a, B> {
    fn new(core: &'a Arc<Core<B>>, wish: Wish, session: Option<&'a Arc<Open>>) -> Self {
        Self { core, wish: Some(wish), begun: BootTime::now(), session }
    }

    fn wish(&self) -> &Wish {
        self.wish.as_ref().expect("it is there until it is granted")
    }

    /// From now on a guard's; the lock's name.
    fn granted(&mut self) -> String {
        self.wish.take().map_or_else(String::new, |wish| wish.name().to_owned())
    }

    /// Somebody else had it all the time: nothing was taken, unless an attempt is still on its way.
    fn not_acquired(mut self) -> Error {
        let name = self.wish().name().to_owned();
        self.wish.take_if(|wish| !wish.is_astray());
        Error::NotAcquired { name, waited: BootTime::now().since(self.begun) }
    }
}

impl<B: Backend> Drop for Claim<'_, B> {
    fn drop(&mut self) {
        if let Some(wish) = self.wish.take() {
            self.core.abandon(wish, self.session.map(Arc::clone));
        }
    }
}
