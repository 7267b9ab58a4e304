//! The clients of the load, and what they count.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use tokio::{task::JoinSet, time::Instant};

use super::{Args, Operation};
use crate::{
    cli::address::{ANSWER_TIMEOUT, client},
    config::Address,
};

/// How long a client waits for one answer: longer than a server's command time-out.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client waits after a failure before it connects again.
const RECONNECT_DELAY: Duration = Duration::from_millis(20);
/// The greatest latency that is told apart; anything longer counts as this. Microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;
/// How long a lock lasts if its holder never releases it.
const LOCK_TTL_MS: u64 = 10_000;
/// The usual script by which a holder releases its lock.
const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

/// What all clients do.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    addresses: Arc<[Address]>,
    operation: Operation,
    pipeline: u64,
    key_bytes: usize,
    keys: u64,
    value: Arc<[u8]>,
}

/// What was counted.
#[derive(Debug)]
pub(super) struct Totals {
    /// Microseconds from sending to the answer; of a pipeline, to the answer of its last request.
    pub(super) latency_us: Histogram<u64>,
    /// Operations that succeeded.
    pub(super) operations: u64,
    /// Attempts to take a lock that somebody else held.
    pub(super) contended: u64,
    /// Operations that failed or whose outcome is unknown.
    pub(super) errors: u64,
    /// The first failure, in words.
    pub(super) first_error: Option<String>,
}

impl Default for Totals {
    fn default() -> Self {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order");
        Self { latency_us, operations: 0, contended: 0, errors: 0, first_error: None }
    }
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.latency_us.add(other.latency_us).expect("all histograms have the same bounds");
        self.operations += other.operations;
        self.contended += other.contended;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// The longest time without any success, over all clients.
#[derive(Debug)]
struct Gaps {
    start: Instant,
    last_success_us: AtomicU64,
    longest_us: AtomicU64,
}

impl Gaps {
    fn success(&self) {
        let now = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let last = self.last_success_us.fetch_max(now, Ordering::Relaxed);
        self.longest_us.fetch_max(now.saturating_sub(last), Ordering::Relaxed);
    }
}

impl Plan {
    pub(super) fn new(args: &Args) -> Self {
        Self {
            addresses: args.servers.addresses.clone().into(),
            operation: args.op,
            pipeline: args.pipeline,
            key_bytes: usize::try_from(args.key_bytes).unwrap_or(usize::MAX),
            keys: args.keys,
            value: vec![b'x'; usize::try_from(args.value_bytes).unwrap_or(usize::MAX)].into(),
        }
    }

    /// Tries one connection, so that a wrong address is told at once.
    pub(super) async fn require_server(&self) -> Result<(), String> {
        let address = &self.addresses[0];
        connect(address).await.map(drop).map_err(|error| format!("{address}: {error}"))
    }

    /// Locks have names of their own: a value that `set` has left would be a lock that nobody releases.
    fn key(&self, number: u64) -> String {
        let prefix = if self.operation.is_of_locks() { "lock:" } else { "bench:" };
        format!("{prefix}{number:0width$}", width = self.key_bytes - prefix.len())
    }
}

async fn connect(address: &Address) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(ANSWER_TIMEOUT))
        .set_response_timeout(Some(RESPONSE_TIMEOUT));
    client(address)?.get_multiplexed_async_connection_with_config(&config).await
}

/// Runs `clients` clients for `duration`: their counts, and the longest time in which none got an answer.
pub(super) async fn run(plan: Plan, clients: u64, duration: Duration) -> (Totals, Duration) {
    let start = Instant::now();
    let gaps = Arc::new(Gaps { start, last_success_us: AtomicU64::new(0), longest_us: AtomicU64::new(0) });
    let mut tasks = JoinSet::new();
    for number in 0..clients {
        let client = Client::new(number, plan.clone(), Arc::clone(&gaps));
        tasks.spawn(client.run(start + duration));
    }
    let mut totals = Totals::default();
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(counted) => totals.add(counted),
            Err(error) => {
                totals.errors += 1;
                totals.first_error.get_or_insert(error.to_string());
            }
        }
    }
    (totals, Duration::from_micros(gaps.longest_us.load(Ordering::Relaxed)))
}

struct Client {
    number: u64,
    plan: Plan,
    gaps: Arc<Gaps>,
    totals: Totals,
    /// Where this client's walk over the keys is.
    walk: u64,
    /// How often it has connected: with several addresses, it tries another one each time.
    connections: u64,
}

/// An odd stride of the walk over the keys: it visits all, in an order that is not the keys' own.
const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

impl Client {
    fn new(number: u64, plan: Plan, gaps: Arc<Gaps>) -> Self {
        Self { number, plan, gaps, totals: Totals::default(), walk: number, connections: 0 }
    }

    async fn run(mut self, end: Instant) -> Totals {
        while Instant::now() < end {
            let address =
                usize::try_from(self.number + self.connections).unwrap_or(0) % self.plan.addresses.len();
            self.connections += 1;
            let result = match connect(&self.plan.addresses[address].clone()).await {
                Ok(mut connection) => self.work(&mut connection, end).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                self.totals.errors += 1;
                self.totals.first_error.get_or_insert(error.to_string());
                tokio::time::sleep(RECONNECT_DELAY).await;
            }
        }
        self.totals
    }

    /// Works on one connection until it fails or time is up.
    async fn work(&mut self, connection: &mut MultiplexedConnection, end: Instant) -> redis::RedisResult<()> {
        while Instant::now() < end {
            let begin = Instant::now();
            let done = match self.plan.operation {
                Operation::Set | Operation::Get => self.pipeline(connection).await?,
                Operation::Lock => self.lock(connection, begin).await?,
                Operation::Acquire => self.acquire(connection, begin).await?,
            };
            if done > 0 {
                let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX);
                self.totals.latency_us.saturating_record_n(micros.max(1), done);
                self.totals.operations += done;
                self.gaps.success();
            }
        }
        Ok(())
    }

    /// Sends one pipeline of SET or GET and awaits all its answers.
    async fn pipeline(&mut self, connection: &mut MultiplexedConnection) -> redis::RedisResult<u64> {
        let mut pipeline = redis::pipe();
        for _ in 0..self.plan.pipeline {
            let key = self.next_key();
            match self.plan.operation {
                Operation::Get => pipeline.cmd("GET").arg(key),
                Operation::Set | Operation::Lock | Operation::Acquire => {
                    pipeline.cmd("SET").arg(key).arg(&*self.plan.value)
                }
            };
        }
        pipeline.query_async::<Vec<redis::Value>>(connection).await?;
        Ok(self.plan.pipeline)
    }

    /// Takes one lock and releases it; 0 if somebody else holds it.
    async fn lock(
        &mut self,
        connection: &mut MultiplexedConnection,
        begin: Instant,
    ) -> redis::RedisResult<u64> {
        let key = self.next_key();
        let owner = self.owner(begin);
        let mut take = redis::cmd("SET");
        take.arg(&key).arg(&owner).arg("NX").arg("PX").arg(LOCK_TTL_MS);
        if take.query_async::<Option<String>>(connection).await?.is_none() {
            self.totals.contended += 1;
            return Ok(0);
        }
        let mut release = redis::cmd("EVAL");
        release.arg(RELEASE).arg(1).arg(&key).arg(&owner);
        if release.query_async::<u64>(connection).await? == 1 {
            return Ok(1);
        }
        self.totals.errors += 1;
        self.totals.first_error.get_or_insert("a lock was lost before its release".to_owned());
        Ok(0)
    }

    /// Takes one lock by its queue and releases it; 0 if the wait was too long.
    async fn acquire(
        &mut self,
        connection: &mut MultiplexedConnection,
        begin: Instant,
    ) -> redis::RedisResult<u64> {
        let key = self.next_key();
        let mut acquire = redis::cmd("LOCK");
        acquire.arg("ACQUIRE").arg(&key).arg("OWNER").arg(self.owner(begin));
        acquire.arg("TTL").arg(LOCK_TTL_MS).arg("WAIT").arg(LOCK_TTL_MS);
        let Some(token) = acquire.query_async::<Option<u64>>(connection).await? else {
            self.totals.contended += 1;
            return Ok(0);
        };
        let mut release = redis::cmd("LOCK");
        release.arg("RELEASE").arg(&key).arg(token).query_async::<redis::Value>(connection).await?;
        Ok(1)
    }

    /// A name that no other cycle has.
    fn owner(&self, begin: Instant) -> String {
        format!("{}-{}", self.number, begin.duration_since(self.gaps.start).as_nanos())
    }

    fn next_key(&mut self) -> String {
        self.walk = self.walk.wrapping_add(STRIDE);
        self.plan.key(self.walk % self.plan.keys)
    }
}
