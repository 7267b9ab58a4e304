//! Elections, as leaders and candidates see them, beside what [`super::holders`] and [`super::sequence`] judge: one leader at
//! a time, and tokens that grow.
//!
//! Each campaign has a name of its own. Who was seen to wait before another is elected before him, if both are, unless the
//! other was handed over to; and who is handed over to is the next leader.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, check};

const IN_ORDER: &str = "candidates are elected in their order";
const HANDED_OVER: &str = "who is handed over to leads next";

/// All elections of one run.
#[derive(Debug, Default)]
pub(crate) struct Elections {
    /// Who was elected under which token, by election.
    elected: BTreeMap<String, BTreeMap<u64, String>>,
    /// Campaigns that were answered that they have not been elected.
    not_elected: BTreeSet<String>,
    /// Campaigns that were asked for more than once: in between they may have lost their place, or given back what they won.
    repeated: BTreeSet<String>,
    /// From whom to whom was handed over: the election, the token and the candidate.
    handed_over: BTreeSet<(String, u64, String)>,
    /// Those to whom somebody may have handed over.
    chosen: BTreeSet<String>,
    /// Who was seen to wait, in order.
    queues: Vec<(String, Vec<String>)>,
}

impl Elections {
    pub(crate) fn elected(&mut self, election: &str, token: u64, campaign: &str) {
        self.elected.entry(election.to_owned()).or_default().insert(token, campaign.to_owned());
    }

    pub(crate) fn not_elected(&mut self, campaign: &str) {
        self.not_elected.insert(campaign.to_owned());
    }

    pub(crate) fn repeated(&mut self, campaign: &str) {
        self.repeated.insert(campaign.to_owned());
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
        self.queues.push((election.to_owned(), queue.into_iter().map(|(campaign, _)| campaign).collect()));
        Ok(())
    }

    /// Whom somebody saw last to wait.
    pub(crate) fn last_seen(&self, election: &str) -> &[String] {
        let of_it = self.queues.iter().rev().find(|(other, _)| other == election);
        of_it.map_or(&[], |(_, queue)| queue)
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.len() + self.handed_over.len()
    }

    pub(crate) fn verify(&self) -> Result<(), Failure> {
        for (election, queue) in &self.queues {
            self.verify_queue(election, queue)?;
        }
        let handed_over = self.handed_over.iter();
        for (election, token, campaign) in
            handed_over.filter(|(.., campaign)| !self.repeated.contains(campaign))
        {
            check(!self.not_elected.contains(campaign), HANDED_OVER, || {
                format!(
                    "{election}: {campaign} was told that it is not elected, though {token} handed over to it"
                )
            })?;
            let elected = self.elected.get(election).into_iter().flatten();
            let later: Vec<_> = elected.filter(|(other, _)| *other > token).map(|(_, name)| name).collect();
            let place = later.iter().position(|other| *other == campaign);
            check(place.is_none_or(|place| place == 0), HANDED_OVER, || {
                format!("{election}: {token} handed over to {campaign}, and {} is elected", later[0])
            })?;
        }
        Ok(())
    }

    fn verify_queue(&self, election: &str, queue: &[String]) -> Result<(), Failure> {
        let Some(elected) = self.elected.get(election) else { return Ok(()) };
        let token_of = |campaign: &String| elected.iter().find(|(_, other)| *other == campaign);
        let has_kept_place =
            |campaign: &&String| !self.repeated.contains(*campaign) && !self.chosen.contains(*campaign);
        let tokens: Vec<_> = queue.iter().filter(has_kept_place).filter_map(token_of).collect();
        check(tokens.is_sorted(), IN_ORDER, || {
            format!("{election}: {queue:?} wait, and are elected as {tokens:?}")
        })
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
        elections.elected("e", 5, "b");
        elections.elected("e", 6, "c");
        assert_eq!(elections.verify(), Ok(()), "the first has left");
        elections.elected("e", 7, "a");
        assert_eq!(elections.verify().unwrap_err().property, IN_ORDER);
        elections.repeated("a");
        assert_eq!(elections.verify(), Ok(()), "it may have lost its place");
    }

    #[test]
    fn another_leader_than_the_one_handed_over_to_is_noticed() {
        let mut elections = Elections::default();
        elections.elected("e", 5, "a");
        elections.chooses("c");
        elections.handed_over("e", 5, "c");
        assert_eq!(elections.verify(), Ok(()), "nobody knows yet");
        elections.elected("e", 8, "c");
        assert_eq!(elections.verify(), Ok(()));
        elections.elected("e", 7, "b");
        assert_eq!(elections.verify().unwrap_err().property, HANDED_OVER);
        let mut elections = Elections::default();
        elections.handed_over("e", 5, "c");
        elections.not_elected("c");
        assert_eq!(elections.verify().unwrap_err().property, HANDED_OVER);
    }
}
