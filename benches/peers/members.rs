//! What clients notice while members come and go: a fourth node joins three that hold a million keys, and then the
//! leader is removed.
//!
//! Clients write without pause all the while. The 99th percentile of their latency while the node joins, from its start
//! until it votes, stands beside that of the seconds before. All nodes and the clients share the machine, so that what the
//! newcomer takes of it is in the figure, too: on a machine of its own it would not be.

use crate::{
    calm,
    client::{Client as _, Resp},
    cluster::{Cluster, Programs},
    failover,
    options::Options,
    resources,
    system::System,
};
use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use quorate_benches::statistics::Summary;
use serde::Serialize;
use serde_json::Value;
use std::{cell::RefCell, io, net::SocketAddr, path::Path, rc::Rc, slice, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

const CLIENTS: u64 = 16;
/// Connecting, and what comes of it.
const WARM_UP: Duration = Duration::from_secs(1);
/// The seconds before a join, which it is compared with.
const BEFORE: Duration = Duration::from_secs(5);
/// The longest join.
const LONGEST: Duration = Duration::from_secs(120);
/// Between two looks at the members.
const PAUSE: Duration = Duration::from_millis(20);
/// The greatest latency that is told apart. Microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;

/// All trials together.
#[derive(Debug, Serialize)]
pub(crate) struct Changes {
    pub(crate) trials: Vec<Trial>,
}

/// One node joins, and the leader is removed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Trial {
    /// From its start until it votes.
    pub(crate) join_s: f64,
    pub(crate) before_p99_ms: f64,
    pub(crate) joining_p99_ms: f64,
    /// The longest that one write took meanwhile: a stall is but one sample of each client.
    pub(crate) joining_most_ms: f64,
    /// The longest time between two acknowledged writes while the leader is removed.
    pub(crate) removal_window_s: f64,
}

impl Trial {
    /// How many times as long as before the slowest hundredth waits.
    pub(crate) fn ratio(&self) -> f64 {
        self.joining_p99_ms / self.before_p99_ms
    }
}

impl Changes {
    pub(crate) fn summary(&self, figure: impl Fn(&Trial) -> f64) -> Summary {
        Summary::of(self.trials.iter().map(figure)).expect("there is a trial")
    }
}

pub(crate) async fn measure(options: &Options, programs: &Programs, folder: &Path) -> Result<Changes> {
    let mut cluster = Cluster::new(System::Quorate, 3, programs, folder)?;
    cluster.start().await?;
    eprintln!("members: writing a million keys");
    let leader = cluster.addresses()[cluster.leader().await?];
    resources::fill_many(leader).await.context("cannot write the keys")?;
    let mut trials = Vec::new();
    for number in 1..=options.trials {
        calm::wait(slice::from_ref(&cluster), options.calm()).await?;
        let trial = once(&mut cluster).await.with_context(|| format!("in trial {number}"))?;
        eprintln!(
            "a node joins, trial {number}: {:.1} s, p99 {:.2} ms after {:.2}, {:.2} times; leader removed: {:.3} s",
            trial.join_s,
            trial.joining_p99_ms,
            trial.before_p99_ms,
            trial.ratio(),
            trial.removal_window_s
        );
        trials.push(trial);
    }
    Ok(Changes { trials })
}

/// Of three nodes at the beginning there are three at the end.
async fn once(cluster: &mut Cluster) -> Result<Trial> {
    let joined = join(cluster).await?;
    let removal_window_s = remove_leader(cluster).await?.as_secs_f64();
    Ok(Trial { removal_window_s, ..joined })
}

/// The trial without the removal.
async fn join(cluster: &mut Cluster) -> Result<Trial> {
    let samples = Rc::new(RefCell::new(Samples::default()));
    let mut writers = JoinSet::new();
    let addresses = cluster.addresses();
    for (number, &address) in (0..CLIENTS).zip(addresses.iter().cycle()) {
        writers.spawn_local(write(address, number, Rc::clone(&samples)));
    }
    sleep(WARM_UP).await;
    samples.take();
    sleep(BEFORE).await;
    let before_p99_ms = samples.take().p99_ms()?;
    let begin = Instant::now();
    let newcomer = cluster.join_by(0)?;
    while !votes(addresses[0], newcomer).await? {
        ensure!(begin.elapsed() < LONGEST, "it does not vote");
        sleep(PAUSE).await;
    }
    let join_s = begin.elapsed().as_secs_f64();
    let joining = samples.take();
    if let Some(ended) = writers.try_join_next() {
        ended?.context("a writer has failed")?;
    }
    let (joining_p99_ms, joining_most_ms) = (joining.p99_ms()?, joining.ms(1.0)?);
    Ok(Trial { join_s, before_p99_ms, joining_p99_ms, joining_most_ms, removal_window_s: 0.0 })
}

/// Latencies of writes, in microseconds.
struct Samples(Histogram<u64>);

impl Default for Samples {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order"))
    }
}

impl Samples {
    fn p99_ms(&self) -> Result<f64> {
        self.ms(0.99)
    }

    fn ms(&self, quantile: f64) -> Result<f64> {
        ensure!(!self.0.is_empty(), "nothing was acknowledged");
        let micros = u32::try_from(self.0.value_at_quantile(quantile)).context("longer than an hour")?;
        Ok(f64::from(micros) / 1e3)
    }
}

/// Writes for ever.
async fn write(address: SocketAddr, number: u64, samples: Rc<RefCell<Samples>>) -> io::Result<()> {
    let mut client = Resp::connect(address, number).await?;
    for round in 0.. {
        let sent = Instant::now();
        client.set(round * CLIENTS + number).await?;
        let micros = u64::try_from(sent.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX);
        samples.borrow_mut().0.saturating_record(micros.max(1));
    }
    Ok(())
}

/// Whether the node at an address votes, by what another one knows to be agreed on.
async fn votes(by: SocketAddr, peer: SocketAddr) -> Result<bool> {
    let status = status(by).await?;
    let members = status["members"].as_array().context("a status tells the members")?;
    let peer = peer.to_string();
    Ok(members.iter().any(|member| member["address"] == peer && member["kind"] == "voter"))
}

async fn status(at: SocketAddr) -> Result<Value> {
    let json = Resp::connect(at, 0).await?.ask(&["QUORATE", "STATUS"]).await?;
    serde_json::from_str(&json).context("a status is JSON")
}

/// The longest time between two writes while the leader is removed.
async fn remove_leader(cluster: &mut Cluster) -> Result<Duration> {
    let leader = cluster.leader().await?;
    let address = cluster.addresses()[leader];
    let id = status(address).await?["node_id"].to_string();
    let mut survivors = cluster.addresses();
    survivors.remove(leader);
    let by = survivors[0];
    let remove = async {
        Resp::connect(by, 0).await?.ask(&["QUORATE", "MEMBER", "REMOVE", &id]).await?;
        Ok(())
    };
    let window = failover::window::<Resp>(&survivors, remove).await?;
    cluster.forget_node(leader)?;
    Ok(window)
}
