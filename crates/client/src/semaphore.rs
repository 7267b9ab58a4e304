//! Semaphores: so many at a time.

use std::{sync::Arc, time::Duration};

use crate::{
    backend::{Holding, Names, Permitting, Purpose, Quorate, Wish},
    client::{Client, Core, TTL, check_ttl, label},
    error::{Error, Loss},
    guard::LockGuard,
    kind::{Exclusive, InSession, Kind, OwnTime},
    lock::{obtain, obtain_within},
    token::FencingToken,
};

/// Permits that are to be acquired; made by [`Client::semaphore`] or [`Session::semaphore`](crate::Session::semaphore).
///
/// There are so many permits of a name as whoever asks for some says, and all must say the same while somebody has any. Who waits
/// gets his in the order of arrival, and nobody passes, also not who wants fewer.
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// # async fn convert() {}
/// use std::time::Duration;
///
/// // Four conversions at a time, on all machines together.
/// let permit = client.semaphore("converter").permits(4).wait(Duration::from_secs(60)).acquire().await?;
/// tokio::select! {
///     () = convert() => permit.release().await?,
///     loss = permit.lost() => eprintln!("stopped in the middle: {loss}"),
/// }
/// # Ok(()) }
/// ```
#[must_use = "a permit is not held before it is acquired"]
pub struct Semaphore<K: Kind = Exclusive> {
    core: Arc<Core<Quorate>>,
    name: String,
    permitting: Permitting,
    wait: Duration,
    terms: K::Terms,
}

impl Client<Quorate> {
    /// A semaphore, to have permits of.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let permit = client.semaphore("converter").permits(4).acquire().await?;
    /// # Ok(()) }
    /// ```
    pub fn semaphore(&self, name: impl Into<String>) -> Semaphore {
        Semaphore::new(Arc::clone(self.core()), name.into(), OwnTime { owner: None, ttl: TTL })
    }
}

impl<K: Kind> Semaphore<K> {
    pub(crate) fn new(core: Arc<Core<Quorate>>, name: String, terms: K::Terms) -> Self {
        Self { core, name, permitting: Permitting { permits: 1, count: 1 }, wait: Duration::ZERO, terms }
    }

    /// How many permits there are, for all together: 1 by default, 1,000,000,000 at most.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let semaphore = client.semaphore("converter").permits(4);
    /// # }
    /// ```
    pub fn permits(self, permits: u64) -> Self {
        Self { permitting: Permitting { permits, ..self.permitting }, ..self }
    }

    /// How many of them to acquire, all at once: 1 by default.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let a_large_one = client.semaphore("converter").permits(4).count(2);
    /// # }
    /// ```
    pub fn count(self, count: u64) -> Self {
        Self { permitting: Permitting { count, ..self.permitting }, ..self }
    }

    /// For how long to wait while others have too many: not at all by default.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let semaphore = client.semaphore("converter").permits(4).wait(std::time::Duration::from_secs(60));
    /// # }
    /// ```
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }
}

impl Semaphore {
    /// For how long the server keeps permits for a holder that it does not hear from: 10 s by default, 100 ms at least. They are
    /// renewed when a third of that is over.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let semaphore = client.semaphore("converter").permits(4).ttl(std::time::Duration::from_secs(30));
    /// # }
    /// ```
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { terms: OwnTime { ttl, ..self.terms }, ..self }
    }

    /// What the server tells others of the holder: the id of this process by default.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let semaphore = client.semaphore("converter").permits(4).owner("host 7");
    /// # }
    /// ```
    pub fn owner(self, owner: impl Into<String>) -> Self {
        Self { terms: OwnTime { owner: Some(owner.into()), ..self.terms }, ..self }
    }

    /// Acquires permits, and keeps them until what this returns is released or dropped. May be given up at any time, as the
    /// acquisition of a lock.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let permit = client.semaphore("converter").permits(4).acquire().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `NotAcquired` if there were not enough all the time; `Refused` if others say another number of permits, or more are wanted
    /// than there are; otherwise as for [`Lock::acquire`](crate::Lock::acquire).
    pub async fn acquire(self) -> Result<Permit, Error> {
        let Self { core, name, permitting, wait, terms: OwnTime { owner, ttl } } = self;
        check_ttl(ttl)?;
        let wish = Wish::new(Names::One(name), Holding::Alone, &label(owner), ttl, wait)?;
        let guard = obtain(&core, wish.of(Purpose::Permits(permitting))).await?;
        Ok(Permit { guard, count: permitting.count })
    }
}

impl Semaphore<InSession> {
    /// Acquires permits, and keeps them until what this returns is released or dropped, or the session ends. May be given up at any
    /// time, as the acquisition of a lock.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let session = client.session().open().await?;
    /// let permit = session.semaphore("converter").permits(4).count(2).acquire().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Lost` if the session ends meanwhile, otherwise as for permits without one.
    pub async fn acquire(self) -> Result<Permit<InSession>, Error> {
        let Self { core, name, permitting, wait, terms: session } = self;
        let wish = session.wish(Names::One(name), wait)?.of(Purpose::Permits(permitting));
        let guard = obtain_within(&core, &session, wish).await?;
        Ok(Permit { guard, count: permitting.count })
    }
}

/// One permit or several that are held, until this is [released](Permit::release), dropped or lost. What is said of a
/// [`LockGuard`] holds here, too: whoever has it may have lost it, and is told so.
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// let permit = client.semaphore("converter").permits(4).count(2).acquire().await?;
/// assert_eq!((permit.name(), permit.count()), ("converter", 2));
/// # Ok(()) }
/// ```
#[must_use = "permits are returned when this is dropped"]
pub struct Permit<K: Kind = Exclusive> {
    guard: LockGuard<Quorate, K>,
    count: u64,
}

impl<K: Kind> Permit<K> {
    /// The semaphore's name.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// assert_eq!(client.semaphore("converter").permits(4).acquire().await?.name(), "converter");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.guard.name()
    }

    /// How many permits these are.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// assert_eq!(client.semaphore("converter").permits(4).acquire().await?.count(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The token that names these permits.
    ///
    /// **Others have greater ones at the same time**, so a resource cannot refuse who is late by the greatest token that it has
    /// seen. The servers know whether a token has permits still: `FENCED name token command ..` runs a command only then.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let (one, other) = (client.semaphore("converter").permits(2), client.semaphore("converter").permits(2));
    /// let (one, other) = (one.acquire().await?, other.acquire().await?);
    /// assert!(one.token() < other.token() && one.is_held());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn token(&self) -> FencingToken {
        self.guard.token()
    }

    /// Whether they are certainly held at this instant, by this machine's clock.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// assert!(client.semaphore("converter").permits(4).acquire().await?.is_held());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.guard.is_held()
    }

    /// For how long they are certainly held, if they were not renewed any longer.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// println!("{:?}", client.semaphore("converter").permits(4).acquire().await?.remaining());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.guard.remaining()
    }

    /// Returns when they are lost, and why. It does not borrow the permit.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let permit = client.semaphore("converter").permits(4).acquire().await?;
    /// println!("the permit is gone: {}", permit.lost().await);
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + use<K> {
        self.guard.lost()
    }

    /// Returns the permits, and returns once the server has said so. If this is dropped, it goes on in the background.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let permit = client.semaphore("converter").permits(4).acquire().await?;
    /// permit.release().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`LockGuard::release`].
    pub async fn release(self) -> Result<(), Error> {
        self.guard.release().await
    }
}

impl Permit {
    /// Has them last for `ttl` from now on, and be renewed for as long from then on. It may also be shortened.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let permit = client.semaphore("converter").permits(4).acquire().await?;
    /// permit.extend(std::time::Duration::from_secs(60)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`LockGuard::extend`].
    pub async fn extend(&self, ttl: Duration) -> Result<(), Error> {
        self.guard.extend(ttl).await
    }
}
