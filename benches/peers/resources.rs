//! What a system takes without being asked for much: its start, its idling, its data in memory, its restart.

use crate::{
    client::{Client, Resp, with_client},
    cluster::{Cluster, Programs},
    load,
    options::Options,
    system::System,
};
use anyhow::{Context, Result, ensure};
use quorate_benches::statistics::Summary;
use serde::Serialize;
use std::{io, net::SocketAddr, path::Path, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// Starts of which the median counts.
const STARTS: usize = 3;
/// A cluster that has just started has things to do; it idles after this.
pub(crate) const SETTLING: Duration = Duration::from_secs(3);
const IDLING: Duration = Duration::from_secs(5);
/// The keys of 256 bytes whose footprint is measured.
const KEYS: u64 = 100_000;
const FILLERS: u64 = 64;
/// The keys that a restart has to read.
const MANY_KEYS: u64 = 1_000_000;
const SMALL_VALUE_BYTES: usize = 100;
/// The longest start and restart.
const LONGEST: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(2);

/// One figure of one system.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) system: System,
    pub(crate) nodes: usize,
    pub(crate) what: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

pub(crate) async fn measure(options: &Options, programs: &Programs, folder: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for &system in &options.only {
        if system == System::Quorate {
            let (start_s, _) = started(system, 1, programs, folder).await?;
            figures.push(Figure { system, nodes: 1, what: START, value: start_s, unit: "s" });
        }
        eprintln!("{}: start, idling, footprint", system.name());
        figures.extend(life(system, programs, folder).await?);
        if system.speaks_redis() {
            eprintln!("{}: restart with {MANY_KEYS} keys", system.name());
            figures.extend(restart(system, programs, folder).await?);
        }
    }
    Ok(figures)
}

const START: &str = "start to first acknowledged write";

/// Starts, idles, and is filled.
async fn life(system: System, programs: &Programs, folder: &Path) -> Result<Vec<Figure>> {
    let nodes = system.nodes();
    let figure = |what, value, unit| Figure { system, nodes, what, value, unit };
    let (start_s, mut cluster) = started(system, nodes, programs, folder).await?;
    cluster.ready().await?;
    sleep(SETTLING).await;
    let idle_cpu = idle_cpu(&cluster).await?;
    let idle_mib = resident_mib(&cluster)?;
    let address = cluster.addresses()[cluster.leader().await?];
    with_client!(system, fill(address))?;
    Ok(vec![
        figure(START, start_s, "s"),
        figure("idle CPU, busiest node", idle_cpu * 100.0, "%"),
        figure("idle RSS, largest node", idle_mib, "MiB"),
        figure("RSS with 100,000 keys of 256 B, largest node", resident_mib(&cluster)?, "MiB"),
    ])
}

/// The share of a core that the busiest node takes while nobody asks for anything.
pub(crate) async fn idle_cpu(cluster: &Cluster) -> Result<f64> {
    let before = cluster.usages()?;
    sleep(IDLING).await;
    let after = cluster.usages()?;
    let cpu = before.iter().zip(&after).map(|(&before, &after)| (after - before).cpu.as_secs_f64());
    Ok(Summary::of(cpu).context("no node runs")?.most / IDLING.as_secs_f64())
}

async fn fill<C: Client>(address: SocketAddr) -> Result<()> {
    load::fill::<C>(address, KEYS, FILLERS).await
}

/// The median time of some first starts, in seconds, and what was started last.
async fn started(system: System, nodes: usize, programs: &Programs, folder: &Path) -> Result<(f64, Cluster)> {
    let mut starts = Vec::new();
    loop {
        let mut cluster = Cluster::new(system, nodes, programs, folder)?;
        let begin = Instant::now();
        cluster.launch()?;
        first_write(&cluster).await.with_context(|| format!("cannot start {}", system.name()))?;
        starts.push(begin.elapsed().as_secs_f64());
        if starts.len() == STARTS {
            return Ok((Summary::of(starts).context("no start")?.median, cluster));
        }
    }
}

/// Waits for a write that any node acknowledges.
async fn first_write(cluster: &Cluster) -> Result<()> {
    let end = Instant::now() + LONGEST;
    loop {
        for node in 0..cluster.addresses().len() {
            match cluster.write(node).await {
                Ok(()) => return Ok(()),
                Err(error) => ensure!(Instant::now() < end, "no write is acknowledged: {error}"),
            }
        }
        sleep(PAUSE).await;
    }
}

/// Of the largest node.
pub(crate) fn resident_mib(cluster: &Cluster) -> Result<f64> {
    let most = cluster.usages()?.iter().map(|usage| usage.resident_bytes).max().context("no node runs")?;
    #[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
    let mib = most as f64 / f64::from(1 << 20);
    Ok(mib)
}

/// One node with many small keys, killed and started again.
async fn restart(system: System, programs: &Programs, folder: &Path) -> Result<Vec<Figure>> {
    let figure = |what, value, unit| Figure { system, nodes: 1, what, value, unit };
    let mut cluster = Cluster::new(system, 1, programs, folder)?;
    cluster.start().await?;
    let address = cluster.addresses()[0];
    let slowest = fill_many(address).await.context("cannot write the keys")?;
    let resident = resident_mib(&cluster)?;
    cluster.kill();
    let begin = Instant::now();
    cluster.launch()?;
    while let Err(error) = read_last(address).await {
        ensure!(begin.elapsed() < LONGEST, "no read is answered after a restart: {error}");
        sleep(PAUSE).await;
    }
    Ok(vec![
        figure("longest command while a million keys are written", slowest.as_secs_f64() * 1e3, "ms"),
        figure("RSS with a million keys of 100 B", resident, "MiB"),
        figure("kill -9 to first read, a million keys of 100 B", begin.elapsed().as_secs_f64(), "s"),
    ])
}

/// Writes all keys in pipelines on a few connections. The answer is the longest that one more client had to wait
/// meanwhile for one command, which is what snapshots and compaction would show in.
pub(crate) async fn fill_many(address: SocketAddr) -> Result<Duration> {
    const CONNECTIONS: u64 = 4;
    const DEPTH: u64 = 250;
    const { assert!(MANY_KEYS.is_multiple_of(CONNECTIONS * DEPTH)) };
    let mut tasks = JoinSet::new();
    for first in 0..CONNECTIONS {
        tasks.spawn_local(async move {
            let mut client = Resp::connect(address, first).await?.with_value_bytes(SMALL_VALUE_BYTES);
            let share = MANY_KEYS / CONNECTIONS;
            for start in (first * share..(first + 1) * share).step_by(DEPTH as usize) {
                client.set_all(&(start..start + DEPTH).collect::<Vec<_>>()).await?;
            }
            io::Result::Ok(())
        });
    }
    let mut probe = Resp::connect(address, CONNECTIONS).await?.with_value_bytes(SMALL_VALUE_BYTES);
    let mut slowest = Duration::ZERO;
    while !tasks.is_empty() {
        let sent = Instant::now();
        probe.set(MANY_KEYS - 1).await?;
        slowest = slowest.max(sent.elapsed());
        sleep(PAUSE).await;
        while let Some(joined) = tasks.try_join_next() {
            joined??;
        }
    }
    Ok(slowest)
}

async fn read_last(address: SocketAddr) -> io::Result<()> {
    let read = async {
        let mut client = Resp::connect(address, 0).await?.with_value_bytes(SMALL_VALUE_BYTES);
        client.get(MANY_KEYS - 1).await
    };
    timeout(Duration::from_secs(1), read).await.unwrap_or_else(|late| Err(late.into()))
}
