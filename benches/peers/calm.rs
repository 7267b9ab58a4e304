//! Waiting until nobody else uses the machine.

use crate::{
    cluster::Cluster,
    usage::{MachineTime, Usage},
};
use anyhow::Result;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the machine has to be calm.
const LOOK: Duration = Duration::from_secs(1);
/// The machine is calm when others use less than this share of it.
const CALM: f64 = 0.10;

/// Waits until the machine is calm, for `longest` at most. The answer is the last share that others took.
pub(crate) async fn wait(clusters: &[Cluster], longest: Duration) -> Result<f64> {
    let end = Instant::now() + longest;
    loop {
        let begin = Look::now(clusters)?;
        sleep(LOOK).await;
        let share = begin.others_until(&Look::now(clusters)?);
        if share < CALM || Instant::now() >= end {
            return Ok(share);
        }
    }
}

/// The machine's time, and ours of it, at one instant.
pub(crate) struct Look {
    machine: MachineTime,
    ours: Duration,
}

impl Look {
    pub(crate) fn now(clusters: &[Cluster]) -> Result<Self> {
        let mut ours = Usage::own()?.cpu;
        for cluster in clusters {
            ours += cluster.usage()?.cpu;
        }
        Ok(Self { machine: MachineTime::now()?, ours })
    }

    /// The share of the machine that neither the servers nor this program used until `later`.
    pub(crate) fn others_until(&self, later: &Self) -> f64 {
        later.machine.share_of_others(self.machine, later.ours.saturating_sub(self.ours))
    }
}
