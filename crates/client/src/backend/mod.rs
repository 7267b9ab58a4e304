//! Services that locks can be taken from.
//!
//! What every service can do is in [`Locks`], which is ours alone; what some cannot is a trait of its own, so that code
//! which needs it does not compile against those: [`Fenced`].

#[cfg(feature = "etcd")]
mod etcd;
pub(crate) mod quorate;
mod redis;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

#[cfg(feature = "etcd")]
pub use self::etcd::Etcd;
pub use self::{quorate::Quorate, redis::Redis};
use crate::{clock::BootTime, error::Error, token::FencingToken};

/// A service that locks can be taken from: [`Quorate`], [`Redis`] or, with the feature `etcd`, etcd. Nobody else can implement it.
///
/// ```no_run
/// use quorate_client::{Backend, Client, Error};
///
/// /// Runs against either.
/// async fn alone<B: Backend>(client: &Client<B>) -> Result<(), Error> {
///     let guard = client.lock("report").acquire().await?;
///     // ..
///     guard.release().await
/// }
/// ```
pub trait Backend: Locks {}

/// A service whose locks have fencing tokens: each acquisition of a name has a greater one than all before it, for ever.
///
/// [`Redis`] is not among them: after a failover it may have forgotten whatever it could count with. So this does not
/// compile:
///
/// ```compile_fail,E0599
/// # async fn run() -> Result<(), quorate_client::Error> {
/// let client = quorate_client::Client::connect_redis("redis://127.0.0.1:6379").await?;
/// let guard = client.lock("report").acquire().await?;
/// let token = guard.token();
/// # Ok(()) }
/// ```
pub trait Fenced: Backend + Tokens {}

/// How much of a lock is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// All of it.
    Alone,
    /// A part, beside others.
    Shared,
    /// All of it, for as long as a session lasts.
    Session(SessionId),
}

/// The number of a session, among all that its servers have opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId(pub(crate) u64);

/// Which locks are wished for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    One(String),
    /// All of them, or none.
    All(Vec<String>),
}

impl Names {
    pub(crate) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::All(names) => names,
        }
    }

    /// Some name, to tell it by.
    pub(crate) fn first(&self) -> &str {
        self.as_slice().first().map_or("", String::as_str)
    }
}

/// What holding it is good for: by that its commands are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To be alone at something.
    #[default]
    Lock,
    /// To lead.
    Leadership(Candidacy),
    /// To be among so many.
    Permits(Permitting),
}

/// What commands are called by that are about the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Lock,
    Election,
    Semaphore,
}

impl Purpose {
    pub(crate) fn family(&self) -> Family {
        match self {
            Self::Lock => Family::Lock,
            Self::Leadership(_) => Family::Election,
            Self::Permits(_) => Family::Semaphore,
        }
    }
}

/// Which permits are wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permitting {
    /// How many there are.
    pub(crate) permits: u64,
    /// How many of them are wanted.
    pub(crate) count: u64,
}

/// What a candidate brings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidacy {
    /// What the others are to know while he leads.
    pub(crate) value: Option<Vec<u8>>,
    /// The greater is elected first.
    pub(crate) priority: u32,
}

/// A wish to hold a lock, or several together.
#[derive(Debug)]
pub struct Wish {
    pub(crate) names: Names,
    pub(crate) holding: Holding,
    pub(crate) purpose: Purpose,
    /// Random.
    pub(crate) id: String,
    /// Of this wish alone: whoever finds the lock held by this owner holds it by this wish.
    pub(crate) owner: String,
    pub(crate) ttl: Duration,
    /// Until when to wait for it.
    pub(crate) until: BootTime,
    /// Whether an attempt has an unknown outcome to the end: it may have taken the lock, or may take it yet.
    is_astray: AtomicBool,
    /// How many rounds of requests were begun. A name is never used for a second one: the server would answer what the first
    /// was answered, which may be a grant that is over.
    rounds: AtomicU64,
    /// What was asked last, where requests have names: whatever was asked before it was answered.
    last: Mutex<Option<Request>>,
}

/// What is asked for under a name, so that it takes effect once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) name: String,
    pub(crate) waits: bool,
}

impl Wish {
    /// `label` is what others are told of the holder.
    pub(crate) fn new(
        names: Names,
        holding: Holding,
        label: &str,
        ttl: Duration,
        wait: Duration,
    ) -> Result<Self, Error> {
        if names.as_slice().iter().any(String::is_empty) {
            return Err(Error::invalid("name", "a lock needs one"));
        }
        let id = format!("{:032x}", random()?);
        let owner = format!("{label} {id}");
        let until = BootTime::now() + wait;
        let (is_astray, rounds, last) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(None));
        let purpose = Purpose::Lock;
        Ok(Self { names, holding, purpose, id, owner, ttl, until, is_astray, rounds, last })
    }

    /// The same wish, for another purpose.
    pub(crate) fn of(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// The only name, or the first.
    pub(crate) fn name(&self) -> &str {
        self.names.first()
    }

    /// How long there is to wait still.
    fn left(&self) -> Duration {
        self.until.since(BootTime::now())
    }

    /// The number of the next round of requests.
    fn next_round(&self) -> u64 {
        self.rounds.fetch_add(1, Ordering::Relaxed)
    }

    /// This is asked from now on.
    fn asks(&self, request: &Request) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(request.clone());
    }

    /// What was asked last; `None` if nothing ever was.
    fn last(&self) -> Option<Request> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_astray(&self) -> bool {
        self.is_astray.load(Ordering::Relaxed)
    }

    /// Takes note of how an attempt has failed.
    fn note(&self, error: &Error) {
        self.is_astray.fetch_or(matches!(error, Error::OutcomeUnknown { .. }), Ordering::Relaxed);
    }
}

/// A number that nobody else has.
pub(crate) fn random() -> Result<u128, Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Error::invalid("randomness", error))?;
    Ok(u128::from_le_bytes(random))
}

/// A lock that was given.
#[derive(Clone, Copy, Debug)]
pub struct Grant<P> {
    pub(crate) proof: P,
    /// When the request was sent that gave it its time to live.
    pub(crate) asked: BootTime,
}

/// What a backend does about locks.
pub trait Locks: Send + Sync + 'static {
    /// By what the holder shows that the lock is his.
    type Proof: Send + Sync + 'static;

    /// Takes a lock; `None` if somebody held it all the time. Attempts are made until the time to wait is over, and for the
    /// client's patience if that is longer. If this is dropped or fails, the lock may be held all the same: see `abandon`.
    fn acquire(&self, wish: &Wish) -> impl Future<Output = Result<Option<Grant<Self::Proof>>, Error>> + Send;

    /// Has a lock last for `ttl` from when this is carried out. One attempt, which takes `limit` at most; `Lost` if the
    /// server says that the lock is not the holder's.
    fn extend(
        &self,
        name: &str,
        proof: &Self::Proof,
        ttl: Duration,
        limit: Duration,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Gives a lock back, with as many attempts as the client's patience allows; `Lost` as with `extend`.
    fn release(&self, name: &str, proof: &Self::Proof) -> impl Future<Output = Result<(), Error>> + Send;

    /// Gives back what a wish that nobody waits for may have taken, or may take yet. If this fails, it may be held.
    fn abandon(&self, wish: &Wish) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What is shown by the holder of a lock that has a fencing token.
pub trait Tokens: Locks {
    fn token(proof: &Self::Proof) -> FencingToken;
}

/// Whole milliseconds, as servers count: never less than was asked for.
pub(crate) fn millis(duration: Duration) -> u64 {
    // No server takes a longer one.
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs())
}
