//! The checkers, tested: each defect must be noticed within its seeds.
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

use quorate_sim::{Bug, Profile, Theme, Violation, run};

/// Several times as many as any of them has needed.
const SEEDS: u64 = 200;

/// The faults under which a defect shows soonest.
fn theme_for(bug: Bug) -> Theme {
    match bug {
        Bug::SkippedChecksum | Bug::CutCorruption | Bug::VotesUnderRepair => Theme::Disks,
        Bug::TwoVotes
        | Bug::OldTermCounted
        | Bug::UnconfirmedRead
        | Bug::LateConfirmation
        | Bug::EarlierAnswer
        | Bug::UnboundVoter => Theme::Network,
        Bug::UnsyncedName => Theme::Crashes,
        _ => Theme::Default,
    }
}

fn hunt(bug: Bug) -> Option<Box<Violation>> {
    let profile = Profile { bug: Some(bug), ..Profile::about(theme_for(bug)) };
    (0..SEEDS).find_map(|seed| run(seed, &profile).err())
}

#[test]
fn each_defect_is_noticed() {
    let bugs: Vec<Bug> = Bug::all().collect();
    let next = AtomicUsize::new(0);
    let survivors = Mutex::new(Vec::new());
    let hunter = || {
        while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = bug.name();
            match hunt(bug) {
                Some(violation) => {
                    assert!(!violation.trace.is_empty(), "a violation without its last steps");
                    println!("{name:<22} {:>4} seeds  {}", violation.seed + 1, violation.property);
                }
                None => survivors.lock().unwrap().push(name),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(hunter);
        }
    });
    let survivors = survivors.into_inner().unwrap();
    assert!(survivors.is_empty(), "not noticed in {SEEDS} seeds: {}", survivors.join(", "));
}
