//! How the cluster's version rises (decision 0018).
//!
//! Each node tells the newest version to which it lets the cluster rise ([`Gossip::version`]): what its build knows, or
//! less while an operator holds it. A leader that has heard this lately of *all* members, learners and witnesses
//! included, logs an entry of the lowest of them, and writes all later entries in it.
//!
//! * Who is silent, or was out of reach since it told, may come back with an older build: nothing rises without it.
//! * Members count by the configuration that is agreed on and by the newest in the log, in force or not.
//! * Nothing falls: a node that tells less than what is active already can hold nothing any more, and says so.

use std::{collections::BTreeMap, time::Duration};

use quorate_consensus::{BootTime, Engine, Index, Membership, NodeId};
use quorate_machine::ClusterVersion;

use crate::{
    driver::{
        Driver,
        leading::{Leadership, SILENT_INTERVALS},
    },
    input::Now,
    output::Level,
    peer::Gossip,
};

/// What peers told last, and when.
type Told = BTreeMap<NodeId, (Gossip, BootTime)>;

/// The greatest version that all of `members` let the cluster rise to: none while one of them has not told it since
/// `since`. Of `this` it is `own`.
fn common(
    members: &Membership,
    (this, own): (NodeId, ClusterVersion),
    told: &Told,
    since: BootTime,
) -> Option<ClusterVersion> {
    let others = members.members().filter(|&member| member != this);
    let lately = |member: NodeId| told.get(&member).filter(|(_, at)| *at >= since);
    let versions = others.map(|member| lately(member).map(|(gossip, _)| gossip.version));
    versions.chain([Some(own)]).collect::<Option<Vec<_>>>()?.into_iter().min()
}

impl<E: Engine> Driver<E> {
    /// What this node tells the others: what is active it knows in any case.
    pub(super) fn told_version(&self) -> ClusterVersion {
        self.config.version.max(self.machine.version())
    }

    /// Has the cluster rise, if this node leads and all members let it.
    pub(super) fn rise_if_all_can(&mut self, now: Now) {
        let own = self.told_version();
        let Leadership::Leading(leader) = &mut self.leadership else { return };
        if own <= leader.intake.version() || !leader.intake.is_open() {
            return;
        }
        let newest = self.engine.status(now.boot).membership;
        let silence: Duration = self.config.gossip_interval * SILENT_INTERVALS;
        let since = now.boot.before(silence);
        let this = (self.config.node, own);
        let common = |members| common(members, this, &self.gossip, since);
        let Some(version) = common(&self.membership).min(common(&newest)) else { return };
        if version > leader.intake.version() {
            leader.intake.rise_to(version);
            self.notice(Level::Info, format!("all members know cluster version {version}: rises to it"));
        }
    }

    /// A peer may have ended: what it told of its build counts no more.
    pub(super) fn may_come_back_older(&mut self, peer: NodeId) {
        if let Some((gossip, _)) = self.gossip.get_mut(&peer) {
            gossip.version = ClusterVersion::FIRST;
        }
    }

    /// The machine has gone on from a state in which the version was `before`, by entry `index`.
    pub(super) fn tell_version(&mut self, before: ClusterVersion, index: Index) {
        let (active, held) = (self.machine.version(), self.config.version);
        if active <= before {
            return;
        }
        self.notice(Level::Info, format!("the cluster's version is {active}, as of entry {index}"));
        if held < active {
            let text =
                format!("the cluster's version is {active} already, and cannot be held at {held} any more");
            self.notice(Level::Warn, text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(versions: &[(u64, u16, u64)]) -> Told {
        let gossip = |version| Gossip {
            applied: Index(0),
            room: true,
            wall_ms: 0,
            followers: 0,
            commit: Index(0),
            version: ClusterVersion(version),
            sent: BootTime { micros: 0 },
            echo: None,
        };
        let told = |&(node, version, micros)| (NodeId(node), (gossip(version), BootTime { micros }));
        versions.iter().map(told).collect()
    }

    fn common_of(members: &Membership, versions: &[(u64, u16, u64)]) -> Option<u16> {
        let (own, since) = ((NodeId(1), ClusterVersion(3)), BootTime { micros: 50 });
        common(members, own, &told(versions), since).map(|version| version.0)
    }

    #[test]
    fn the_version_of_all_is_the_lowest_of_what_all_members_tell() {
        let members = Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]);
        assert_eq!(common_of(&members, &[(2, 2, 90), (3, 3, 90)]), Some(2));
        assert_eq!(common_of(&members, &[(2, 4, 90), (3, 4, 90)]), Some(3), "this node knows no more");
        assert_eq!(common_of(&members, &[(2, 3, 90), (3, 3, 90), (4, 1, 90)]), Some(3), "4 is no member");
        assert_eq!(common_of(&Membership::of_voters([NodeId(1)]), &[]), Some(3));
    }

    /// It may be starting with the program of before, just now.
    #[test]
    fn nothing_is_known_of_a_member_that_is_silent() {
        let members = Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)]);
        assert_eq!(common_of(&members, &[(2, 3, 90)]), None);
        assert_eq!(common_of(&members, &[(2, 3, 90), (3, 3, 49)]), None);
    }

    #[test]
    fn a_learner_counts_like_a_voter() {
        let learners = [NodeId(3)].into();
        let members = Membership { learners, ..Membership::of_voters([NodeId(1), NodeId(2)]) };
        assert_eq!(common_of(&members, &[(2, 3, 90)]), None);
        assert_eq!(common_of(&members, &[(2, 3, 90), (3, 1, 90)]), Some(1));
    }
}
