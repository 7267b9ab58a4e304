//! A node whose disk has lost what it held: what it may do meanwhile, and what its operator is told.
//!
//! The engine knows when the log is whole again, and votes from then on. Clients are served from the data here, and the
//! folder counts as repaired, only when the machine has applied the log up to there: no less than before. If the process
//! ends in between, the folder is still under repair, and all of it is done again from more.

use std::time::Duration;

use quorate_consensus::{BootTime, Engine, Index, Membership, NodeId, engine::RepairStatus};

use crate::{
    driver::Driver,
    input::Now,
    output::{Level, LogTask},
};

/// How long a leader may be silent before an operator is told that nobody can be asked.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often they are told then.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);

/// Whether this node has all that it once had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repair {
    /// It has, as far as anybody knows.
    Over,
    /// Its log lacks something.
    Lacking {
        /// The goal that was last told.
        told: Option<Index>,
        /// When to complain that there is no leader.
        complain_at: BootTime,
    },
    /// Its log is whole, and its machine is to apply all up to here.
    Applying {
        /// The last entry of it.
        through: Index,
    },
}

impl Repair {
    pub(super) fn new(is_under_repair: bool, now: BootTime) -> Self {
        match is_under_repair {
            true => Self::Lacking { told: None, complain_at: now.after(PATIENCE) },
            false => Self::Over,
        }
    }

    pub(super) fn is_over(self) -> bool {
        self == Self::Over
    }

    /// What can be told, from what the engine tells and the machine has applied.
    pub(super) fn status(self, engine: Option<RepairStatus>, applied: Index) -> Option<RepairStatus> {
        match self {
            Self::Over => None,
            Self::Lacking { .. } => engine,
            Self::Applying { through } => Some(RepairStatus { matched: applied, goal: Some(through) }),
        }
    }
}

impl<E: Engine> Driver<E> {
    /// The engine may have got back all that was lost, up to an entry.
    pub(super) fn repaired(&mut self, through: Option<Index>) {
        if let Some(through) = through {
            self.repair = Repair::Applying { through };
            self.notice(
                Level::Info,
                format!("has on its disk again what was damaged, up to entry {through}: it may vote"),
            );
        }
    }

    /// Tells an operator how the repair stands.
    pub(super) fn tell_repair(&mut self, now: Now) {
        match self.repair {
            Repair::Over => {}
            Repair::Applying { through } => {
                if self.applied() >= through {
                    self.repair = Repair::Over;
                    // Not before: after a restart without the mark, readers of old data might find older ones.
                    self.out.log.push(LogTask::EndRepair);
                    self.notice(
                        Level::Info,
                        format!("is whole again: what was damaged is repaired, up to entry {through}"),
                    );
                }
            }
            Repair::Lacking { told, complain_at } => self.tell_lack(now, told, complain_at),
        }
    }

    fn tell_lack(&mut self, now: Now, told: Option<Index>, complain_at: BootTime) {
        let status = self.engine.status(now.boot);
        let Some(RepairStatus { goal, .. }) = status.repair else { return };
        let mut complain_at = complain_at;
        if let Some(goal) = goal.filter(|_| goal != told) {
            let here = status.last_index.min(goal);
            self.notice(Level::Info, format!("under repair: {here} of {goal} entries"));
        } else if self.role.leader.is_some() {
            complain_at = now.boot.after(PATIENCE);
        } else if complain_at <= now.boot {
            complain_at = now.boot.after(COMPLAINT_INTERVAL);
            self.notice(Level::Warn, lonely(&status.membership, self.config.node));
        }
        self.repair = Repair::Lacking { told: goal.or(told), complain_at };
    }
}

/// What `node` says that hears no leader: whom it waits for, and what is to be done if they do not come. The configuration
/// is the newest that is left, so it may be an old one.
fn lonely(membership: &Membership, node: NodeId) -> String {
    let others: Vec<String> =
        membership.electorate().filter(|&voter| voter != node).map(|voter| voter.0.to_string()).collect();
    let way_out = match &others[..] {
        [] if membership.is_voter(node) => {
            "by what is left of its log it is the only voter: unless others vote by now, nobody can give it back, and \
             quorate recover --force-new-cluster goes on with what is intact, here or on a learner whose log ends later"
                .to_owned()
        }
        // Of two, both acknowledge whatever is acknowledged, if a majority does. But the configuration may be an old one, or not committed.
        [other] if membership.is_voter(node) && membership.phase2_quorum.is_none() => format!(
            "it waits for node {other}, the only other voter, which can go on leading but is not elected without the vote \
             that this node does not give now; if it does not lead, stop both, and make a new cluster of it by quorate \
             recover --force-new-cluster there: it has all that was acknowledged, if these two are still the voters; that \
             command on each says where its log ends, and changes nothing before you confirm; if node {other} is lost for \
             ever, here it goes on with what is intact"
        ),
        _ => format!(
            "it waits for the voters {}: enough of all voters must run, this one not counted; if they are lost for \
             ever, quorate recover --force-new-cluster goes on with what is intact, and quorate snapshot restore with a \
             backup",
            others.join(", ")
        ),
    };
    format!("under repair, and hears no leader that could give back what is missing: {way_out}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_waits_says_for_whom_and_what_to_do_instead() {
        let of = |voters: &[u64]| Membership::of_voters(voters.iter().copied().map(NodeId));
        let says = |voters: &[u64]| lonely(&of(voters), NodeId(1));
        assert!(says(&[1, 2, 3]).contains("waits for the voters 2, 3: enough"));
        assert!(says(&[1, 2]).contains("waits for node 2, the only other voter"));
        assert!(says(&[1, 2]).contains("has all that was acknowledged, if these two are still the voters"));
        assert!(says(&[1]).contains("it is the only voter"));
        // One of the two may have acknowledged alone what the other does not have.
        let alone = Membership { phase2_quorum: Some(1), ..of(&[1, 2]) };
        assert!(!lonely(&alone, NodeId(1)).contains("has all that was acknowledged"));
        // A learner, of one voter.
        assert!(says(&[2]).contains("waits for the voters 2: enough"));
    }
}
