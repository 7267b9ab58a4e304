//! The figures as a table, in the form in which documents keep them.

use crate::measure::{Cell, Measured, PEERS};

/// Ratios are of CPU time: above 1, the engine of the row is the cheaper one.
pub(crate) fn print(cells: &[Cell]) {
    println!(
        "| payload B | window | engine        | commits/s | +-% | CPU us/commit | +-% | raft / it | omnipaxos / it |"
    );
    println!(
        "| --------- | ------ | ------------- | --------- | --- | ------------- | --- | --------- | -------------- |"
    );
    for cell in cells {
        for measured in &cell.engines {
            println!("{}", row(cell, measured));
        }
    }
}

fn row(cell: &Cell, it: &Measured) -> String {
    let [raft, omnipaxos] = PEERS.map(|name| ratio(cell, it, name));
    format!(
        "| {:>9} | {:>6} | {:<13} | {:>9.0} | {:>3.0} | {:>13.3} | {:>3.0} | {raft:>9.2} | {omnipaxos:>14.2} |",
        cell.payload_bytes,
        cell.window,
        it.engine,
        it.per_second.median,
        it.per_second.spread_percent(),
        it.cpu_us_per_commit.median,
        it.cpu_us_per_commit.spread_percent(),
    )
}

/// How many times as much CPU time the peer takes.
fn ratio(cell: &Cell, it: &Measured, peer: &str) -> f64 {
    let peer = cell.engines.iter().find(|one| one.engine == peer).expect("each cell has each engine");
    peer.cpu_us_per_commit.median / it.cpu_us_per_commit.median
}
