//! The client: where everything begins.

use std::{sync::Arc, time::Duration};

use tokio::task::AbortHandle;

#[cfg(feature = "etcd")]
use crate::backend::Etcd;
use crate::{
    backend::{Backend, Locks, Quorate, Redis, Wish},
    background::Background,
    error::Error,
    guard::Held,
    kind::{Exclusive, OwnTime},
    lock::Lock,
    multi::MultiLock,
    session::{NewSession, Open},
    settings::Settings,
};

/// A client of a cluster. Clones share its connections.
///
/// ```no_run
/// # async fn run() -> Result<(), quorate_client::Error> {
/// let client = quorate_client::Client::connect("quorate://10.0.0.1:7379,10.0.0.2:7379,10.0.0.3:7379").await?;
/// let guard = client.lock("report").acquire().await?;
/// // ..
/// guard.release().await?;
/// # Ok(()) }
/// ```
pub struct Client<B: Backend = Quorate> {
    core: Arc<Core<B>>,
}

/// What clones, guards and background tasks share.
pub(crate) struct Core<B> {
    pub(crate) backend: B,
    background: Background,
}

impl<B: Backend> Clone for Client<B> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl Client<Quorate> {
    /// Connects to a cluster of Quorate. Name several of its nodes: they are tried in this order, and when one fails, the next
    /// one takes its place.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), quorate_client::Error> {
    /// let client = quorate_client::Client::connect("quorate://10.0.0.1:7379,10.0.0.2:7379").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Invalid` if the URL is wrong; `NotApplied` if no node answers for as long as the default settings try.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        Self::connect_with(url, Settings::new()).await
    }

    /// As [`connect`](Client::connect), with other settings.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), quorate_client::Error> {
    /// use quorate_client::{Client, Settings};
    /// use std::time::Duration;
    ///
    /// let settings = Settings::new().patience(Duration::from_secs(2));
    /// let client = Client::connect_with("quorate://127.0.0.1:7379", settings).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`connect`](Client::connect).
    pub async fn connect_with(url: &str, settings: Settings) -> Result<Self, Error> {
        let backend = Quorate::new(url, settings)?;
        backend.exchange.reach().await?;
        Ok(Self::over(backend))
    }

    /// A session, to be opened: any number of locks that one heartbeat keeps.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let session = client.session().open().await?;
    /// let shard = session.lock("shard:7").acquire().await?;
    /// # Ok(()) }
    /// ```
    pub fn session(&self) -> NewSession {
        NewSession::new(Arc::clone(&self.core))
    }

    /// Several locks, to be acquired together or not at all, and without a deadlock, in whatever order they are named.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// use std::time::Duration;
    ///
    /// let guard = client.lock_all(["account:1", "account:2"]).wait(Duration::from_secs(5)).acquire().await?;
    /// # Ok(()) }
    /// ```
    pub fn lock_all(&self, names: impl IntoIterator<Item = impl Into<String>>) -> MultiLock {
        MultiLock::new(Arc::clone(&self.core), names.into_iter().map(Into::into).collect())
    }

    pub(crate) fn quorate(&self) -> &Quorate {
        &self.core.backend
    }

    pub(crate) fn core(&self) -> &Arc<Core<Quorate>> {
        &self.core
    }
}

impl Client<Redis> {
    /// Connects to Redis, for its classic locks; see [`Redis`] for what they do not promise.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), quorate_client::Error> {
    /// let client = quorate_client::Client::connect_redis("redis://127.0.0.1:6379").await?;
    /// let guard = client.lock("report").acquire().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Client::connect`].
    pub async fn connect_redis(url: &str) -> Result<Self, Error> {
        Self::connect_redis_with(url, Settings::new()).await
    }

    /// As [`connect_redis`](Client::connect_redis), with other settings.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), quorate_client::Error> {
    /// use quorate_client::{Client, Settings};
    /// use std::time::Duration;
    ///
    /// let settings = Settings::new().answer_timeout(Duration::from_secs(1));
    /// let client = Client::connect_redis_with("redis://127.0.0.1:6379", settings).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Client::connect`].
    pub async fn connect_redis_with(url: &str, settings: Settings) -> Result<Self, Error> {
        let backend = Redis::new(url, settings)?;
        backend.exchange.reach().await?;
        Ok(Self::over(backend))
    }
}

#[cfg(feature = "etcd")]
impl Client<Etcd> {
    /// Connects to etcd, for its locks; see [`Etcd`] for what they do not promise.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), quorate_client::Error> {
    /// let client = quorate_client::Client::connect_etcd("etcd://10.0.0.1:2379,10.0.0.2:2379").await?;
    /// let guard = client.lock("report").acquire().await?;
    /// println!("token {}", guard.token());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Client::connect`].
    pub async fn connect_etcd(url: &str) -> Result<Self, Error> {
        Self::connect_etcd_with(url, Settings::new()).await
    }

    /// As [`connect_etcd`](Client::connect_etcd), with other settings.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), quorate_client::Error> {
    /// use quorate_client::{Client, Settings};
    ///
    /// let settings = Settings::new().patience(std::time::Duration::from_secs(2));
    /// let client = Client::connect_etcd_with("etcd://127.0.0.1:2379", settings).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Client::connect`].
    pub async fn connect_etcd_with(url: &str, settings: Settings) -> Result<Self, Error> {
        Etcd::connect(url, settings).await.map(Self::over)
    }
}

impl<B: Backend> Client<B> {
    /// A lock, to be acquired.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// use std::time::Duration;
    ///
    /// let guard = client.lock("report").ttl(Duration::from_secs(30)).wait(Duration::from_secs(5)).acquire().await?;
    /// # Ok(()) }
    /// ```
    pub fn lock(&self, name: impl Into<String>) -> Lock<B, Exclusive> {
        Lock::new(Arc::clone(&self.core), name.into(), OwnTime { owner: None, ttl: TTL })
    }

    /// Returns once all that guards have left behind is done: the locks of those that were dropped, and of acquisitions that
    /// were given up, are released, or will end by their time to live. To be awaited before a program ends; it takes some
    /// seconds at most while servers answer.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// drop(client.lock("report").acquire().await?);
    /// client.settled().await;
    /// # Ok(()) }
    /// ```
    pub async fn settled(&self) {
        self.core.background.settled().await;
    }

    fn over(backend: B) -> Self {
        Self { core: Arc::new(Core { backend, background: Background::new() }) }
    }
}

impl<B> Core<B> {
    /// Runs `work` for as long as the runtime lives, or until it is aborted.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.background.runtime().spawn(work).abort_handle()
    }

    /// Does some work after those who began it have gone: `settled` waits for it.
    pub(crate) fn in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.background.run(work);
    }
}

impl<B: Locks> Core<B> {
    /// Gives back, in the background, what a wish may have taken. What belongs to a session would be held as long as that
    /// lasts, so until then there is no giving up.
    pub(crate) fn abandon(self: &Arc<Self>, wish: Wish, session: Option<Arc<Open>>) {
        let core = Arc::clone(self);
        self.in_background(async move {
            until_done(session.as_deref(), || core.backend.abandon(&wish)).await;
        });
    }

    /// Releases a lock in the background, likewise.
    pub(crate) fn release(&self, held: &Arc<Held<B>>, session: Option<Arc<Open>>) {
        let held = Arc::clone(held);
        self.in_background(async move {
            until_done(session.as_deref(), || held.core.backend.release(&held.name, &held.proof)).await;
        });
    }
}

/// Does what ends by itself as well as it can, and the rest until it is done or has ended with its session.
async fn until_done<F>(session: Option<&Open>, mut work: impl FnMut() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    while session.is_none_or(|session| session.loss().is_none()) {
        let failed = matches!(work().await, Err(Error::NotApplied { .. } | Error::OutcomeUnknown { .. }));
        if !failed || session.is_none() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The wait before what must be given back is tried again, after all attempts of one round.
const PAUSE: Duration = Duration::from_secs(1);

/// The time to live of what is given none.
pub(crate) const TTL: Duration = Duration::from_secs(10);

/// The shortest time to live of a lock or a session: below it, renewals would come faster than servers answer.
///
/// ```
/// assert!(quorate_client::TTL_MIN <= std::time::Duration::from_secs(1));
/// ```
pub const TTL_MIN: Duration = Duration::from_millis(100);

pub(crate) fn check_ttl(ttl: Duration) -> Result<(), Error> {
    let why = || Error::invalid("ttl", format_args!("{ttl:?} is less than {TTL_MIN:?}"));
    if ttl < TTL_MIN { Err(why()) } else { Ok(()) }
}

/// What the server tells others of a holder who does not say who he is.
pub(crate) fn label(owner: Option<String>) -> String {
    owner.unwrap_or_else(|| format!("process {}", std::process::id()))
}
