//! `quorate snapshot inspect`: whether a backup is whole, and what is in it.
//!
//! It reads the whole state into memory, as restoring would: so what it accepts can be restored.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use quorate_log::BACKUP_FORMAT;
use serde::Serialize;

use super::{EXIT_HELP, backup::Backup};
use crate::cli::{
    Exit,
    problem::{Problem, told},
    progress::size,
};

const EXAMPLES: &str = "\
Examples:
  quorate snapshot inspect quorate.backup
  quorate snapshot inspect quorate.backup --json

Every checksum is verified, and the data are read as restoring would read them.";

/// The flags of `snapshot inspect`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_HELP}"))]
pub(super) struct Args {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// What is in a backup.
#[derive(Debug, Serialize)]
struct Report {
    format: u32,
    cluster_id: String,
    /// The node that made it.
    node_id: u64,
    /// When, by that node's clock.
    made: String,
    /// The version of the program that made it.
    program: String,
    machine_version: u32,
    /// The last entry whose effects are in it.
    index: u64,
    term: u64,
    /// Cluster time in milliseconds.
    stamp_ms: u64,
    voters: Vec<u64>,
    learners: Vec<u64>,
    databases: Vec<Database>,
    keys: usize,
    keys_with_ttl: usize,
    /// What the data take in memory, as `maxmemory` counts it.
    data_bytes: u64,
    file_bytes: u64,
    scripts: usize,
    /// The greatest fencing token given out.
    fence: u64,
}

#[derive(Debug, Serialize)]
struct Database {
    number: usize,
    keys: usize,
    keys_with_ttl: usize,
}

pub(super) fn run(args: &Args) -> Exit {
    told("snapshot inspect", inspect(args))
}

fn inspect(args: &Args) -> Result<(), Problem> {
    let report = Report::of(&Backup::load(&args.file, "reading")?);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).expect("a report has only plain fields"));
    } else {
        print!("{report}");
    }
    Ok(())
}

impl Report {
    fn of(backup: &Backup) -> Self {
        let Backup { label, header, membership, machine, file_bytes } = backup;
        let stats = machine.stats();
        let databases: Vec<_> = stats
            .databases
            .iter()
            .enumerate()
            .filter(|(_, database)| database.keys > 0)
            .map(|(number, database)| Database {
                number,
                keys: database.keys,
                keys_with_ttl: database.expires,
            })
            .collect();
        let made = UNIX_EPOCH + Duration::from_millis(label.made_ms.min(MADE_MS_MAX));
        Self {
            format: BACKUP_FORMAT,
            cluster_id: format!("{:032x}", label.cluster_id),
            node_id: label.node_id,
            made: humantime::format_rfc3339_seconds(made).to_string(),
            program: label.program.clone(),
            machine_version: label.machine_version,
            index: header.index,
            term: header.term,
            stamp_ms: header.stamp,
            voters: membership.electorate().map(|node| node.0).collect(),
            learners: membership.learners.iter().map(|node| node.0).collect(),
            keys: databases.iter().map(|database| database.keys).sum(),
            keys_with_ttl: databases.iter().map(|database| database.keys_with_ttl).sum(),
            databases,
            data_bytes: stats.data_bytes,
            file_bytes: *file_bytes,
            scripts: stats.scripts,
            fence: stats.fence,
        }
    }
}

/// The end of the year 9999, beyond which no date is written.
const MADE_MS_MAX: u64 = 253_402_300_799_000;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = |nodes: &[u64]| nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        writeln!(f, "cluster          {}", self.cluster_id)?;
        writeln!(f, "made             {} by node {}, version {}", self.made, self.node_id, self.program)?;
        writeln!(f, "entry            {} of term {}", self.index, self.term)?;
        writeln!(f, "format           {}, of cluster version {}", self.format, self.machine_version)?;
        write!(f, "members          voters {}", members(&self.voters))?;
        if !self.learners.is_empty() {
            write!(f, "; learners {}", members(&self.learners))?;
        }
        writeln!(f, "\nkeys             {}, of which {} have a TTL", self.keys, self.keys_with_ttl)?;
        for Database { number, keys, keys_with_ttl } in &self.databases {
            writeln!(f, "  database {number:<5} {keys}, of which {keys_with_ttl} have a TTL")?;
        }
        writeln!(f, "scripts          {}", self.scripts)?;
        writeln!(f, "greatest token   {}", self.fence)?;
        writeln!(
            f,
            "size             {} in the file, {} in memory",
            size(self.file_bytes),
            size(self.data_bytes)
        )?;
        writeln!(f, "whole            yes: every checksum is right, and the data can be restored")
    }
}
