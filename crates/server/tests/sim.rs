//! `quorate sim`, as a user and a program meet it.

mod support;

use serde_json::Value;
use support::run;

/// Runs `quorate sim` with these arguments: exit status, and the object on the last line.
fn sim(arguments: &str) -> (i32, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments: Vec<&str> = ["sim", "--json"].into_iter().chain(arguments.split(' ')).collect();
    let (code, output, told) = run(&arguments, folder.path());
    let last = output.lines().last().unwrap_or_else(|| panic!("{told}"));
    (code, serde_json::from_str(last).expect("JSON"))
}

/// Two processes, each with its own addresses and hash keys.
#[test]
fn equal_seeds_say_the_same_but_for_the_time_they_took() {
    let told = || {
        let (code, mut told) = sim("--seeds 3..6");
        assert_eq!(code, 0);
        let fields = told.as_object_mut().unwrap();
        let wall: Vec<String> = fields.keys().filter(|name| name.starts_with("wall_")).cloned().collect();
        assert_eq!(wall, ["wall_seconds", "wall_speed_up"]);
        wall.iter().for_each(|name| assert!(fields.remove(name).is_some()));
        told
    };
    let first = told();
    let traces = first["traces"].as_array().unwrap();
    let is_distinct =
        |at: usize| traces[..at].iter().all(|other| other["trace_hash"] != traces[at]["trace_hash"]);
    assert!((0..3).all(|at| traces[at]["seed"] == 3 + at && is_distinct(at)), "{traces:?}");
    assert_eq!(first, told());
    assert_eq!(
        (&first["seeds"], &first["first_seed"], &first["end_seed"]),
        (&3.into(), &3.into(), &6.into())
    );
    assert!(first["client_operations"].as_u64() > Some(100) && first["violations"] == Value::Array(vec![]));
}

#[test]
fn a_violation_ends_the_run_and_its_command_finds_it_again() {
    let (code, told) = sim("--seeds 0..50 --nodes 3 --bug shifted-answers");
    assert_eq!(code, 1);
    let violation = &told["violations"][0];
    assert!(!violation["trace"].as_array().unwrap().is_empty());
    let replay = violation["replay"].as_str().unwrap().strip_prefix("quorate sim ").unwrap();
    let (code, again) = sim(replay);
    assert_eq!((code, &again["violations"][0]), (1, violation));
}

#[test]
fn seconds_without_seeds_are_spent_on_fresh_ones() {
    let (code, told) = sim("--seconds 1 --profile calm");
    assert_eq!(code, 0);
    let range = told["end_seed"].as_u64().unwrap() - told["first_seed"].as_u64().unwrap();
    assert!(range > 0 && told["seeds"] == range, "{told}");
}
