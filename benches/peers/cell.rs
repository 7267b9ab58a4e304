//! The cells of the comparison, one workload and number of clients each, measured in interleaved rounds: in each
//! round every system has its turn in every cell, one right after the other, and another one begins each time.

use crate::{
    calm::{self, Look},
    client::{Workload, with_client},
    cluster::Cluster,
    load::{self, Counted, Load},
    options::{Options, Spread},
    physical,
    report::{Cell, Report},
    system::System,
    usage::{Disk, Usage},
};
use anyhow::{Context, Result};
use quorate_benches::statistics::Summary;
use serde::Serialize;
use std::{path::Path, time::Duration};
use tokio::time::sleep_until;

/// Clients of the one lock, in its queue, and of the pipelines.
const CONTENDERS: u64 = 16;
const QUEUED: [u64; 2] = [16, 256];
const PIPELINED: u64 = 64;
/// How long each cell runs before it is counted.
const WARM_UP: Duration = Duration::from_millis(300);
/// How many clients write the keys.
const FILLERS: u64 = 64;

/// One system in one cell in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// CPU time of all server processes.
    pub(crate) cpu_us_per_operation: f64,
    /// Written to the data's disk, by whoever; nothing where it is not known.
    pub(crate) disk_bytes_per_operation: Option<f64>,
    /// Of all server processes, at the end.
    pub(crate) resident_bytes: u64,
    pub(crate) refused: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    /// The share of its one thread that the load generator was busy.
    pub(crate) generator_share: f64,
    /// The share of the machine that others took.
    pub(crate) others_share: f64,
}

/// The workloads that were asked for, with their numbers of clients.
fn cells(options: &Options) -> Vec<(Workload, u64)> {
    let of = |&workload: &Workload| match workload {
        Workload::Set | Workload::Get | Workload::Lock | Workload::Native => options.clients.clone(),
        Workload::Handover => QUEUED.to_vec(),
        Workload::Contended => vec![CONTENDERS],
        Workload::Pipeline => vec![PIPELINED],
    };
    options.workloads.iter().flat_map(|workload| of(workload).into_iter().map(|n| (*workload, n))).collect()
}

fn can(system: System, workload: Workload) -> bool {
    workload != Workload::Pipeline || system.speaks_redis()
}

pub(crate) async fn measure(
    options: &Options,
    folder: &Path,
    clusters: &[Cluster],
    report: &mut Report,
) -> Result<()> {
    prepare(options, clusters).await?;
    let disk = Disk::of(folder)?;
    let mut measured: Vec<((Workload, u64, System), Vec<Measured>)> = Vec::new();
    for round in 0..options.rounds {
        let others = calm::wait(clusters, options.calm()).await?;
        report.physical.push(physical::measure(folder)?);
        eprintln!(
            "round {} of {}: others take {:.0}% of the machine",
            round + 1,
            options.rounds,
            others * 100.0
        );
        for (workload, clients) in cells(options) {
            let first = usize::try_from(round).unwrap_or(0) % clusters.len();
            let turn = clusters[first..].iter().chain(&clusters[..first]);
            for cluster in turn.filter(|cluster| can(cluster.system(), workload)) {
                let one = once(options, clusters, cluster, disk, (workload, clients)).await?;
                let key = (workload, clients, cluster.system());
                match measured.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, rounds)) => rounds.push(one),
                    None => measured.push((key, vec![one])),
                }
            }
        }
    }
    // Systems in the order in which they were given, in each cell.
    let place = |system| options.only.iter().position(|&one| one == system);
    let order = cells(options);
    measured.sort_by_key(|((workload, clients, system), _)| {
        (order.iter().position(|cell| *cell == (*workload, *clients)), place(*system))
    });
    report.cells = measured
        .into_iter()
        .map(|((workload, clients, system), rounds)| Cell::new(workload, clients, system, rounds))
        .collect();
    Ok(())
}

/// Writes the keys, and lets each system run for a while: just-in-time compilers want it.
async fn prepare(options: &Options, clusters: &[Cluster]) -> Result<()> {
    for cluster in clusters {
        let system = cluster.system();
        eprintln!("{}: writing {} keys, and warming up", system.name(), options.keys);
        let address = cluster.addresses()[cluster.leader().await?];
        with_client!(system, fill_keys(address, options.keys))
            .with_context(|| format!("{} takes no keys", system.name()))?;
        let load = Load {
            addresses: vec![address],
            workload: Workload::Set,
            clients: CONTENDERS,
            keys: options.keys,
            warm_up: Duration::ZERO,
            duration: system.warm_up(),
        };
        with_client!(system, start(&load))?.join().await?;
    }
    Ok(())
}

async fn fill_keys<C: crate::client::Client>(address: std::net::SocketAddr, keys: u64) -> Result<()> {
    load::fill::<C>(address, keys, FILLERS).await
}

async fn start<C: crate::client::Client>(load: &Load) -> Result<load::Running> {
    load::start::<C>(load).await
}

async fn once(
    options: &Options,
    clusters: &[Cluster],
    cluster: &Cluster,
    disk: Disk,
    (workload, clients): (Workload, u64),
) -> Result<Measured> {
    let all = cluster.addresses();
    let leader = cluster.leader().await?;
    let addresses = match options.to {
        Spread::Leader => vec![all[leader]],
        // The leader comes first, so that a single client is one of the leader.
        Spread::All => all[leader..].iter().chain(&all[..leader]).copied().collect(),
    };
    let (keys, duration) = (options.keys, options.duration());
    let load = Load { addresses, workload, clients, keys, warm_up: WARM_UP, duration };
    let running = with_client!(cluster.system(), start(&load))?;
    sleep_until(running.begin).await;
    let before = Sample::take(clusters, cluster, disk)?;
    sleep_until(running.end).await;
    let after = Sample::take(clusters, cluster, disk)?;
    let one = Measured::new(&running.join().await?, duration, &before, &after);
    eprintln!(
        "  {:<9} {clients:>4} clients  {:<9} {:>8.0}/s  p50 {:>7.0} us  others {:>2.0}%",
        workload.name(),
        cluster.system().name(),
        one.per_second,
        one.p50_us,
        one.others_share * 100.0,
    );
    Ok(one)
}

/// What had been used up at one instant.
struct Sample {
    servers: Usage,
    own: Usage,
    disk_bytes: Option<u64>,
    look: Look,
}

impl Sample {
    fn take(clusters: &[Cluster], cluster: &Cluster, disk: Disk) -> Result<Self> {
        let (servers, own) = (cluster.usage()?, Usage::own()?);
        Ok(Self { servers, own, disk_bytes: disk.written_bytes(), look: Look::now(clusters)? })
    }
}

impl Measured {
    #[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
    fn new(counted: &Counted, duration: Duration, before: &Sample, after: &Sample) -> Self {
        let operations = counted.operations.max(1) as f64;
        let quantile = |quantile| counted.latency_us.value_at_quantile(quantile) as f64;
        let servers = after.servers - before.servers;
        let disk_bytes = before.disk_bytes.zip(after.disk_bytes).map(|(before, after)| after - before);
        Self {
            per_second: counted.operations as f64 / duration.as_secs_f64(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            cpu_us_per_operation: servers.cpu.as_secs_f64() * 1e6 / operations,
            disk_bytes_per_operation: disk_bytes.map(|bytes| bytes as f64 / operations),
            resident_bytes: servers.resident_bytes,
            refused: counted.refused,
            errors: counted.errors,
            first_error: counted.first_error.clone(),
            generator_share: (after.own - before.own).cpu.as_secs_f64() / duration.as_secs_f64(),
            others_share: before.look.others_until(&after.look),
        }
    }
}

/// One figure of all rounds of a cell.
pub(crate) fn summary(rounds: &[Measured], figure: impl Fn(&Measured) -> f64) -> Summary {
    Summary::of(rounds.iter().map(figure)).expect("a cell has at least one round")
}
