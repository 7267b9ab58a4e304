//! The flags.

use crate::{client::Workload, system::System};
use clap::{Parser, ValueEnum};
use std::{path::PathBuf, time::Duration};

const AFTER: &str = "\
Examples:
  cargo xtask bench peers
  cargo xtask bench peers --only quorate,redis --workloads set,get --clients 64 --rounds 5
  cargo xtask bench peers --parts failover --trials 3 --json failover.json
  cargo xtask bench locks      the same as peers --only quorate,redis,etcd --parts load,leases
                               --workloads native,handover --clients 1,16,64";

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench peers", about = "Quorate beside its peers", after_help = AFTER)]
pub(crate) struct Options {
    /// The systems to compare
    #[arg(long, value_enum, value_delimiter = ',', default_value = "quorate,redis,etcd,zookeeper")]
    pub(crate) only: Vec<System>,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "load,failover,resources,members,leases")]
    pub(crate) parts: Vec<Part>,
    /// The workloads
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "set,get,lock,contended,native,handover,pipeline"
    )]
    pub(crate) workloads: Vec<Workload>,
    /// The numbers of clients of set, get, lock and native; contended has 16, handover 16 and 256, pipeline 64
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) clients: Vec<u64>,
    /// To which node clients connect
    #[arg(long, value_enum, default_value_t = Spread::Leader)]
    pub(crate) to: Spread,
    /// How often each cell is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) rounds: u64,
    /// How long each cell is measured each time
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Different keys, all of them written beforehand
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) keys: u64,
    /// Failovers of each kind, and changes of members
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) trials: u64,
    /// The most seconds to wait for the machine to become calm, before each round
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=3600))]
    calm: u64,
    /// Write all figures to this file, those of each round too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Draw a chart into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// The program quorate
    #[arg(long, value_name = "FILE", default_value = "target/release/quorate")]
    pub(crate) quorate: PathBuf,
    /// A folder on the disk that all data is to be on
    #[arg(long, value_name = "FOLDER", default_value = "target/tmp")]
    pub(crate) data: PathBuf,
}

impl Options {
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// The longest wait for a calm machine.
    pub(crate) fn calm(&self) -> Duration {
        Duration::from_secs(self.calm)
    }

    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Throughput, latency and cost under load
    Load,
    /// How long writes pause when a leader is killed or stopped
    Failover,
    /// Start, idle cost, footprint, restart
    Resources,
    /// What clients of Quorate notice while a node joins, and while the leader is removed
    Members,
    /// What many locks cost that are held and left alone
    Leases,
}

/// To which node clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spread {
    /// All to the leader
    Leader,
    /// In turn to each node
    All,
}
