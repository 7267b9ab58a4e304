//! The calendar: what `TIME` tells (DESIGN section 5).
//!
//! Time-outs run on cluster time, which knows no dates. The machine holds an offset from cluster time to the
//! calendar, and the leader moves it by entries of the log, following the median of its own wall clock and
//! those that a quorum of voters has told lately. Small differences are left alone, and larger ones are closed
//! in bounded steps until they are small, so that one wrong clock, or one that jumps, moves nothing. Only at the
//! beginning of a leadership, when the cluster may have been down, the calendar steps forward at once.
//!
//! Scripts keep the time of locks by it (symfony's, Redisson's). What was left alone stays so at the next step:
//! a step that closed it, too, would let the calendar gain on real time, and those locks end early.

use std::{collections::BTreeMap, time::Duration};

use quorate_consensus::{BootTime, ClusterTime, Membership, NodeId};

/// The leader's knowledge of wall clocks.
#[derive(Debug)]
pub(crate) struct Calendar {
    /// For each node its wall clock minus the leader's cluster time, and when that was learnt.
    samples: BTreeMap<NodeId, (i64, BootTime)>,
    stepped: bool,
    next_check: BootTime,
}

/// How often the offset is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// A difference that is left alone: more than a message takes, less than anybody reads off a date.
const TOLERANCE_MS: i64 = 100;
/// The most by which one check moves the offset: half a second a second, so the calendar never runs backwards.
const STEP_MS: i64 = 500;
/// A sample older than this is not believed any more.
const SAMPLE_AGE_MAX: Duration = Duration::from_secs(5);

impl Calendar {
    pub(crate) fn new(now: BootTime) -> Self {
        Self { samples: BTreeMap::new(), stepped: false, next_check: now.after(CHECK_INTERVAL) }
    }

    /// `node` has told its wall clock.
    pub(crate) fn heard(&mut self, node: NodeId, wall_ms: i64, at: ClusterTime, now: BootTime) {
        let cluster_ms = i64::try_from(at.millis).unwrap_or(i64::MAX);
        self.samples.insert(node, (wall_ms.saturating_sub(cluster_ms), now));
    }

    /// When [`Self::correction`] wants to be asked again.
    pub(crate) fn deadline(&self) -> BootTime {
        self.next_check
    }

    /// The offset that should be logged, if the present one is too far from a quorum's clocks.
    pub(crate) fn correction(
        &mut self,
        offset_ms: i64,
        membership: &Membership,
        now: BootTime,
    ) -> Option<i64> {
        if now < self.next_check {
            return None;
        }
        self.next_check = now.after(CHECK_INTERVAL);
        let (lower, upper) = self.median(membership, now)?;
        let target = offset_ms.clamp(lower, upper);
        let difference = target.saturating_sub(offset_ms);
        let excess = difference - difference.clamp(-TOLERANCE_MS, TOLERANCE_MS);
        let first = !std::mem::replace(&mut self.stepped, true);
        let farthest = if first { i64::MAX } else { STEP_MS };
        (excess != 0).then(|| offset_ms + excess.clamp(-STEP_MS, farthest))
    }

    /// The median of the voters' samples: of an even number the two in the middle, between which nothing is wrong.
    /// `None` unless a quorum has told its clock lately.
    fn median(&self, membership: &Membership, now: BootTime) -> Option<(i64, i64)> {
        let fresh = |node: NodeId| {
            self.samples
                .get(&node)
                .filter(|(_, at)| now.since(*at) <= SAMPLE_AGE_MAX)
                .map(|&(offset, _)| offset)
        };
        if !membership.has_quorum(|voter| fresh(voter).is_some()) {
            return None;
        }
        let mut offsets: Vec<i64> = membership.voters.iter().filter_map(|&voter| fresh(voter)).collect();
        offsets.sort_unstable();
        Some((offsets[(offsets.len() - 1) / 2], offsets[offsets.len() / 2]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime { micros: seconds * 1_000_000 }
    }

    fn members() -> Membership {
        Membership::of_voters([NodeId(1), NodeId(2), NodeId(3)])
    }

    fn hear(calendar: &mut Calendar, walls: [i64; 3], seconds: u64) {
        for (id, wall) in (1..).zip(walls) {
            calendar.heard(NodeId(id), wall, ClusterTime { millis: 0 }, at(seconds));
        }
    }

    #[test]
    fn one_wrong_clock_moves_nothing() {
        let mut calendar = Calendar::new(at(0));
        hear(&mut calendar, [1_000, 1_050, 900_000_000], 1);
        assert_eq!(calendar.correction(1_000, &members(), at(1)), None);
        hear(&mut calendar, [-900_000_000, 1_000, 1_050], 2);
        assert_eq!(calendar.correction(1_000, &members(), at(2)), None);
    }

    #[test]
    fn of_two_clocks_that_differ_neither_is_believed() {
        let mut calendar = Calendar::new(at(0));
        calendar.heard(NodeId(1), 1_000, ClusterTime { millis: 0 }, at(1));
        calendar.heard(NodeId(2), -900_000, ClusterTime { millis: 0 }, at(1));
        assert_eq!(calendar.correction(1_000, &members(), at(1)), None);
    }

    #[test]
    fn no_quorum_of_clocks_moves_nothing() {
        let mut calendar = Calendar::new(at(0));
        calendar.heard(NodeId(1), 99_000, ClusterTime { millis: 0 }, at(1));
        assert_eq!(calendar.correction(0, &members(), at(1)), None);
    }

    #[test]
    fn leadership_begins_with_a_step_forward_and_slews_from_then_on() {
        let mut calendar = Calendar::new(at(0));
        hear(&mut calendar, [60_000; 3], 1);
        assert_eq!(calendar.correction(0, &members(), at(1)), Some(59_900));
        hear(&mut calendar, [120_000; 3], 2);
        assert_eq!(calendar.correction(59_900, &members(), at(2)), Some(60_400));
    }

    /// A lock whose script compares `TIME` was lost 50 ms early: one failover had left the calendar a little behind,
    /// and the next one closed that, too.
    #[test]
    fn calendar_gains_nothing_on_real_time_by_failovers() {
        // What is lost of cluster time, as each of these leaders begins.
        let (mut offset_ms, mut lost_ms) = (0, 0);
        for failover_ms in [70, 90, 40, 400, 99, 1] {
            lost_ms += failover_ms;
            let behind_ms = lost_ms - offset_ms;
            let mut calendar = Calendar::new(at(0));
            hear(&mut calendar, [lost_ms; 3], 1);
            offset_ms = calendar.correction(offset_ms, &members(), at(1)).unwrap_or(offset_ms);
            assert!(lost_ms - offset_ms <= TOLERANCE_MS, "{} ms behind", lost_ms - offset_ms);
            let before_ms = behind_ms - failover_ms;
            assert!(lost_ms - offset_ms >= before_ms.min(TOLERANCE_MS), "gained on {before_ms} ms");
        }
    }

    #[test]
    fn calendar_that_is_ahead_is_only_slewed() {
        let mut calendar = Calendar::new(at(0));
        hear(&mut calendar, [1_000; 3], 1);
        assert_eq!(calendar.correction(60_000, &members(), at(1)), Some(59_500));
    }
}
