//! Sessions: any number of locks that one heartbeat keeps.
//!
//! The servers free all locks of a session in the instant in which it ends, and say nothing of single ones when it is kept
//! alive. So that the loss of one lock, which somebody has taken away by force, is noticed all the same, each heartbeat is
//! followed by a look at how many locks the session has. If that is not the number of its guards, or some came or went, each one
//! is asked for by its token. Otherwise some are, in turn: whoever else uses the session may hide that one of ours is gone.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::Value;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    backend::{Family, Holding, Names, Quorate, SessionId, Wish, millis, quorate::lost_if_gone},
    client::{Core, TTL, check_ttl, label},
    clock::BootTime,
    election::Election,
    error::{Error, Loss},
    exchange::{Again, persist},
    kept::{Kept, Renew},
    kind::{InSession, sealed::Tenure},
    lease::Lease,
    lock::Lock,
    semaphore::Semaphore,
    token::FencingToken,
};

/// A session that is to be opened; made by [`Client::session`](crate::Client::session).
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// use std::time::Duration;
///
/// let session = client.session().ttl(Duration::from_secs(5)).name("worker 7").open().await?;
/// # Ok(()) }
/// ```
#[must_use = "a session is not there before it is opened"]
pub struct NewSession {
    core: Arc<Core<Quorate>>,
    ttl: Duration,
    name: Option<String>,
}

impl NewSession {
    pub(crate) fn new(core: Arc<Core<Quorate>>) -> Self {
        Self { core, ttl: TTL, name: None }
    }

    /// For how long the servers keep it for a client that they do not hear from: 10 s by default, 100 ms at least. It is kept
    /// alive when a third of that is over.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let session = client.session().ttl(std::time::Duration::from_secs(30));
    /// # }
    /// ```
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// What the servers tell others of it: the id of this process by default. 128 bytes at most.
    ///
    /// ```no_run
    /// # fn run(client: quorate_client::Client) {
    /// let session = client.session().name("worker 7 on host 3");
    /// # }
    /// ```
    pub fn name(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Opens it, and keeps it alive until it is closed or dropped. If this is given up, what may have been opened ends by its
    /// time to live.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let session = client.session().open().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Invalid` if a setting cannot work; `Refused` if too many are open; `NotApplied` and `OutcomeUnknown` if no server
    /// answered.
    pub async fn open(self) -> Result<Session, Error> {
        let Self { core, ttl, name } = self;
        check_ttl(ttl)?;
        let (mut command, exchange) = (redis::cmd("SESSION"), &core.backend.exchange);
        command.arg("OPEN").arg(millis(ttl)).arg("NAME").arg(label(name));
        // One that was opened without an answer is nobody's, and ends.
        let attempt = || async {
            let asked = BootTime::now();
            let answer = exchange.ask_once(&command, exchange.settings().answer_timeout).await?;
            Ok((answer, asked))
        };
        let (answer, asked) = persist(exchange.settings().patience, Again::Always, attempt).await?;
        let Value::Int(number) = answer else { return Err(Error::unexpected(answer)) };
        let id = SessionId(u64::try_from(number).map_err(|_| Error::unexpected(answer))?);
        Ok(Session { open: Arc::new(Open::new(&core, id, ttl, Lease::new(asked, ttl))) })
    }
}

/// A session that is open. One heartbeat keeps any number of locks, which are all free at the instant in which it ends.
///
/// It belongs to no connection: it goes on at another server, and through a change of leader. It ends when it is
/// [closed](Session::close), in the background when it is dropped and all guards of its locks are, or by its time to live.
///
/// ```no_run
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// let session = client.session().open().await?;
/// let mut shards = Vec::new();
/// for shard in 0..1_000 {
///     shards.push(session.lock(format!("shard:{shard}")).acquire().await?);
/// }
/// println!("all of them are gone: {}", session.lost().await);
/// # Ok(()) }
/// ```
#[must_use = "a session that is dropped is closed, once the guards of its locks are dropped, too"]
pub struct Session {
    pub(crate) open: Arc<Open>,
}

impl Session {
    /// A lock, to be acquired for as long as the session lasts.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let session = client.session().open().await?;
    /// let guard = session.lock("shard:7").acquire().await?;
    /// # Ok(()) }
    /// ```
    pub fn lock(&self, name: impl Into<String>) -> Lock<Quorate, InSession> {
        Lock::new(Arc::clone(&self.open.core), name.into(), Arc::clone(&self.open))
    }

    /// An election, to stand for: whoever is elected leads for as long as the session lasts.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let session = client.session().open().await?;
    /// let leadership = session.election("scheduler").value("10.0.0.7:8080").campaign().await?;
    /// # Ok(()) }
    /// ```
    pub fn election(&self, name: impl Into<String>) -> Election<InSession> {
        Election::new(Arc::clone(&self.open.core), name.into(), Arc::clone(&self.open))
    }

    /// A semaphore, to have permits of for as long as the session lasts.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let session = client.session().open().await?;
    /// let permit = session.semaphore("converter").permits(4).acquire().await?;
    /// # Ok(()) }
    /// ```
    pub fn semaphore(&self, name: impl Into<String>) -> Semaphore<InSession> {
        Semaphore::new(Arc::clone(&self.open.core), name.into(), Arc::clone(&self.open))
    }

    /// Its number, which `SESSION INFO` and `LOCK INFO` tell.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// println!("{}", client.session().open().await?.id());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn id(&self) -> u64 {
        self.open.id.0
    }

    /// Whether it is certainly open at this instant, by this machine's clock.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// assert!(client.session().open().await?.is_open());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.loss().is_none()
    }

    /// Returns when the session is over, and why: all its locks are lost then. It does not borrow the session.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let session = client.session().open().await?;
    /// let lost = session.lost();
    /// tokio::spawn(async move { eprintln!("all locks are gone: {}", lost.await) });
    /// # Ok(()) }
    /// ```
    pub fn lost(&self) -> impl Future<Output = Loss> + Send + use<> {
        self.open.pulse.lost()
    }

    /// Closes it, and returns once the server has said so: all its locks are free in the same instant. If this is dropped, it
    /// goes on in the background.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// let session = client.session().open().await?;
    /// session.close().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Lost` if it was not open any longer; otherwise no server answered, and it ends by its time to live.
    pub async fn close(self) -> Result<(), Error> {
        self.open.close().await
    }
}

/// A session that is open, for as long as it or a lock of it is of use to anybody.
pub struct Open {
    core: Arc<Core<Quorate>>,
    id: SessionId,
    ttl: Duration,
    pulse: Kept<Pulse>,
    members: Arc<Members>,
    audit: JoinHandle<()>,
    is_closed: AtomicBool,
}

/// What is asked for a session.
struct Pulse {
    core: Arc<Core<Quorate>>,
    id: SessionId,
}

impl Renew for Pulse {
    async fn renew(&self, _: Duration, limit: Duration) -> Result<(), Error> {
        let mut command = redis::cmd("SESSION");
        command.arg("KEEPALIVE").arg(self.id.0);
        self.core.backend.exchange.ask_once(&command, limit).await.map(drop).map_err(lost_if_gone)
    }
}

impl Open {
    fn new(core: &Arc<Core<Quorate>>, id: SessionId, ttl: Duration, lease: Lease) -> Self {
        let pulse = Kept::new(Pulse { core: Arc::clone(core), id }, lease);
        let members = Arc::new(Members::default());
        let audit = tokio::spawn(audit(Arc::clone(core), id, Arc::clone(&members), pulse.lease()));
        Self { core: Arc::clone(core), id, ttl, pulse, members, audit, is_closed: AtomicBool::new(false) }
    }

    pub(crate) fn loss(&self) -> Option<Loss> {
        self.pulse.loss()
    }

    /// A wish for locks of this session.
    pub(crate) fn wish(&self, names: Names, wait: Duration) -> Result<Wish, Error> {
        Wish::new(names, Holding::Session(self.id), "", self.ttl, wait)
    }

    /// Does something for as long as the session lasts.
    pub(crate) async fn unless_lost<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            done = work => done,
            loss = self.pulse.lost() => Err(Error::Lost(loss)),
        }
    }

    /// Closes it. It is done in the background, so that whoever gives this up has not left it open, whatever guards there are.
    pub(crate) async fn close(self: &Arc<Self>) -> Result<(), Error> {
        self.pulse.stop();
        // Or it would find that no lock is there any longer, and call that a loss.
        self.audit.abort();
        let loss = self.loss();
        let (tell, told) = oneshot::channel();
        let open = Arc::clone(self);
        self.core.in_background(async move {
            let closed = close(&open.core, open.id).await;
            open.is_closed.store(closed.is_ok(), Ordering::Relaxed);
            open.pulse.end(Loss::Released);
            // Nobody may wait for it any longer.
            let _ = tell.send(closed);
        });
        let closed = told.await.unwrap_or_else(|_| Err(Error::unknown("the client's runtime has ended")));
        match (loss, closed?) {
            (Some(loss), _) => Err(Error::Lost(loss)),
            (None, false) => Err(Error::Lost(Loss::Taken)),
            (None, true) => Ok(()),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.audit.abort();
        if !self.is_closed.load(Ordering::Relaxed) {
            let (core, id) = (Arc::clone(&self.core), self.id);
            self.core.in_background(async move {
                // Best effort: otherwise it ends by its time to live.
                let _ = close(&core, id).await;
            });
        }
    }
}

/// Closes a session; whether it was open. An attempt whose answer was lost may have been the one that closed it, which the next
/// one is not told.
async fn close(core: &Core<Quorate>, id: SessionId) -> Result<bool, Error> {
    let (exchange, is_astray) = (&core.backend.exchange, AtomicBool::new(false));
    let mut command = redis::cmd("SESSION");
    command.arg("CLOSE").arg(id.0);
    let attempt = || async {
        let answer = exchange.ask_once(&command, exchange.settings().answer_timeout).await;
        is_astray.fetch_or(matches!(answer, Err(Error::OutcomeUnknown { .. })), Ordering::Relaxed);
        Ok(answer? != Value::Int(0) || is_astray.load(Ordering::Relaxed))
    };
    persist(exchange.settings().patience, Again::Always, attempt).await
}

/// How many are asked for after each heartbeat though nothing tells that one is missing: all of most sessions, and little work
/// for thousands of locks.
const IN_TURN: usize = 16;

/// The locks of a session that guards believe in.
#[derive(Default)]
struct Members(Mutex<Roll>);

#[derive(Default)]
struct Roll {
    /// By their tokens.
    believed: BTreeMap<FencingToken, Believed>,
    /// Whether some came or went since the last look: then their number tells nothing.
    has_changed: bool,
    /// The last one that was asked for in turn.
    last: Option<FencingToken>,
}

#[derive(Clone)]
struct Believed {
    name: String,
    family: Family,
    ended: watch::Sender<Option<Loss>>,
}

impl Roll {
    /// Whom to ask for, where the servers know so many.
    fn ask_for(&mut self, known: usize) -> Vec<(FencingToken, Believed)> {
        let has_changed = std::mem::take(&mut self.has_changed);
        let all = self.believed.len();
        let count = if has_changed || known != all { all } else { IN_TURN.min(all) };
        let begin = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.believed.range((begin, Bound::Unbounded));
        let asked: Vec<_> = behind.chain(&self.believed).take(count).collect();
        let asked: Vec<_> = asked.into_iter().map(|(token, believed)| (*token, believed.clone())).collect();
        self.last = asked.last().map(|(token, _)| *token);
        asked
    }
}

impl Members {
    fn roll(&self) -> MutexGuard<'_, Roll> {
        // Nothing that panics is done under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, members: impl IntoIterator<Item = (FencingToken, Believed)>) {
        let mut roll = self.roll();
        roll.believed.extend(members);
        roll.has_changed = true;
    }

    fn remove(&self, tokens: &[FencingToken]) {
        let mut roll = self.roll();
        for token in tokens {
            roll.has_changed |= roll.believed.remove(token).is_some();
        }
    }

    /// Tells those whose lock is not theirs any longer.
    async fn check(&self, core: &Core<Quorate>, id: SessionId) -> Result<(), Error> {
        if self.roll().believed.is_empty() {
            return Ok(());
        }
        let known = core.backend.locks_of(id).await?;
        let asked = self.roll().ask_for(known);
        for (token, Believed { name, family, ended }) in asked {
            match core.backend.is_current(family, &name, token).await {
                Ok(true) => {}
                Ok(false) => ended.send_modify(|ended| *ended = ended.or(Some(Loss::Taken))),
                Err(error) => {
                    // The rest is asked for after the next heartbeat.
                    self.roll().has_changed = true;
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// Looks, after each heartbeat, whether all locks are there.
async fn audit(
    core: Arc<Core<Quorate>>,
    id: SessionId,
    members: Arc<Members>,
    mut lease: watch::Receiver<Lease>,
) {
    let mut renewal = None;
    while lease.changed().await.is_ok() {
        let Some(next) = lease.borrow_and_update().renewal() else { return };
        // A heartbeat that was only sent changes the lease, too.
        if renewal.replace(next) != Some(next) {
            // What cannot be seen now is seen after the next one.
            let _ = members.check(&core, id).await;
        }
    }
}

/// Locks that were taken together as members of a session.
pub struct Member {
    open: Arc<Open>,
    tokens: Vec<FencingToken>,
    ended: watch::Sender<Option<Loss>>,
}

impl Member {
    pub(crate) fn new(open: Arc<Open>, family: Family, locks: Vec<(String, FencingToken)>) -> Self {
        let (ended, tokens) = (watch::Sender::new(None), locks.iter().map(|(_, token)| *token).collect());
        let believed = |name| Believed { name, family, ended: ended.clone() };
        open.members.add(locks.into_iter().map(|(name, token)| (token, believed(name))));
        Self { open, tokens, ended }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Tenure for Member {
    fn loss(&self) -> Option<Loss> {
        self.ended.borrow().or(self.open.loss())
    }

    fn remaining(&self) -> Duration {
        if self.ended.borrow().is_some() { Duration::ZERO } else { self.open.pulse.remaining() }
    }

    fn lost(&self) -> impl Future<Output = Loss> + Send + use<> {
        let (mut ended, session) = (self.ended.subscribe(), self.open.pulse.lost());
        async move {
            tokio::select! {
                biased;
                loss = ended.wait_for(Option::is_some) => {
                    loss.ok().and_then(|loss| *loss).unwrap_or(Loss::Released)
                }
                loss = session => loss,
            }
        }
    }

    fn end(&self, loss: Loss) {
        self.ended.send_modify(|ended| *ended = ended.or(Some(loss)));
    }

    fn stop(&self) {
        self.open.members.remove(&self.tokens);
    }

    fn session(&self) -> Option<Arc<Open>> {
        Some(Arc::clone(&self.open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_locks_are_asked_for_in_turn_and_at_once_if_something_may_be_missing() {
        let members = Members::default();
        let believed =
            Believed { name: "a".to_owned(), family: Family::Lock, ended: watch::Sender::new(None) };
        members.add((0..40).map(|token| (FencingToken::from(token), believed.clone())));
        let ask = |known| -> Vec<_> {
            members.roll().ask_for(known).into_iter().map(|(token, _)| token.get()).collect()
        };
        let all: Vec<_> = (0..40).collect();
        assert_eq!(ask(40), all, "they have just come");
        assert_eq!((ask(40), ask(40)), ((0..16).collect(), (16..32).collect()));
        assert_eq!(ask(40), (32..40).chain(0..8).collect::<Vec<_>>());
        for known in [39, 41] {
            let mut asked = ask(known);
            asked.sort_unstable();
            assert_eq!(asked, all, "the servers know of {known}");
        }
        members.remove(&[7.into(), 99.into()]);
        assert_eq!((ask(39).len(), ask(39).len()), (39, 16), "one has gone");
        members.remove(&[99.into()]);
        assert_eq!(ask(39).len(), 16, "nothing has changed");
    }
}
