//! What an operator wished of the members, and what it was told.
//!
//! Each configuration that was agreed on must have a reason: a wish that was not refused, the end of a joint one, or a
//! promotion that was promised. And each wish that was granted must have led to one that was settled before the answer.

use quorate_consensus::{Change, Membership, NodeId, Step};

use super::{
    Failure, check,
    members::{Committed, Members},
};

/// All wishes of one run.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    wishes: Vec<Wish>,
    /// What the operator knows of the cluster.
    pub(crate) view: View,
}

/// What an operator sees of a cluster.
#[derive(Debug, Default)]
pub(crate) struct View {
    /// The members, as last agreed on.
    pub(crate) present: Membership,
    /// How many machines there are, members or not.
    pub(crate) machines: u64,
    /// A member whose disk was wiped, and which has not been replaced.
    pub(crate) wiped: Option<NodeId>,
    /// Whether their engine knows other commit quorums than majorities.
    pub(crate) has_phase2_quorums: bool,
    /// How many entries are committed, and how many configurations were written, by now.
    pub(crate) committed: u64,
    pub(crate) written: usize,
}

#[derive(Debug)]
struct Wish {
    change: Change,
    /// How many entries were committed when it was sent.
    after: u64,
    fate: Fate,
    /// How many configurations had been written when it was answered.
    until: usize,
}

/// What became of a wish.
#[derive(Clone, Debug)]
pub(crate) enum Fate {
    /// Nobody knows, or not yet.
    Unknown,
    /// Nothing was changed by it, and nothing will be.
    Refused,
    /// It is in force and settled, and has added these members.
    Granted(Vec<NodeId>),
}

/// How often members changed in which way, and how often an operator was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemberCounts {
    /// Machines that became members.
    pub added: u64,
    /// Learners that became voters.
    pub promoted: u64,
    /// Voters whose place a learner took.
    pub replaced: u64,
    /// Voters that became learners.
    pub demoted: u64,
    /// Members that were removed, those that were replaced among them.
    pub removed: u64,
    /// Wishes that were refused.
    pub refused: u64,
    /// Wishes whose outcome nobody was told.
    pub unknown: u64,
}

impl MemberCounts {
    pub(crate) fn merge(&mut self, other: Self) {
        self.added += other.added;
        self.promoted += other.promoted;
        self.replaced += other.replaced;
        self.demoted += other.demoted;
        self.removed += other.removed;
        self.refused += other.refused;
        self.unknown += other.unknown;
    }

    /// Counts what leads from one configuration to the next.
    fn count(&mut self, before: &Membership, members: &Membership) {
        let promoted = members.voters.intersection(&before.learners);
        let places: Vec<NodeId> =
            promoted.clone().filter_map(|node| before.promotions.get(node).copied().flatten()).collect();
        let left = |&node: &NodeId| !members.voters.contains(&node) && !members.learners.contains(&node);
        let all_before = before.voters.union(&before.learners).copied();
        self.added += number(members.members().filter(|&node| !before.contains(node)));
        self.promoted += number(promoted);
        self.replaced += number(places.iter().filter(|node| left(node)));
        self.demoted += number(members.learners.intersection(&before.voters));
        self.removed += number(all_before.filter(left));
    }
}

fn number<T>(of: impl Iterator<Item = T>) -> u64 {
    of.count() as u64
}

impl Wishes {
    /// Remembers a wish that is about to be sent.
    pub(crate) fn wish(&mut self, change: Change) {
        self.wishes.push(Wish { change, after: self.view.committed, fate: Fate::Unknown, until: 0 });
    }

    /// The last wish has this fate.
    pub(crate) fn learn(&mut self, fate: Fate) {
        let wish = self.wishes.last_mut().expect("a wish is answered");
        (wish.fate, wish.until) = (fate, self.view.written);
    }

    /// Judges all wishes by the configurations that were agreed on.
    pub(crate) fn verify(&self, members: &Members) -> Result<MemberCounts, Failure> {
        let steps: Vec<_> = members.steps().collect();
        let mut counts = MemberCounts::default();
        for &(before, committed) in &steps {
            counts.count(before, &committed.members);
            check(self.is_wished_for(before, committed), "members change only by a wish", || {
                format!("entry {} leads from {before} to {}", committed.index, committed.members)
            })?;
        }
        for wish in &self.wishes {
            match &wish.fate {
                Fate::Unknown => counts.unknown += 1,
                Fate::Refused => counts.refused += 1,
                Fate::Granted(added) => {
                    let is_settled = |at: usize| wish.is_fulfilled_by(&steps[at..], added);
                    check((0..steps.len()).any(is_settled), "a change that was granted is in force", || {
                        format!("{} was granted and added {added:?}", wish.change)
                    })?;
                }
            }
        }
        Ok(counts)
    }

    fn is_wished_for(&self, before: &Membership, committed: &Committed) -> bool {
        let Committed { index, members, .. } = committed;
        let promised = before.promotions.keys().filter(|node| members.voters.contains(node));
        let promotion = Change(promised.map(|&node| Step::Promote { node }).collect());
        *members == before.settled()
            || members.setting_aside(before.set_aside()) == *before
            || before.apply(&promotion).as_ref() == Ok(members)
            || self.wishes.iter().any(|wish| {
                !matches!(wish.fate, Fate::Refused)
                    && wish.after < *index
                    && before.apply(&wish.change).as_ref() == Ok(members)
            })
    }
}

impl Wish {
    /// Whether the first of these steps is what was wished, and was settled before the answer.
    fn is_fulfilled_by(&self, steps: &[(&Membership, &Committed)], added: &[NodeId]) -> bool {
        let Some((&(before, first), rest)) = steps.split_first() else { return false };
        let end = if first.members.is_joint() { rest.first().map(|&(_, end)| end) } else { Some(first) };
        let newcomers: Vec<NodeId> = first.members.members().filter(|&node| !before.contains(node)).collect();
        first.index > self.after
            && before.apply(&self.change).as_ref() == Ok(&first.members)
            && newcomers == added
            && end.is_some_and(|end| end.order < self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(node: u64) -> Change {
        let purpose = quorate_consensus::Purpose::Learn;
        Change::of(Step::Add { node: Some(NodeId(node)), address: None, purpose })
    }

    /// A cluster of one node that another one has joined, and whether this is fit for what an operator was told.
    fn judge(wishes: &[(Change, Fate)]) -> Result<MemberCounts, Failure> {
        let birth = Membership::of_voters([NodeId(1)]);
        let mut members = Members::new(birth.clone());
        members.will_write(5, 1, &birth.apply(&add(2)).expect("a change that may be made"));
        members.commit(5, 1).expect("a configuration that follows from the birth's");
        let mut history = Wishes::default();
        for (change, fate) in wishes {
            history.wish(change.clone());
            history.view.written = members.written();
            history.learn(fate.clone());
        }
        history.verify(&members)
    }

    #[test]
    fn change_needs_a_wish_that_was_not_refused() {
        assert!(judge(&[(add(2), Fate::Unknown)]).is_ok());
        for wishes in [&[][..], &[(add(2), Fate::Refused)], &[(add(3), Fate::Unknown)]] {
            assert_eq!(judge(wishes).unwrap_err().property, "members change only by a wish");
        }
    }

    #[test]
    fn granted_wish_needs_its_change() {
        let granted = |node| (add(node), Fate::Granted(vec![NodeId(node)]));
        assert_eq!(judge(&[granted(2)]).map(|counts| counts.added), Ok(1));
        let others = (add(2), Fate::Granted(vec![NodeId(3)]));
        for wishes in [&[granted(2), granted(3)][..], &[others]] {
            assert_eq!(judge(wishes).unwrap_err().property, "a change that was granted is in force");
        }
    }
}
