//! All figures of one run, as they are written for programs.

use crate::{
    cell::{Measured, summary},
    client::{KEY_BYTES, VALUE_BYTES, Workload},
    failover::Failover,
    members::Changes,
    options::{Options, Spread},
    physical::Physical,
    resources::Figure,
    system::System,
};
use quorate_benches::statistics::Summary;
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) rounds: u64,
    pub(crate) seconds: f64,
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
    pub(crate) keys: u64,
    /// Where clients connect to.
    pub(crate) to: &'static str,
    /// One for each round.
    pub(crate) physical: Vec<Physical>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) failovers: Vec<Failover>,
    pub(crate) resources: Vec<Figure>,
    /// Of locks that are held and left alone.
    pub(crate) leases: Vec<Figure>,
    /// None if not measured.
    pub(crate) members: Option<Changes>,
}

/// One system under one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Cell {
    pub(crate) workload: Workload,
    pub(crate) clients: u64,
    pub(crate) system: System,
    pub(crate) per_second: Summary,
    pub(crate) p50_us: Summary,
    pub(crate) p99_us: Summary,
    pub(crate) cpu_us_per_operation: Summary,
    pub(crate) rounds: Vec<Measured>,
}

impl Report {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            rounds: options.rounds,
            seconds: options.duration().as_secs_f64(),
            key_bytes: KEY_BYTES,
            value_bytes: VALUE_BYTES,
            keys: options.keys,
            to: match options.to {
                Spread::Leader => "the leader",
                Spread::All => "all nodes",
            },
            physical: Vec::new(),
            cells: Vec::new(),
            failovers: Vec::new(),
            resources: Vec::new(),
            leases: Vec::new(),
            members: None,
        }
    }

    /// The same workload with another system.
    pub(crate) fn beside(&self, cell: &Cell, system: System) -> Option<&Cell> {
        let same = |other: &&Cell| other.workload == cell.workload && other.clients == cell.clients;
        self.cells.iter().filter(same).find(|other| other.system == system)
    }
}

impl Cell {
    pub(crate) fn new(workload: Workload, clients: u64, system: System, rounds: Vec<Measured>) -> Self {
        Self {
            workload,
            clients,
            system,
            per_second: summary(&rounds, |one| one.per_second),
            p50_us: summary(&rounds, |one| one.p50_us),
            p99_us: summary(&rounds, |one| one.p99_us),
            cpu_us_per_operation: summary(&rounds, |one| one.cpu_us_per_operation),
            rounds,
        }
    }

    /// The median of another figure.
    pub(crate) fn median(&self, figure: impl Fn(&Measured) -> f64) -> f64 {
        summary(&self.rounds, figure).median
    }
}
