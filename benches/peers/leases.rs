//! What many locks cost that are held and left alone: each client holds some by one session or lease, which lives on
//! when the client is gone. Redis has neither: there each lock has a time-to-live of its own.

use crate::{
    client::{Client, with_client},
    cluster::{Cluster, Programs},
    options::Options,
    resources::{Figure, SETTLING, idle_cpu, resident_mib},
    system::System,
};
use anyhow::{Context, Result};
use std::{io, net::SocketAddr, path::Path};
use tokio::{task::JoinSet, time::sleep};

pub(crate) const LOCKS: u64 = 100_000;
pub(crate) const SESSIONS: u64 = 1_000;
/// How many clients take their locks at a time.
const AT_ONCE: u64 = 50;

pub(crate) async fn measure(options: &Options, programs: &Programs, folder: &Path) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    // In ZooKeeper such a lock ends with its connection, and there is nothing that could be left alone.
    for &system in options.only.iter().filter(|&&system| system != System::ZooKeeper) {
        eprintln!("{}: holding {LOCKS} locks", system.name());
        figures.extend(of(system, programs, folder).await?);
    }
    Ok(figures)
}

async fn of(system: System, programs: &Programs, folder: &Path) -> Result<Vec<Figure>> {
    let nodes = system.nodes();
    let figure = |what, value, unit| Figure { system, nodes, what, value, unit };
    let mut cluster = Cluster::new(system, nodes, programs, folder)?;
    cluster.start().await.with_context(|| format!("cannot start {}", system.name()))?;
    sleep(SETTLING).await;
    let (empty_cpu, empty_mib) = (idle_cpu(&cluster).await?, resident_mib(&cluster)?);
    let address = cluster.addresses()[cluster.leader().await?];
    with_client!(system, hold_all(address)).with_context(|| format!("{} grants no locks", system.name()))?;
    sleep(SETTLING).await;
    let (full_cpu, full_mib) = (idle_cpu(&cluster).await?, resident_mib(&cluster)?);
    #[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
    let bytes = (full_mib - empty_mib) * f64::from(1 << 20) / LOCKS as f64;
    Ok(vec![
        figure("RSS for each lock, largest node", bytes, "B"),
        figure("idle CPU without locks, busiest node", empty_cpu * 100.0, "%"),
        figure("idle CPU with them, busiest node", full_cpu * 100.0, "%"),
    ])
}

async fn hold_all<C: Client>(address: SocketAddr) -> Result<()> {
    const EACH: u64 = LOCKS / SESSIONS;
    let mut tasks = JoinSet::new();
    for first in 0..AT_ONCE {
        tasks.spawn_local(async move {
            for session in (first..SESSIONS).step_by(AT_ONCE as usize) {
                let mut client = C::connect(address, session).await?;
                client.hold(session * EACH..(session + 1) * EACH).await?;
            }
            io::Result::Ok(())
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined??;
    }
    Ok(())
}
