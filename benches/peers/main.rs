//! Quorate beside etcd, ZooKeeper and Redis: one load generator, one machine, one run.
//!
//! All systems are started together, each with its data on the same disk, and driven in interleaved rounds: what
//! disturbs the machine for a while disturbs all of them. The generator is one thread that writes requests encoded
//! beforehand, so that the servers have the rest of the machine. Each figure is the median of its rounds, beside
//! it their spread, and the share of the machine that others took meanwhile.
//!
//! * Everything is bounded: waits, operations and cells.
//! * No server outlives this program: each dies with it, by the kernel's hand if need be ([`process`]).
//! * The data folder is removed at the end, also after Ctrl-C and after a failure.
//!
//! It deliberately compares defaults, on one machine: what a network between the nodes would add is not measured.

mod calm;
mod cell;
mod chart;
mod client;
mod cluster;
mod failover;
mod leases;
mod load;
mod members;
mod options;
mod physical;
mod process;
mod report;
mod resources;
mod system;
mod tables;
mod usage;

use anyhow::{Context, Result, bail};
use clap::Parser;
use cluster::{Cluster, Programs};
use options::{Options, Part};
use report::Report;
use std::{path::Path, process::ExitCode};
use system::System;
use tokio::{
    signal::unix::{SignalKind, signal},
    task::LocalSet,
};

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("peers: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            outcome = run(&options) => outcome,
            outcome = interrupted() => outcome,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends with an error at the first signal to stop. Servers and data go when [`run`] is dropped upon it.
async fn interrupted() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    bail!("interrupted")
}

async fn run(options: &Options) -> Result<()> {
    let programs = Programs::find(&options.quorate, &options.only)?;
    std::fs::create_dir_all(&options.data)
        .with_context(|| format!("cannot create {}", options.data.display()))?;
    let folder = tempfile::Builder::new().prefix("peers-").tempdir_in(&options.data)?;
    let mut report = Report::new(options);
    if options.wants(Part::Load) || options.wants(Part::Failover) {
        compare(options, &programs, folder.path(), &mut report).await?;
    }
    if options.wants(Part::Resources) {
        report.resources = resources::measure(options, &programs, folder.path()).await?;
        tables::print_resources(&report);
    }
    if options.wants(Part::Members) && options.only.contains(&System::Quorate) {
        report.members = Some(members::measure(options, &programs, folder.path()).await?);
        tables::print_members(&report);
    }
    if options.wants(Part::Leases) {
        report.leases = leases::measure(options, &programs, folder.path()).await?;
        tables::print_leases(&report);
    }
    save(options, &report)
}

/// What is measured with all systems running side by side.
async fn compare(options: &Options, programs: &Programs, folder: &Path, report: &mut Report) -> Result<()> {
    let mut clusters = Vec::new();
    for &system in &options.only {
        let mut cluster = Cluster::new(system, system.nodes(), programs, folder)?;
        cluster.start().await.with_context(|| format!("cannot start {}", system.name()))?;
        clusters.push(cluster);
    }
    if options.wants(Part::Load) {
        cell::measure(options, folder, &clusters, report).await?;
        tables::print_load(report);
    }
    if options.wants(Part::Failover) {
        report.failovers = failover::measure(options, &mut clusters).await?;
        tables::print_failovers(report);
    }
    Ok(())
}

fn save(options: &Options, report: &Report) -> Result<()> {
    let write = |file: &Path, text: String| {
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    };
    if let Some(file) = &options.json {
        write(file, serde_json::to_string_pretty(report)? + "\n")?;
    }
    if let Some(file) = &options.svg {
        write(file, chart::draw(report))?;
    }
    Ok(())
}
