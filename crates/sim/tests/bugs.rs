//! The checkers, tested: each defect must be noticed within its seeds, by a property that it breaks, and by nothing that is
//! not there without it: the same seed without the defect must hold every property.
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

use quorate_sim::{Bug, Fault, Pace, Profile, Theme, Violation, run};

/// Several times as many as any of them has needed, but for those that [`seeds_for`] names.
const SEEDS: u64 = 200;

/// How many seeds a defect has. What needs a rare encounter has more: with another draw it may take several times as many.
fn seeds_for(bug: Bug) -> u64 {
    match bug {
        Bug::CompletionByIndex
        | Bug::ForgetfulWitness
        | Bug::LateConfirmation
        | Bug::EarlierAnswer
        | Bug::UnboundVoter => 1000,
        _ => SEEDS,
    }
}

/// The faults under which a defect shows soonest.
fn profile_for(bug: Bug) -> Profile {
    // Most defects need operations that meet each other.
    let pace = Some(Pace::Dense);
    let mut profile = Profile { bug: Some(bug), pace, ..Profile::about(theme_for(bug)) };
    if bug == Bug::CompletionByIndex {
        // A write must be under way while two leaders come and go.
        profile.faults = [Fault::HangingSync, Fault::SlowDisk, Fault::Partition, Fault::Kill].into();
        profile.nodes = Some(3);
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
        | Bug::UnboundVoter => Theme::Network,
        Bug::UnsyncedName => Theme::Crashes,
        Bug::DeniedChange | Bug::FeignedChange => Theme::Members,
        _ => Theme::Default,
    }
}

/// The first violation of a property that the defect breaks. Of another one it says something, too, but not that the checker
/// that is meant can fail.
fn hunt(bug: Bug) -> Option<Box<Violation>> {
    let profile = profile_for(bug);
    (0..seeds_for(bug)).find_map(|seed| {
        let violation = run(seed, &profile).err()?;
        if let Err(cry) = run(seed, &Profile { bug: None, ..profile.clone() }) {
            panic!("{} is not the reason:\n{cry}", bug.name());
        }
        let is_meant = bug.breaks().contains(&&violation.property[..]);
        if !is_meant {
            println!("{:<22} {:>4} seeds  (by another: {})", bug.name(), seed + 1, violation.property);
        }
        is_meant.then_some(violation)
    })
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
    assert!(survivors.is_empty(), "not noticed by what they break: {}", survivors.join(", "));
}
