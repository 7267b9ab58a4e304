//! The checkers, tested: each defect that the world can make must be noticed within a few seeds.

use quorate_sim::{Bug, Profile, run};

/// Far more than any of them needs.
const SEEDS: u64 = 200;

fn is_noticed(bug: Bug) {
    let profile = Profile { bug: Some(bug), ..Profile::default() };
    let noticed = (0..SEEDS).find_map(|seed| run(seed, &profile).err());
    let violation = noticed.unwrap_or_else(|| panic!("{} was not noticed in {SEEDS} seeds", bug.name()));
    assert!(!violation.trace.is_empty(), "a violation without its last steps");
    assert_eq!(violation.replay, format!("quorate sim --seed {} --bug {}", violation.seed, bug.name()));
}

#[test]
fn a_lying_disk_is_noticed() {
    is_noticed(Bug::LyingDisk);
}

#[test]
fn a_promise_before_its_write_is_noticed() {
    is_noticed(Bug::EarlyCompletion);
}

#[test]
fn a_command_forwarded_twice_is_noticed() {
    is_noticed(Bug::ForwardTwice);
}

#[test]
fn early_expiry_is_noticed() {
    is_noticed(Bug::FastClock);
}

#[test]
fn a_forgotten_vote_is_noticed() {
    is_noticed(Bug::ForgottenVote);
}

#[test]
fn answers_to_other_questions_are_noticed() {
    is_noticed(Bug::ShiftedAnswers);
}

#[test]
fn a_stale_read_is_noticed() {
    is_noticed(Bug::LocalRead);
}

#[test]
fn a_forgotten_configuration_is_noticed() {
    is_noticed(Bug::ForgottenMembers);
}

#[test]
fn a_new_member_that_acknowledges_too_early_is_noticed() {
    is_noticed(Bug::HollowNewcomer);
}

#[test]
fn a_new_member_that_comes_back_empty_is_noticed() {
    is_noticed(Bug::WipedNewcomer);
}

#[test]
fn a_member_that_is_told_it_was_removed_is_noticed() {
    is_noticed(Bug::WrongRemoval);
}

#[test]
fn a_witness_that_forgets_whom_it_set_aside_is_noticed() {
    is_noticed(Bug::ForgetfulWitness);
}

#[test]
fn a_vote_under_repair_is_noticed() {
    is_noticed(Bug::VotesUnderRepair);
}

#[test]
fn a_session_of_an_earlier_life_is_noticed() {
    is_noticed(Bug::ReusedSession);
}

#[test]
fn a_version_that_rises_before_all_know_it_is_noticed() {
    is_noticed(Bug::EarlyRise);
}
