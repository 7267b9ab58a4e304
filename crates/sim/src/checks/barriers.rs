//! Barriers, as those see them who arrive or wait. Each round is a barrier of its own, at which so many parties are awaited.
//!
//! * Nobody goes on before so many *different* parties may have arrived, and he is told how many have.
//! * Whoever asks or waits while all are there goes on: he is not told that some are missing (hazard 32). All are there from when the
//!   last has arrived, for as long as the set of those who have lasts: its time-to-live begins anew with each of them.

use std::{collections::BTreeMap, time::Duration};

use super::{Failure, Span, check};
use crate::time::{SimTime, micros};

const TOO_EARLY: &str = "nobody passes a barrier before all have come";
const LEFT_BEHIND: &str = "who waits at a barrier goes on when all have come";

/// All rounds of one run, by number.
#[derive(Debug, Default)]
pub(crate) struct Barriers {
    rounds: BTreeMap<u64, Round>,
    /// The first one that nobody has passed.
    current: u64,
}

/// What is the same for all who meet in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// How many are awaited.
    pub(crate) parties: usize,
    /// For how long they have arrived behind the last of them at least; `None`: for good.
    pub(crate) lasts: Option<Duration>,
}

#[derive(Debug)]
struct Round {
    rules: Rules,
    /// When each party has first asked to arrive.
    asked: BTreeMap<String, SimTime>,
    /// Since when each is known to have arrived.
    arrived: BTreeMap<String, SimTime>,
    /// When somebody first knew that he may go on.
    passed: Option<SimTime>,
    not_passed: Vec<NotPassed>,
}

/// Somebody was told that some are missing.
#[derive(Debug)]
struct NotPassed {
    /// When his question had arrived at the latest.
    asked_by: SimTime,
    /// Until when he waited at least.
    until: SimTime,
}

impl Barriers {
    pub(crate) fn current(&self) -> u64 {
        self.current
    }

    /// Somebody asks to arrive, for the first time or again.
    pub(crate) fn arrives(&mut self, round: u64, rules: Rules, party: &str, at: SimTime) {
        self.round(round, rules).asked.entry(party.to_owned()).or_insert(at);
    }

    /// He is known to have arrived.
    pub(crate) fn arrived(&mut self, round: u64, rules: Rules, party: &str, at: SimTime) {
        self.round(round, rules).arrived.entry(party.to_owned()).or_insert(at);
    }

    /// Somebody goes on, and is told how many have arrived.
    pub(crate) fn passed(
        &mut self,
        number: u64,
        rules: Rules,
        count: u64,
        at: SimTime,
    ) -> Result<(), Failure> {
        self.current = self.current.max(number + 1);
        let round = self.round(number, rules);
        round.passed.get_or_insert(at);
        let (asked, parties) = (round.asked.len() as u64, rules.parties as u64);
        check(parties <= count && count <= asked, TOO_EARLY, || {
            format!("round {number}: {count} of {parties} have come, where {asked} have ever asked to")
        })
    }

    /// Somebody is told that some are missing, having waited for so long at least.
    pub(crate) fn not_passed(&mut self, round: u64, rules: Rules, waited: Duration, span: Span) {
        let asked_by = SimTime { micros: span.completed.micros.saturating_sub(micros(waited)) };
        let not_passed = NotPassed { asked_by, until: span.invoked + waited };
        self.round(round, rules).not_passed.push(not_passed);
    }

    fn round(&mut self, number: u64, rules: Rules) -> &mut Round {
        let new = || Round {
            rules,
            asked: BTreeMap::new(),
            arrived: BTreeMap::new(),
            passed: None,
            not_passed: Vec::new(),
        };
        self.rounds.entry(number).or_insert_with(new)
    }

    pub(crate) fn len(&self) -> usize {
        self.rounds.values().map(|round| round.arrived.len() + round.not_passed.len()).sum()
    }

    pub(crate) fn verify(&self) -> Result<(), Failure> {
        self.rounds.iter().try_for_each(|(number, round)| round.verify(*number))
    }
}

impl Round {
    /// From when on all are known to have come, if they have.
    fn complete(&self) -> Option<SimTime> {
        // Those who have arrived for a while only need not have been there together.
        let mut arrived: Vec<SimTime> = self.arrived.values().copied().collect();
        arrived.sort_unstable();
        let last = arrived.get(self.rules.parties - 1).filter(|_| self.rules.lasts.is_none());
        self.passed.into_iter().chain(last.copied()).min()
    }

    fn verify(&self, number: u64) -> Result<(), Failure> {
        let Some(complete) = self.complete() else { return Ok(()) };
        let mut asked: Vec<SimTime> = self.asked.values().copied().collect();
        asked.sort_unstable();
        // They cannot all have been there before so many had asked.
        let first = asked.get(self.rules.parties - 1).copied().unwrap_or_default();
        let lasts_until = self.rules.lasts.map_or(SimTime { micros: u64::MAX }, |lasts| first + lasts);
        for NotPassed { asked_by, until } in &self.not_passed {
            check(complete > *until || *asked_by > lasts_until, LEFT_BEHIND, || {
                let rules = self.rules;
                format!(
                    "round {number} ({rules:?}): all have come by {complete}, and who asked by {asked_by} and waited until {until} is \
                     told that some are missing"
                )
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> SimTime {
        SimTime { micros }
    }

    /// A round of two who ask to arrive at 1 and 10, and go on at 12.
    fn passed(lasts: Option<Duration>) -> (Barriers, Rules) {
        let (mut barriers, rules) = (Barriers::default(), Rules { parties: 2, lasts });
        barriers.arrives(0, rules, "a", at(1));
        barriers.arrived(0, rules, "a", at(2));
        assert_eq!(barriers.passed(0, rules, 2, at(5)).unwrap_err().property, TOO_EARLY);
        let (mut barriers, rules) = (Barriers::default(), rules);
        barriers.arrives(0, rules, "a", at(1));
        barriers.arrives(0, rules, "a", at(3));
        barriers.arrives(0, rules, "b", at(10));
        assert_eq!(barriers.passed(0, rules, 2, at(12)), Ok(()));
        assert_eq!(barriers.current(), 1);
        (barriers, rules)
    }

    fn waits(lasts: Option<Duration>, invoked: u64, waited: u64, completed: u64) -> Result<(), Failure> {
        let (mut barriers, rules) = passed(lasts);
        let span = Span { invoked: at(invoked), completed: at(completed) };
        barriers.not_passed(0, rules, Duration::from_micros(waited), span);
        barriers.verify()
    }

    #[test]
    fn whoever_is_let_go_too_early_is_noticed() {
        let (mut barriers, rules) = passed(None);
        assert_eq!(barriers.passed(0, rules, 1, at(13)).unwrap_err().property, TOO_EARLY);
        assert_eq!(barriers.passed(0, rules, 3, at(13)).unwrap_err().property, TOO_EARLY, "one counts twice");
    }

    #[test]
    fn whoever_is_left_behind_is_noticed() {
        assert_eq!(waits(None, 5, 6, 20), Ok(()), "his time may have been over before");
        assert_eq!(waits(None, 5, 7, 20).unwrap_err().property, LEFT_BEHIND);
        assert_eq!(waits(None, 12, 0, 90).unwrap_err().property, LEFT_BEHIND);
    }

    #[test]
    fn those_who_come_when_the_set_has_ended_wait_for_others() {
        let lasts = Some(Duration::from_micros(30));
        assert_eq!(waits(lasts, 12, 9, 50), Ok(()), "it may have been over when his question arrived");
        assert_eq!(waits(lasts, 12, 10, 50).unwrap_err().property, LEFT_BEHIND);
    }

    #[test]
    fn those_who_have_arrived_for_good_are_known_to() {
        let rules = Rules { parties: 2, lasts: None };
        let mut barriers = Barriers::default();
        for (party, micros) in [("a", 1), ("b", 4)] {
            barriers.arrives(0, rules, party, at(micros));
            barriers.arrived(0, rules, party, at(micros + 1));
        }
        barriers.not_passed(0, rules, Duration::ZERO, Span { invoked: at(4), completed: at(9) });
        assert_eq!(barriers.verify(), Ok(()));
        barriers.not_passed(0, rules, Duration::ZERO, Span { invoked: at(5), completed: at(9) });
        assert_eq!(barriers.verify().unwrap_err().property, LEFT_BEHIND, "nobody has woken him");
    }
}
