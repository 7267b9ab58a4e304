//! Sessions: any number of locks that one heartbeat keeps.
//!
//! The servers free all locks of a session in the instant in which it ends, and say nothing of single ones when it is kept
//! alive. So that the loss of one lock, which somebody has taken away by force, is noticed all the same, each heartbeat is
//! followed by a look at how many names the session has a lock or permits of. If guards know of another number, or some came or
//! went, each name is asked for, many at a heartbeat. Otherwise some are, in turn: whoever else uses the session may hide that one
//! of ours is gone.

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

    /// Closes it, and returns once the server has said so: all its locks are free in the same instant, and no guard believes in
    /// one from when this begins. If this is dropped, it goes on in the background.
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
        // From now on it may be closed at any time, whether the answer comes or not.
        self.pulse.end(Loss::Released);
        let (tell, told) = oneshot::channel();
        let open = Arc::clone(self);
        self.core.in_background(async move {
            let closed = close(&open.core, open.id).await;
            open.is_closed.store(closed.is_ok(), Ordering::Relaxed);
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

/// How many names are asked for after each heartbeat though nothing tells that one is missing: all of most sessions, and little
/// work for thousands of locks.
const IN_TURN: usize = 16;

/// How many at most, one after the other, where one may be missing: the rest has its turn at the next heartbeats.
const ASKED_MAX: usize = 256;

/// The locks of a session that guards believe in.
#[derive(Default)]
struct Members(Mutex<Roll>);

#[derive(Default)]
struct Roll {
    /// By their names, which is what the servers count, too.
    believed: BTreeMap<String, Believed>,
    /// Whether some came or went since the last look: then their number tells nothing.
    has_changed: bool,
    /// How many are to be asked for soon, since one of them may be missing.
    due: usize,
    /// The last one that was asked for in turn.
    last: Option<String>,
}

/// What guards have of one name: several permits of a semaphore, or a lock that was had again before its loss was noticed.
struct Believed {
    family: Family,
    ended: BTreeMap<FencingToken, Ended>,
}

/// Where a guard is told that what it has is lost.
type Ended = watch::Sender<Option<Loss>>;

impl Roll {
    /// Which names to ask for, where the servers know so many.
    fn ask_for(&mut self, known: usize) -> Vec<String> {
        let all = self.believed.len();
        if std::mem::take(&mut self.has_changed) || known != all {
            self.due = all;
        }
        let count = self.due.clamp(IN_TURN, ASKED_MAX).min(all);
        self.due = self.due.saturating_sub(count);
        let begin = self.last.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.believed.range::<str, _>((begin, Bound::Unbounded));
        behind.chain(&self.believed).take(count).map(|(name, _)| name.clone()).collect()
    }

    /// A name is asked for: what is believed of it now. The next round goes on behind it, also if this one breaks off here.
    fn turn_to(&mut self, name: &str) -> Option<(Family, Vec<FencingToken>)> {
        self.last = Some(name.to_owned());
        self.believed.get(name).map(|believed| (believed.family, believed.ended.keys().copied().collect()))
    }

    /// Tells those of whom a name was `asked` for, who believe in it still, and of whom the servers know nothing, and strikes
    /// them off. Who releases his lock is struck off before: that it is gone then is no news.
    fn tell(&mut self, name: &str, asked: &[FencingToken], current: &[FencingToken]) {
        for token in asked.iter().filter(|token| !current.contains(token)) {
            if let Some(ended) = self.strike_off(name, *token) {
                ended.send_modify(|ended| *ended = ended.or(Some(Loss::Taken)));
            }
        }
    }

    /// Nobody believes any longer in what this token had of a name. Where he was to be told of its loss, if somebody did.
    fn strike_off(&mut self, name: &str, token: FencingToken) -> Option<Ended> {
        let believed = self.believed.get_mut(name)?;
        let ended = believed.ended.remove(&token)?;
        if believed.ended.is_empty() {
            self.believed.remove(name);
        }
        self.has_changed = true;
        Some(ended)
    }
}

impl Members {
    fn roll(&self) -> MutexGuard<'_, Roll> {
        // Nothing that panics is done under it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, family: Family, locks: &[(String, FencingToken)], ended: &Ended) {
        let mut roll = self.roll();
        for (name, token) in locks {
            let new = || Believed { family, ended: BTreeMap::new() };
            let believed = roll.believed.entry(name.clone()).or_insert_with(new);
            // A lock whose guard has not noticed its end may have made way for something else of that name.
            if believed.ended.last_key_value().is_none_or(|(newest, _)| newest < token) {
                believed.family = family;
            }
            believed.ended.insert(*token, ended.clone());
        }
        roll.has_changed = true;
    }

    fn remove(&self, locks: &[(String, FencingToken)]) {
        let mut roll = self.roll();
        locks.iter().for_each(|(name, token)| drop(roll.strike_off(name, *token)));
    }

    /// Tells those whose lock is not theirs any longer.
    async fn check(&self, core: &Core<Quorate>, id: SessionId) -> Result<(), Error> {
        if self.roll().believed.is_empty() {
            return Ok(());
        }
        let known = core.backend.locks_of(id).await?;
        let asked = self.roll().ask_for(known);
        for name in asked {
            // Who comes while the question is under way is not meant by its answer.
            let Some((family, tokens)) = self.roll().turn_to(&name) else { continue };
            match core.backend.current(family, &name).await {
                Ok(current) => self.roll().tell(&name, &tokens, &current),
                // It says nothing of the others.
                Err(Error::Refused { .. }) => {}
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
    family: Family,
    locks: Vec<(String, FencingToken)>,
    ended: Ended,
}

impl Member {
    pub(crate) fn new(open: Arc<Open>, family: Family, locks: Vec<(String, FencingToken)>) -> Self {
        let ended = watch::Sender::new(None);
        open.members.add(family, &locks, &ended);
        Self { open, family, locks, ended }
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
        self.open.members.remove(&self.locks);
    }

    fn hand_over(&self, is_under_way: bool) {
        if is_under_way {
            self.stop();
        } else if self.ended.borrow().is_none() {
            self.open.members.add(self.family, &self.locks, &self.ended);
        }
    }

    fn session(&self) -> Option<Arc<Open>> {
        Some(Arc::clone(&self.open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks(tokens: impl IntoIterator<Item = u64>) -> Vec<(String, FencingToken)> {
        tokens.into_iter().map(|token| (format!("{token:04}"), token.into())).collect()
    }

    #[test]
    fn all_locks_are_asked_for_in_turn_and_at_once_if_something_may_be_missing() {
        let (members, ended) = (Members::default(), watch::Sender::new(None));
        members.add(Family::Lock, &locks(0..40), &ended);
        let ask = |known| -> Vec<u64> {
            let mut roll = members.roll();
            let asked = roll.ask_for(known);
            asked.iter().for_each(|name| drop(roll.turn_to(name)));
            asked.into_iter().map(|name| name.parse().expect("a number")).collect()
        };
        let all: Vec<_> = (0..40).collect();
        assert_eq!(ask(40), all, "they have just come");
        assert_eq!((ask(40), ask(40)), ((0..16).collect(), (16..32).collect()));
        assert_eq!(ask(40), (32..40).chain(0..8).collect::<Vec<_>>());
        // A round that breaks off is gone on with.
        assert_eq!(members.roll().ask_for(40).len(), 16);
        drop(members.roll().turn_to("0008"));
        assert_eq!(ask(40), (9..25).collect::<Vec<_>>());
        for known in [39, 41] {
            let mut asked = ask(known);
            asked.sort_unstable();
            assert_eq!(asked, all, "the servers know of {known}");
        }
        members.remove(&locks([7, 99]));
        assert_eq!((ask(39).len(), ask(39).len()), (39, 16), "one has gone");
        members.remove(&locks([99]));
        assert_eq!(ask(39).len(), 16, "nothing has changed");
    }

    /// Permits were counted one by one, and the servers count names: all were asked for at each heartbeat.
    #[test]
    fn permits_of_one_semaphore_are_one_name_and_many_names_are_asked_for_in_parts() {
        let (members, ended) = (Members::default(), watch::Sender::new(None));
        let permits: Vec<_> = (5_000..6_000).map(|token| ("permits".to_owned(), token.into())).collect();
        members.add(Family::Semaphore, &permits, &ended);
        assert_eq!(members.roll().ask_for(1), ["permits"]);
        members.add(Family::Lock, &locks(0..600), &ended);
        let asked: Vec<_> = (0..4).map(|_| members.roll().ask_for(601).len()).collect();
        assert_eq!(asked, [256, 256, 89, 16]);
        members.remove(&permits[1..]);
        assert_eq!(members.roll().turn_to("permits"), Some((Family::Semaphore, vec![5_000.into()])));
        members.remove(&permits);
        assert_eq!(members.roll().turn_to("permits"), None);
    }

    /// A lock was asked for, and released before the answer came: that it was nobody's then was told as a loss.
    #[test]
    fn only_who_believes_in_a_lock_before_and_after_it_is_asked_for_is_told_of_its_loss() {
        let members = Members::default();
        let ended: Vec<_> = (1..=4).map(|_| watch::Sender::new(None)).collect();
        let of = |token: u64| [("a".to_owned(), FencingToken::from(token))];
        for (token, ended) in (1..=3).zip(&ended) {
            members.add(Family::Semaphore, &of(token), ended);
        }
        let (_, asked) = members.roll().turn_to("a").expect("it is believed in");
        members.remove(&of(1));
        members.add(Family::Semaphore, &of(4), &ended[3]);
        members.roll().tell("a", &asked, &[3.into()]);
        let told: Vec<_> = ended.iter().map(|ended| *ended.borrow()).collect();
        assert_eq!(told, [None, Some(Loss::Taken), None, None], "one released, one gone, one there, one new");
        // Who was told is asked for no more: the number of names that the servers know was another one for as long as his guard lived.
        let (_, left) = members.roll().turn_to("a").expect("two believe in it");
        assert_eq!(left, [3.into(), 4.into()]);
    }
}
