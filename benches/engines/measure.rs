//! Rounds, cells, and what they amount to.

use crate::{
    cluster::{Cluster, Node, WINDOW_MAX},
    omni::Omni,
    quorate::Ours,
    raft_rs::RaftRs,
};
use quorate_benches::statistics::Summary;
use quorate_consensus::{paxos::Paxos, raft::Raft};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use std::time::{Duration, Instant};

const WINDOWS: [u64; 3] = [1, 64, WINDOW_MAX];
const PAYLOADS_BYTES: [usize; 2] = [16, 1_024];
/// Commits before the clock is started, so that each engine's buffers have grown and it has dropped entries once.
const WARM_UP: u64 = 8_192;

/// What is measured with one size of window and of payload.
#[derive(Serialize)]
pub(crate) struct Cell {
    pub(crate) window: u64,
    pub(crate) payload_bytes: usize,
    pub(crate) engines: Vec<Measured>,
}

/// One engine's figures in a cell.
#[derive(Serialize)]
pub(crate) struct Measured {
    pub(crate) engine: &'static str,
    pub(crate) per_second: Summary,
    /// Of all three nodes together.
    pub(crate) cpu_us_per_commit: Summary,
    rounds: Vec<Round>,
}

#[derive(Clone, Copy, Serialize)]
struct Round {
    per_second: f64,
    cpu_us_per_commit: f64,
}

/// An engine's name, and how it is measured for a while.
type Subject = (&'static str, fn(u64, usize, Duration) -> Round);

const SUBJECTS: [Subject; 4] = [
    ("Quorate Raft", round::<Ours<Raft>>),
    ("Quorate Paxos", round::<Ours<Paxos>>),
    ("raft", round::<RaftRs>),
    ("omnipaxos", round::<Omni>),
];

/// The names of the engines that are not ours.
pub(crate) const PEERS: [&str; 2] = ["raft", "omnipaxos"];

pub(crate) fn all(rounds: u64, duration: Duration) -> Vec<Cell> {
    let sizes = PAYLOADS_BYTES.into_iter().flat_map(|bytes| WINDOWS.map(|window| (window, bytes)));
    sizes.map(|(window, bytes)| cell(window, bytes, rounds, duration)).collect()
}

fn cell(window: u64, payload_bytes: usize, rounds: u64, duration: Duration) -> Cell {
    let mut results = SUBJECTS.map(|_| Vec::new());
    for _ in 0..rounds {
        for ((_, measure), results) in SUBJECTS.iter().zip(&mut results) {
            results.push(measure(window, payload_bytes, duration));
        }
    }
    let measured = |((engine, _), rounds): (Subject, Vec<Round>)| {
        let summary = |figure: fn(&Round) -> f64| {
            Summary::of(rounds.iter().map(figure)).expect("there is a round at least")
        };
        let per_second = summary(|round| round.per_second);
        let cpu_us_per_commit = summary(|round| round.cpu_us_per_commit);
        Measured { engine, per_second, cpu_us_per_commit, rounds }
    };
    Cell { window, payload_bytes, engines: SUBJECTS.into_iter().zip(results).map(measured).collect() }
}

/// A new cluster's commits in at least `duration`.
fn round<N: Node>(window: u64, payload_bytes: usize, duration: Duration) -> Round {
    let mut cluster = Cluster::<N>::elected();
    for _ in 0..WARM_UP / window {
        cluster.commit(window, payload_bytes);
    }
    // The clocks are read too rarely to count.
    let windows_between = WARM_UP / window / 8;
    let (began, cpu_began) = (Instant::now(), cpu_time());
    let mut commits = 0_u64;
    while began.elapsed() < duration {
        for _ in 0..windows_between {
            cluster.commit(window, payload_bytes);
        }
        commits += windows_between * window;
    }
    let (elapsed, cpu) = (began.elapsed(), cpu_time() - cpu_began);
    let commits = commits as f64;
    Round {
        per_second: commits / elapsed.as_secs_f64(),
        cpu_us_per_commit: cpu.as_secs_f64() * 1e6 / commits,
    }
}

/// What this thread has taken.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("CPU time is not negative")
}
