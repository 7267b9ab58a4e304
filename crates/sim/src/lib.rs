//! Quorate's deterministic simulator: the shipping driver, engine, log and machine in a world made from a seed.
//!
//! # How it works
//!
//! [`run`] makes a world of nodes and clients from one number: their clocks, disks and links, the settings of the
//! product, what the clients do, and what goes wrong. It runs in one thread, without clocks, threads or I/O, an
//! event at a time; so the same seed gives the same run, each time and on each machine, and a failure is
//! reproduced by its number.
//!
//! Whichever engine the nodes run, all else is the same, and so is what is demanded of it.
//!
//! The world does what the server does around a driver (`world`), and nothing of what the product does: it moves
//! messages, writes what the driver wants written by the shipping log onto a simulated disk (`disk`), and tells
//! the time (`clock`).
//!
//! # What is checked
//!
//! Inside, after each step of a node (`checks::cluster`): one leader a term, equal entries at equal positions,
//! leaders that have all that is committed, commitment by a quorum's disks in the configuration in force, nothing that
//! goes back, equal machines, and members that change as an operator wished and was told.
//! Outside, by what clients saw (`checks::history`): linearizability, exactly once, nothing acknowledged lost,
//! nothing refused applied, one holder a lock, growing tokens, nothing expired early, watchers
//! who miss nothing. And at the end, liveness: when nothing fails any more, everything makes progress within a bound.
//!
//! # What it does not do
//!
//! It knows no network protocol and no operating system: those belong to black-box tests, and so do the buffers in which a
//! server keeps what a client does not read. Disks spare the identity.

mod agenda;
mod checks;
mod clock;
mod disk;
mod engine_kind;
mod faults;
pub mod linearizability;
mod pace;
mod panics;
mod profile;
mod random;
mod report;
mod synod;
mod theme;
mod time;
mod trace;
mod workload;
mod world;

pub use checks::wishes::MemberCounts;
pub use engine_kind::EngineKind;
pub use faults::{Fault, FaultCounts};
pub use pace::Pace;
pub use profile::Profile;
pub use quorate_bug::Bug;
pub use report::{Report, Violation};
pub use synod::{Synod, synod};
pub use theme::Theme;
pub use time::SimTime;

use quorate_consensus::{Engine, paxos::Paxos, raft::Raft};

use crate::{checks::Failure, world::World};

/// The seeds that once failed under an engine, each with its reason: `seeds.txt`, whose lines begin with a seed of the default
/// profile, the pace of its world, and the engine.
pub fn seeds_that_failed(engine: EngineKind) -> impl Iterator<Item = (u64, Pace)> {
    include_str!("../seeds.txt").lines().filter_map(move |line| {
        let mut words = line.split('#').next().expect("a first part").split_whitespace();
        let seed = words.next()?.parse().expect("a line begins with a seed");
        let pace = words.next().and_then(|name| Pace::ALL.iter().copied().find(|pace| pace.name() == name));
        let of = words.next().and_then(|name| EngineKind::ALL.iter().find(|kind| kind.name() == name));
        let of = of.expect("behind the pace stands an engine");
        (*of == engine).then(|| (seed, pace.expect("behind the seed stands a pace")))
    })
}

/// How many of the last steps a violation tells.
pub const TRACE_LINES: usize = 60;

/// Simulates one seed.
///
/// # Errors
/// The first property that did not hold, with the last [`TRACE_LINES`] steps.
pub fn run(seed: u64, profile: &Profile) -> Result<Report, Box<Violation>> {
    // Making text is dear, and a seed can be run twice: the first time without.
    attempt(seed, profile, 0).0.or_else(|first| {
        let again = run_traced(seed, profile, TRACE_LINES).0;
        match &again {
            Err(violation) if violation.is_like(&first) => again,
            Err(violation) => Err(Box::new(first.followed_by(violation))),
            Ok(_) => Err(Box::new(first.followed_by(&"no violation"))),
        }
    })
}

/// Simulates one seed, and tells its last `lines` steps however it ends.
pub fn run_traced(
    seed: u64,
    profile: &Profile,
    lines: usize,
) -> (Result<Report, Box<Violation>>, Vec<String>) {
    let (result, trace) = attempt(seed, profile, lines);
    let result = result.map_err(|mut violation| {
        violation.trace.clone_from(&trace);
        violation
    });
    (result, trace)
}

fn attempt(seed: u64, profile: &Profile, lines: usize) -> (Result<Report, Box<Violation>>, Vec<String>) {
    match profile.engine {
        EngineKind::Raft => attempt_with::<Raft>(seed, profile, lines),
        EngineKind::Paxos => attempt_with::<Paxos>(seed, profile, lines),
    }
}

fn attempt_with<E: Engine>(
    seed: u64,
    profile: &Profile,
    lines: usize,
) -> (Result<Report, Box<Violation>>, Vec<String>) {
    let mut world = World::<E>::new(seed, profile, lines);
    quorate_bug::plant(profile.bug);
    let result =
        panics::caught(|| world.run()).unwrap_or_else(|text| Err(Failure::new("assertions hold", text)));
    quorate_bug::plant(None);
    let at = world.now();
    let result = result.map_err(|Failure { property, detail }| {
        let replay = profile.replay(seed);
        Box::new(Violation { property: property.to_owned(), detail, seed, at, replay, trace: Vec::new() })
    });
    (result, world.trace.take_lines())
}
