//! Elections, as leaders and candidates see them, beside what [`super::holders`] and [`super::sequence`] judge: one leader at
//! a time, and tokens that grow.
//!
//! Each campaign has a name of its own. Who was seen to wait before another is elected before him, if both are, unless the
//! other was handed over to; and who is handed over to is the next leader.

use std::collections::BTreeSet;

use super::{Failure, check, turns::Turns};

const IN_ORDER: &str = "candidates are elected in their order";
const HANDED_OVER: &str = "who is handed over to leads next";

/// All elections of one run.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    /// Campaigns, and what they were elected under.
    pub(crate) turns: Turns,
    /// Campaigns that were answered that they have not been elected.
    not_elected: BTreeSet<String>,
    /// From whom to whom was handed over: the election, the token and the candidate.
    handed_over: BTreeSet<(String, u64, String)>,
    /// Those to whom somebody may have handed over.
    chosen: BTreeSet<String>,
}

impl Elections {
    pub(crate) fn not_elected(&mut self, campaign: &str) {
        self.not_elected.insert(campaign.to_owned());
    }

    /// A leader asks to hand over to this candidate.
    pub(crate) fn chooses(&mut self, campaign: &str) {
        self.chosen.insert(campaign.to_owned());
    }

    /// He was answered that he has.
    pub(crate) fn handed_over(&mut self, election: &str, token: u64, campaign: &str) {
        self.handed_over.insert((election.to_owned(), token, campaign.to_owned()));
    }

    /// These wait, by name and priority, in this order.
    pub(crate) fn waits(&mut self, election: &str, queue: Vec<(String, i64)>) -> Result<(), Failure> {
        let is_chosen = |(campaign, _): &&(String, i64)| self.chosen.contains(campaign);
        let priorities = queue.iter().skip_while(is_chosen).map(|(_, priority)| *priority);
        check(priorities.is_sorted_by(|one, next| one >= next), IN_ORDER, || {
            format!("{election}: {queue:?} wait")
        })?;
        self.turns.see(election, queue.into_iter().map(|(campaign, _)| campaign).collect());
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.turns.len() + self.handed_over.len()
    }

    pub(crate) fn verify(&self) -> Result<(), Failure> {
        self.turns.verify(IN_ORDER, &self.chosen)?;
        let handed_over = self.handed_over.iter();
        for (election, token, campaign) in
            handed_over.filter(|(.., campaign)| !self.turns.has_repeated(campaign))
        {
            check(!self.not_elected.contains(campaign), HANDED_OVER, || {
                format!(
                    "{election}: {campaign} was told that it is not elected, though {token} handed over to it"
                )
            })?;
            let later: Vec<_> = self.turns.served_behind(election, *token).collect();
            let place = later.iter().position(|other| *other == campaign);
            check(place.is_none_or(|place| place == 0), HANDED_OVER, || {
                format!("{election}: {token} handed over to {campaign}, and {} is elected", later[0])
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(names: &[(&str, i64)]) -> Vec<(String, i64)> {
        names.iter().map(|(name, priority)| ((*name).to_owned(), *priority)).collect()
    }

    #[test]
    fn candidates_out_of_their_order_are_noticed() {
        let mut elections = Elections::default();
        assert!(elections.waits("e", queue(&[("a", 0), ("b", 1)])).is_err());
        assert_eq!(elections.waits("e", queue(&[("a", 1), ("b", 1), ("c", 0)])), Ok(()));
        elections.chooses("c");
        assert_eq!(elections.waits("e", queue(&[("c", 0), ("a", 1), ("b", 1)])), Ok(()));
        elections.turns.served("e", 6, "b");
        elections.turns.served("e", 7, "a");
        assert_eq!(elections.verify().unwrap_err().property, IN_ORDER);
    }

    #[test]
    fn another_leader_than_the_one_handed_over_to_is_noticed() {
        let mut elections = Elections::default();
        elections.turns.served("e", 5, "a");
        elections.chooses("c");
        elections.handed_over("e", 5, "c");
        assert_eq!(elections.verify(), Ok(()), "nobody knows yet");
        elections.turns.served("e", 8, "c");
        assert_eq!(elections.verify(), Ok(()));
        elections.turns.served("e", 7, "b");
        assert_eq!(elections.verify().unwrap_err().property, HANDED_OVER);
        let mut elections = Elections::default();
        elections.handed_over("e", 5, "c");
        elections.not_elected("c");
        assert_eq!(elections.verify().unwrap_err().property, HANDED_OVER);
    }
}
