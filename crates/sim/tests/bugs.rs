//! The checkers, tested: each defect must be noticed within its seeds, by a property that it breaks, and by nothing that is
//! not there without it: the same seed without the defect must hold every property.
//!
//! The environment variable `QUORATE_BUGS` names those that are to be hunted, with commas between; without it, all are.
//!
//! Without the feature `seeded-bugs` these are the defects that the world makes; with it, which is how `cargo xtask sim
//! --seeded-bugs` runs this test, those of the product, too. What caught each, and how many seeds it took, is printed.

use std::{
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use quorate_sim::{Bug, EngineKind, Fault, Pace, Profile, Theme, Violation, run};

/// How many seeds a defect has: several times as many as the rarest of them has needed. What a seed does is drawn anew by each
/// change of the workloads, so that one which took 30 may take 150 the next time.
const SEEDS: u64 = 1000;

/// The faults under which a defect shows soonest.
fn profile_for(bug: Bug, engine: EngineKind) -> Profile {
    // Most defects need operations that meet each other.
    let pace = Some(Pace::Dense);
    let mut profile = Profile { bug: Some(bug), engine, pace, ..Profile::about(theme_for(bug)) };
    if bug == Bug::CompletionByIndex {
        // A write must be under way while two leaders come and go.
        profile.faults = [Fault::HangingSync, Fault::SlowDisk, Fault::Partition, Fault::Kill].into();
        profile.nodes = Some(3);
    }
    if matches!(bug, Bug::CommitNumberElects | Bug::NumberAtOnce) {
        // Of three, no other number than a majority survives a loss.
        profile.nodes = Some(5);
    }
    profile
}

fn theme_for(bug: Bug) -> Theme {
    match bug {
        Bug::SkippedChecksum | Bug::CutCorruption | Bug::VotesUnderRepair | Bug::SlotAlone => Theme::Disks,
        Bug::TwoVotes
        | Bug::OldTermCounted
        | Bug::UnconfirmedRead
        | Bug::LateConfirmation
        | Bug::EarlierAnswer
        | Bug::UnboundVoter
        | Bug::UnmatchedCommit
        | Bug::CommitNumberElects => Theme::Network,
        Bug::UnsyncedName => Theme::Crashes,
        Bug::DeniedChange | Bug::FeignedChange | Bug::NumberAtOnce => Theme::Members,
        _ => Theme::Default,
    }
}

/// The engines under which it is hunted.
fn engines_of(bug: Bug) -> impl Iterator<Item = EngineKind> {
    EngineKind::ALL.iter().copied().filter(move |kind| match kind {
        EngineKind::Raft => bug.is_of_raft(),
        EngineKind::Paxos => bug.is_of_paxos(),
    })
}

/// The first violation of a property that the defect breaks. Of another one it says something, too, but not that the checker
/// that is meant can fail.
fn hunt(bug: Bug, engine: EngineKind) -> Option<Box<Violation>> {
    let profile = profile_for(bug, engine);
    (0..SEEDS).find_map(|seed| {
        let violation = run(seed, &profile).err()?;
        if let Err(cry) = run(seed, &Profile { bug: None, ..profile.clone() }) {
            panic!("{} is not the reason:\n{cry}", bug.name());
        }
        let is_meant = bug.breaks().contains(&&violation.property[..]);
        if !is_meant {
            let (name, property) = (bug.name(), violation.property.clone());
            println!("{name:<22} {engine:<6} {:>4} seeds  (by another: {property})", seed + 1);
        }
        is_meant.then_some(violation)
    })
}

#[test]
fn each_defect_is_noticed() {
    let named = std::env::var("QUORATE_BUGS").ok();
    for name in named.iter().flat_map(|names| names.split(',')) {
        assert!(Bug::all().any(|bug| bug.name() == name), "this build has no defect called {name}");
    }
    let is_named =
        |bug: &Bug| named.as_ref().is_none_or(|names| names.split(',').any(|name| name == bug.name()));
    let bugs: Vec<(Bug, EngineKind)> =
        Bug::all().filter(is_named).flat_map(|bug| engines_of(bug).map(move |kind| (bug, kind))).collect();
    let next = AtomicUsize::new(0);
    let survivors = Mutex::new(Vec::new());
    let hunter = || {
        while let Some(&(bug, engine)) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = bug.name();
            match hunt(bug, engine) {
                Some(violation) => {
                    assert!(!violation.trace.is_empty(), "a violation without its last steps");
                    println!(
                        "{name:<22} {engine:<6} {:>4} seeds  {}",
                        violation.seed + 1,
                        violation.property
                    );
                }
                None => survivors.lock().unwrap().push(format!("{name} under {engine}")),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(hunter);
        }
    });
    let survivors = survivors.into_inner().unwrap();
    assert!(survivors.is_empty(), "not noticed by what they break: {}", survivors.join(", "));
}
