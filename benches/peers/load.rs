//! A closed loop: each client sends its next request when the last one is answered. All clients share one thread.

use crate::client::{Client, RETRY, Workload};
use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

/// The requests of one pipeline.
pub(crate) const PIPELINE: usize = 16;
/// The one lock that all want: a number that is no client's.
const THE_LOCK: u64 = 1_000_000;
/// How long clients may take to connect, and for their last operation after the end.
const PATIENCE: Duration = Duration::from_secs(30);
/// The greatest latency that is told apart; anything longer counts as this. Microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

/// What is to be done, by how many, for how long.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Clients connect to these in turn.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) workload: Workload,
    pub(crate) clients: u64,
    pub(crate) keys: u64,
    /// How long before the counting begins.
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
}

/// What was counted.
#[derive(Debug)]
pub(crate) struct Counted {
    /// From sending to the answer; of a pipeline, to its last answer; of a lock, from the first try to its release.
    pub(crate) latency_us: Histogram<u64>,
    pub(crate) operations: u64,
    /// Attempts to take a lock that somebody else held.
    pub(crate) refused: u64,
    /// Clients that gave up at an error.
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
}

impl Counted {
    fn new() -> Self {
        let latency_us = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order");
        Self { latency_us, operations: 0, refused: 0, errors: 0, first_error: None }
    }
}

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Running {
    /// Operations that end in this time are counted.
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
    tasks: JoinSet<io::Result<()>>,
    counted: Rc<RefCell<Counted>>,
}

impl Running {
    /// Waits for all clients to come to their end.
    pub(crate) async fn join(mut self) -> Result<Counted> {
        let mut failed = Vec::new();
        while let Some(joined) =
            timeout_at(self.end + PATIENCE, self.tasks.join_next()).await.context("clients got no answer")?
        {
            failed.extend(joined?.err());
        }
        let mut counted = self.counted.replace(Counted::new());
        counted.errors = failed.len() as u64;
        counted.first_error = failed.first().map(ToString::to_string);
        Ok(counted)
    }
}

/// Connects all clients, and then sets them to work.
pub(crate) async fn start<C: Client>(load: &Load) -> Result<Running> {
    let connected = timeout_at(Instant::now() + PATIENCE, connect_all::<C>(load)).await;
    let clients = connected.context("connecting takes too long")?.context("cannot connect")?;
    let begin = Instant::now() + load.warm_up;
    let end = begin + load.duration;
    let counted = Rc::new(RefCell::new(Counted::new()));
    let mut tasks = JoinSet::new();
    for (number, client) in (0..).zip(clients) {
        let work = Work {
            client,
            number,
            walk: number,
            load: load.clone(),
            begin,
            end,
            counted: Rc::clone(&counted),
        };
        tasks.spawn_local(work.run());
    }
    Ok(Running { begin, end, tasks, counted })
}

async fn connect_all<C: Client>(load: &Load) -> io::Result<Vec<C>> {
    let mut clients = Vec::new();
    for (number, &address) in (0..load.clients).zip(load.addresses.iter().cycle()) {
        clients.push(C::connect(address, number).await?);
    }
    Ok(clients)
}

/// One client's work.
struct Work<C> {
    client: C,
    number: u64,
    /// Where its walk over the keys is.
    walk: u64,
    load: Load,
    begin: Instant,
    end: Instant,
    counted: Rc<RefCell<Counted>>,
}

impl<C: Client> Work<C> {
    async fn run(mut self) -> io::Result<()> {
        let mut sent = Instant::now();
        while sent < self.end {
            let done = self.operate().await?;
            let answered = Instant::now();
            if answered > self.begin && answered <= self.end {
                let micros = u64::try_from((answered - sent).as_micros()).unwrap_or(LATENCY_US_MAX);
                let mut counted = self.counted.borrow_mut();
                counted.latency_us.saturating_record_n(micros.max(1), done);
                counted.operations += done;
            }
            sent = answered;
        }
        self.client.close().await
    }

    /// Does one thing, which is one operation, or many in a pipeline, or none if time was up before a lock was free.
    async fn operate(&mut self) -> io::Result<u64> {
        match self.load.workload {
            Workload::Set => {
                let key = self.next_key();
                self.client.set(key).await?;
            }
            Workload::Get => {
                let key = self.next_key();
                self.client.get(key).await?;
            }
            Workload::Lock => {
                if self.client.lock(self.number).await? {
                    self.client.unlock(self.number).await?;
                } else {
                    return Err(io::Error::other("a lock of its own was refused"));
                }
            }
            Workload::Contended => return self.contend().await,
            Workload::Native => self.cycle(self.number).await?,
            Workload::Handover => self.cycle(THE_LOCK).await?,
            Workload::Pipeline => {
                let keys: [u64; PIPELINE] = std::array::from_fn(|_| self.next_key());
                self.client.set_all(&keys).await?;
                return Ok(PIPELINE as u64);
            }
        }
        Ok(1)
    }

    async fn cycle(&mut self, lock: u64) -> io::Result<()> {
        self.client.acquire(lock).await?;
        self.client.release(lock).await
    }

    async fn contend(&mut self) -> io::Result<u64> {
        while !self.client.lock(THE_LOCK).await? {
            self.counted.borrow_mut().refused += 1;
            if Instant::now() >= self.end {
                return Ok(0);
            }
            sleep(RETRY).await;
        }
        self.client.unlock(THE_LOCK).await?;
        Ok(1)
    }

    /// An odd stride visits all keys, in an order that is not their own.
    fn next_key(&mut self) -> u64 {
        const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;
        self.walk = self.walk.wrapping_add(STRIDE);
        self.walk % self.load.keys
    }
}

/// Writes keys from 0 on, so that each exists: `clients` of them at a time.
pub(crate) async fn fill<C: Client>(address: SocketAddr, keys: u64, clients: u64) -> Result<()> {
    let mut tasks = JoinSet::new();
    for first in 0..clients {
        tasks.spawn_local(async move {
            let mut client = C::connect(address, first).await?;
            let mut key = first;
            while key < keys {
                client.create(key).await?;
                key += clients;
            }
            client.close().await
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined?.context("cannot write the keys")?;
    }
    Ok(())
}
