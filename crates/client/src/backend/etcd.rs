//! The locks of etcd: a key that belongs to a lease, and is the oldest of its name.
//!
//! This is etcd's own protocol of locks: whoever wants a lock puts a key below its name, which is bound to his lease; whose key
//! was created first has the lock, and the others wait until all that are older are gone. So programs that use `etcdctl lock` or
//! another client's locks exclude each other and ours. Waiting is left to the server's lock API.
//!
//! **Whatever is asked may be asked again**: the lease has a number that we choose, the key is made of it, and an attempt that
//! finds either there already finds what it wanted to make. Giving up is to revoke the lease, which removes the key in the same
//! step, and keeps a request that comes late from making one.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, GetOptions, KeyValue, LeaseGrantOptions, LockOptions,
    PutOptions, SortOrder, SortTarget, Txn, TxnOp, TxnOpResponse,
};

use super::{Backend, Fenced, Grant, Locks, Request, Tokens, Wish, random};
use crate::{
    clock::BootTime,
    endpoints::Endpoints,
    error::{Error, Loss},
    exchange::{Again, persist},
    settings::Settings,
    token::FencingToken,
};

/// A server that has not answered for so long is asked whether it is there, and given up after as long again.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// The wait before something that has failed is tried anew.
const PAUSE: Duration = Duration::from_millis(100);

/// An etcd cluster.
///
/// The same interface, with the promises that etcd can keep:
///
/// * **The token** is the revision at which the lock's key was created. It grows for ever, but for one case: a cluster that was
///   restored from an older snapshot counts on from there, unless its revision is raised (`--bump-revision`).
/// * **The time to live** is a number of whole seconds, at least what etcd allows (2 s by default): others may have to wait so
///   long for a lock whose holder is gone. It cannot be changed while the lock is held:
///   [`LockGuard::extend`](crate::LockGuard::extend) refuses a longer one.
/// * **A change of leader** gives each lease its whole time again.
/// * **Names are prefixes**: while `a/b` is held, `a` is not free. So etcd's own clients have it.
/// * **A queue**, first come, first served. A waiter whose connection breaks, or whose server does, loses his place: the server
///   takes him for gone, and he stands in line anew.
pub struct Etcd {
    client: Client,
    settings: Settings,
}

impl Backend for Etcd {}
impl Fenced for Etcd {}

impl Tokens for Etcd {
    fn token(proof: &Owned) -> FencingToken {
        proof.token
    }
}

/// The key by which a lock is held.
#[derive(Clone, Debug)]
pub struct Owned {
    lease: i64,
    /// What was asked for; the lease lasts at least as long.
    ttl: Duration,
    key: String,
    token: FencingToken,
}

impl Etcd {
    pub(crate) async fn connect(url: &str, settings: Settings) -> Result<Self, Error> {
        let endpoints = Endpoints::read(url, "etcd", 2379)?;
        let addresses: Vec<_> = endpoints.iter().map(|endpoint| format!("http://{endpoint}")).collect();
        let options = ConnectOptions::new()
            .with_connect_timeout(settings.connect_timeout)
            .with_keep_alive(KEEPALIVE, KEEPALIVE)
            .with_require_leader(true);
        let client = Client::connect(addresses, Some(options)).await.map_err(|error| meaning(&error))?;
        let etcd = Self { client, settings };
        // Nobody has been asked yet.
        let greet = || etcd.once(etcd.settings.answer_timeout, async { etcd.client().status().await });
        match persist(etcd.settings.patience, Again::Always, greet).await {
            Ok(_) => Ok(etcd),
            Err(Error::OutcomeUnknown { why }) => Err(Error::not_applied(format_args!("{url}: {why}"))),
            Err(error) => Err(error),
        }
    }

    /// One attempt, which takes `limit` at most.
    async fn once<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(limit.min(self.settings.answer_timeout), answer).await {
            Ok(answer) => answer.map_err(|error| meaning(&error)),
            Err(_) => Err(Error::unknown(format_args!("no answer within {limit:?}"))),
        }
    }

    /// Attempts until one is answered: all that is asked here can be asked twice.
    async fn ask<T, F>(&self, patience: Duration, ask: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        persist(patience, Again::Always, || self.once(self.settings.answer_timeout, ask())).await
    }

    /// A handle of the connections that all share.
    fn client(&self) -> Client {
        self.client.clone()
    }

    /// Puts the key of a lease below the name, and looks whose key is the oldest.
    async fn stand_in_line(&self, wish: &Wish, lease: i64) -> Result<(String, Option<FencingToken>), Error> {
        let (key, patience) = (key(wish.name(), lease), self.settings.patience.max(wish.left()));
        let granted = self
            .ask(patience, || async {
                self.client()
                    .lease_grant(seconds(wish.ttl), Some(LeaseGrantOptions::new().with_id(lease)))
                    .await
            })
            .await;
        match granted {
            // By an attempt whose answer was lost.
            Err(Error::Refused { code, .. }) if code == ALREADY => {}
            granted => drop(granted?),
        }
        let answer = self
            .ask(patience, || async {
                let put = PutOptions::new().with_lease(lease);
                let oldest = || TxnOp::get(prefix(wish.name()), Some(oldest()));
                let stand = Txn::new()
                    .when([Compare::create_revision(key.as_str(), CompareOp::Equal, 0)])
                    .and_then([TxnOp::put(key.as_str(), wish.owner.as_str(), Some(put)), oldest()])
                    .or_else([oldest()]);
                self.client().txn(stand).await
            })
            .await?;
        let token = answer.op_responses().iter().rev().find_map(|response| match response {
            TxnOpResponse::Get(answer) => token_of(answer.kvs(), &key),
            TxnOpResponse::Put(_) | TxnOpResponse::Delete(_) | TxnOpResponse::Txn(_) => None,
        });
        Ok((key, token))
    }

    /// Waits until a key that stands in the line is the oldest; `None` if it is not in time. The lease is kept meanwhile.
    ///
    /// The server is asked to wait once: if that call breaks, it removes the key of the lease, at some time, also one that a
    /// second call has come back to. Then the place is `Lost`, and a lease of another number is needed.
    async fn wait(&self, wish: &Wish, lease: i64, key: &str) -> Result<Option<Grant<Owned>>, Error> {
        let served = async {
            let options = LockOptions::new().with_lease(lease);
            self.client().lock(wish.name(), Some(options)).await.map_err(|error| meaning(&error))
        };
        tokio::select! {
            served = tokio::time::timeout(wish.left(), served) => match served {
                Err(_) => return Ok(None),
                Ok(Err(Error::OutcomeUnknown { .. })) => return Err(Error::Lost(Loss::Taken)),
                Ok(served) => drop(served?),
            },
            loss = self.kept(lease, wish.ttl) => return Err(Error::Lost(loss)),
        }
        // From when is its time certain? From this, whenever it was served.
        let asked = BootTime::now();
        let patience = self.settings.patience;
        persist(patience, Again::Always, || self.keep_alive(lease, self.settings.answer_timeout)).await?;
        let oldest = self
            .ask(patience, || async { self.client().get(prefix(wish.name()), Some(oldest())).await })
            .await?;
        let token = token_of(oldest.kvs(), key).ok_or(Loss::Taken)?;
        Ok(Some(Grant { proof: Owned { lease, ttl: wish.ttl, key: key.to_owned(), token }, asked }))
    }

    /// Keeps a lease, and returns when it is over. One attempt that fails or is slow leaves time for others.
    async fn kept(&self, lease: i64, ttl: Duration) -> Loss {
        let third = ttl / 3;
        let mut pause = third;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.keep_alive(lease, third).await {
                Ok(()) => third,
                Err(Error::Lost(loss)) => return loss,
                Err(_) => PAUSE.min(third),
            };
        }
    }

    /// One attempt to have a lease last its whole time from now on.
    async fn keep_alive(&self, lease: i64, limit: Duration) -> Result<(), Error> {
        self.once(limit, async { self.client().lease_keep_alive(lease).await }).await.map(drop)
    }

    /// Ends a lease, and with it the key that belongs to it.
    async fn revoke(&self, lease: i64, patience: Duration) -> Result<(), Error> {
        match self.ask(patience, || async { self.client().lease_revoke(lease).await }).await {
            Ok(_) | Err(Error::Lost(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Locks for Etcd {
    type Proof = Owned;

    async fn acquire(&self, wish: &Wish) -> Result<Option<Grant<Owned>>, Error> {
        loop {
            // A number of 63 bits that is nobody else's.
            let lease = i64::try_from(random()? >> 65).unwrap_or(i64::MAX).max(1);
            wish.asks(&Request { name: lease.to_string(), waits: false });
            let asked = BootTime::now();
            let attempt = async {
                let (key, token) = self.stand_in_line(wish, lease).await?;
                match token {
                    Some(token) => {
                        Ok(Some(Grant { proof: Owned { lease, ttl: wish.ttl, key, token }, asked }))
                    }
                    None if wish.left().is_zero() => Ok(None),
                    None => self.wait(wish, lease, &key).await,
                }
            };
            match attempt.await {
                // The lease, or its place, is over before the lock was there. Whatever is left of it would stand before us.
                Err(Error::Lost(_)) if !wish.left().is_zero() => {
                    self.revoke(lease, self.settings.patience.max(wish.left())).await?;
                    tokio::time::sleep(PAUSE.min(wish.left())).await;
                }
                Ok(None) | Err(Error::Lost(_)) => {
                    self.revoke(lease, self.settings.patience).await?;
                    return Ok(None);
                }
                answer => return answer,
            }
        }
    }

    async fn extend(&self, _: &str, owned: &Owned, ttl: Duration, limit: Duration) -> Result<(), Error> {
        if ttl > owned.ttl {
            let text = format!("a lease of etcd keeps the time that it was granted for, {:?}", owned.ttl);
            return Err(Error::Refused { code: "LEASE".to_owned(), text });
        }
        let begun = BootTime::now();
        self.keep_alive(owned.lease, limit).await?;
        // The lease may go on without the key, if somebody has removed that.
        let left = limit.saturating_sub(BootTime::now().since(begun));
        let held = self.once(left, async { self.client().get(owned.key.as_str(), None).await }).await?;
        token_of(held.kvs(), &owned.key)
            .filter(|token| *token == owned.token)
            .map(drop)
            .ok_or(Loss::Taken.into())
    }

    async fn release(&self, _: &str, owned: &Owned) -> Result<(), Error> {
        let revision = i64::try_from(owned.token.get()).unwrap_or(i64::MAX);
        let is_astray = AtomicBool::new(false);
        let attempt = || async {
            let delete = async {
                let is_ours = Compare::create_revision(owned.key.as_str(), CompareOp::Equal, revision);
                self.client()
                    .txn(Txn::new().when([is_ours]).and_then([TxnOp::delete(owned.key.as_str(), None)]))
                    .await
            };
            let answer = self.once(self.settings.answer_timeout, delete).await;
            let was_astray = is_astray.fetch_or(answer.is_err(), Ordering::Relaxed);
            Ok(answer?.succeeded() || was_astray)
        };
        let was_ours = persist(self.settings.patience, Again::Always, attempt).await?;
        // The lock is free with its key: what is left of the lease is in nobody's way, unless an attempt to stand in line comes late
        // and puts the key back.
        if self.revoke(owned.lease, Duration::ZERO).await.is_err() {
            let etcd = Self { client: self.client(), settings: self.settings.clone() };
            let lease = owned.lease;
            tokio::spawn(async move {
                let _ = etcd.revoke(lease, etcd.settings.patience).await;
            });
        }
        if was_ours { Ok(()) } else { Err(Error::Lost(Loss::Taken)) }
    }

    async fn abandon(&self, wish: &Wish) -> Result<(), Error> {
        match wish.last().and_then(|request| request.name.parse().ok()) {
            Some(lease) => self.revoke(lease, self.settings.patience).await,
            None => Ok(()),
        }
    }
}

/// Below which the keys of a lock are, as etcd's own clients have it.
fn prefix(name: &str) -> String {
    format!("{name}/")
}

fn key(name: &str, lease: i64) -> String {
    format!("{}{lease:x}", prefix(name))
}

/// The oldest key below a prefix.
fn oldest() -> GetOptions {
    GetOptions::new().with_prefix().with_sort(SortTarget::Create, SortOrder::Ascend).with_limit(1)
}

/// The token of the lock if this is its key.
fn token_of(found: &[KeyValue], key: &str) -> Option<FencingToken> {
    let found = found.first().filter(|found| found.key() == key.as_bytes())?;
    u64::try_from(found.create_revision()).ok().map(FencingToken::from)
}

/// Never less than was asked for.
fn seconds(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_nanos().div_ceil(1_000_000_000)).unwrap_or(i64::MAX)
}

/// How etcd calls it that a lease of this number is there.
const ALREADY: &str = "lease already exists";

/// What an error of the client means. What may have been carried out is not told from what was not: all can be asked again.
fn meaning(error: &etcd_client::Error) -> Error {
    match error {
        // Others of the kind are of a stream that has broken.
        etcd_client::Error::LeaseKeepAliveError(text) if text.contains("lease not found") => {
            Error::Lost(Loss::Taken)
        }
        etcd_client::Error::GRpcStatus(status) if status.message().contains("requested lease not found") => {
            Error::Lost(Loss::Taken)
        }
        etcd_client::Error::GRpcStatus(status) if status.message().contains(ALREADY) => {
            Error::Refused { code: ALREADY.to_owned(), text: status.message().to_owned() }
        }
        etcd_client::Error::GRpcStatus(status) if REFUSALS.contains(&i32::from(status.code())) => {
            Error::Refused {
                code: format!("gRPC {}", i32::from(status.code())),
                text: status.message().to_owned(),
            }
        }
        error @ (etcd_client::Error::InvalidArgs(_) | etcd_client::Error::InvalidUri(_)) => {
            Error::invalid("etcd", error)
        }
        error => Error::unknown(error),
    }
}

/// The codes of gRPC that would be the same at the next attempt: of a wrong argument, a missing permission, a state that
/// forbids it, a number out of range, what the server does not have, and a client that it does not know.
const REFUSALS: [i32; 6] = [3, 7, 9, 11, 12, 16];
