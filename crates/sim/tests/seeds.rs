//! A modest number of seeds; CI runs thousands by `quorate sim`.

use std::ops::Range;

use quorate_sim::{EngineKind, Fault, MemberCounts, Profile, Report, run, seeds_that_failed};

fn run_all(seeds: impl IntoIterator<Item = u64>, profile: &Profile) -> Report {
    let mut total = Report::default();
    for seed in seeds {
        match run(seed, profile) {
            Ok(report) => total.merge(&report),
            Err(violation) => panic!("\n{violation}"),
        }
    }
    total
}

#[test]
fn seeds_under_mixed_faults_hold_every_property() {
    holds_every_property(0..100, EngineKind::Raft);
}

#[test]
fn seeds_of_paxos_under_mixed_faults_hold_every_property() {
    holds_every_property(0..100, EngineKind::Paxos);
}

fn holds_every_property(seeds: Range<u64>, engine: EngineKind) {
    let total = run_all(seeds, &Profile { engine, ..Profile::default() });
    assert!(total.judged > 10_000, "only {} operations were judged", total.judged);
    assert_eq!(total.undecided, 0, "histories that nobody judged");
    for (fault, count) in total.faults.iter() {
        assert!(count > 0, "no {fault} happened");
    }
    assert!(total.snapshots.1 > 0, "no snapshot was installed from a leader");
    assert!(total.compared > 1000, "two machines were compared only {} times", total.compared);
    let (lossy, failed, full) = total.disks;
    assert!(lossy > 0 && failed > 0 && full > 0, "disks were asked to fail, and did not: {:?}", total.disks);
    let MemberCounts { added, promoted, replaced, demoted, removed, refused, unknown: _ } = total.members;
    let changes = [added, promoted, replaced, demoted, removed, refused];
    assert!(changes.iter().all(|&count| count > 0), "a kind of change did not happen: {:?}", total.members);
}

#[test]
fn clusters_without_faults_refuse_nothing() {
    let total = run_all(0..6, &Profile::calm());
    assert_eq!((total.refused, total.unknown), (0, 0));
    assert!(total.faults.iter().all(|(_, count)| count == 0));
}

/// Each failed once, for the reason that stands beside it in the file.
#[test]
fn seeds_that_once_failed_hold_every_property() {
    for &engine in EngineKind::ALL {
        for (seed, pace) in seeds_that_failed(engine) {
            run_all([seed], &Profile { engine, pace: Some(pace), ..Profile::default() });
        }
    }
}

#[test]
fn equal_seeds_run_equally_and_others_do_not() {
    let profile = Profile::default();
    let hash = |seed| run(seed, &profile).expect("a seed that holds every property").trace_hash;
    assert_eq!(hash(3), hash(3));
    assert_ne!(hash(3), hash(4));
}

#[test]
fn tracing_changes_nothing() {
    let profile = Profile::default();
    let (traced, lines) = quorate_sim::run_traced(5, &profile, 100);
    assert_eq!(traced, run(5, &profile));
    assert_eq!(lines.len(), 100);
}

#[test]
fn profile_limits_the_faults() {
    let profile = Profile { faults: [Fault::Kill].into(), nodes: Some(3), ..Profile::default() };
    let total = run_all(0..12, &profile);
    assert!(total.faults.iter().all(|(fault, count)| (fault == Fault::Kill) == (count > 0)));
}
