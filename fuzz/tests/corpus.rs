//! The corpus of each target, and some thousands of mutations of it: what `verify` has time for.

use std::time::{Duration, Instant};

use quorate_fuzz::{Campaign, TARGETS};

/// The mutations of each target, unless its time is up.
const CASES: u64 = 4000;

/// The time of each target, of which most need less.
const TIME: Duration = Duration::from_secs(3);

/// The mutations are the same in each run; `cargo xtask fuzz` makes others.
const SEED: u64 = 1;

#[test]
fn no_target_breaks_a_promise_on_its_corpus_or_near_it() {
    for target in TARGETS {
        let end = Instant::now() + TIME;
        let mut campaign = Campaign::new(*target, SEED).expect("the corpus is there");
        let tally = campaign.run(|tally| tally.cases < CASES && Instant::now() < end);
        let tally = tally.unwrap_or_else(|finding| {
            panic!("{}: {}: {}", target.name, finding.panic, finding.input.escape_ascii())
        });
        println!("{}: {tally:?}", target.name);
        assert!(
            tally.outcomes > 10,
            "{}: only {} outcomes: its corpus leads nowhere",
            target.name,
            tally.outcomes
        );
    }
}
