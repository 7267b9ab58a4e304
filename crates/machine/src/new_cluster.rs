//! A new cluster that begins with an old one's data: restored from a backup, or recovered by the last survivor.
//!
//! What clients own comes along: keys with their deadlines and tokens, settings, scripts, and cluster time, from which
//! deadlines go on. What belongs to the old cluster's nodes does not:
//!
//! * **Sessions.** The new cluster counts its nodes and their starts anew. Were an old session kept, the first commands
//!   of a new node might pass for its namesake's, and be answered from what was retained instead of applied.
//! * **Those who wait.** The connections that they would be answered on are gone, and what they took would reach nobody.
//! * **The calendar.** Cluster time stood still since, and the calendar must not: it goes on from the present.
//!
//! The fencing counter is raised above every token that the old cluster can have given out since, as far as its clocks
//! and ours are right: a token is never greater than the time of its giving allows (DESIGN section 6), unless more than
//! a million were given a second. Whoever knows better says so.

use crate::keyspace::BASE_MAX;
use crate::machine::Machine;
use crate::session::Sessions;
use crate::waiting::Waiting;

/// Fencing tokens begin at Unix seconds times this: room for a million a second.
pub const FENCE_PER_SECOND: u64 = 1 << 20;

/// The greatest [`NewCluster::fence_above`]: half of all tokens always remain to be given out.
pub const FENCE_ABOVE_MAX: u64 = BASE_MAX;

/// What a new cluster is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewCluster {
    /// Its id: random, and not 0. The same for all of its nodes.
    pub cluster_id: u128,
    /// The time by the wall clock, in milliseconds since 1970; the same for all nodes.
    pub wall_ms: u64,
    /// Tokens are to be greater than this; 0 if the wall clock may decide. At most [`FENCE_ABOVE_MAX`].
    pub fence_above: u64,
}

impl Machine {
    /// Makes this the first state of a new cluster. Depends on nothing but the state and `new`: machines that were equal
    /// stay so.
    ///
    /// # Panics
    /// If an entry is under way, the id is 0, or `fence_above` is too large.
    pub fn begin_new_cluster(&mut self, new: &NewCluster) {
        assert!(!self.is_applying(), "a cluster begins between two entries");
        assert!(new.cluster_id != 0, "0 stands for an unborn cluster");
        assert!(new.fence_above <= FENCE_ABOVE_MAX, "{} leaves too few tokens", new.fence_above);
        let state = &mut self.state;
        state.cluster_id = Some(new.cluster_id);
        state.sessions = Sessions::default();
        state.keyspace.waiting = Waiting::default();
        let stamp_ms = i64::try_from(state.stamp.0).unwrap_or(i64::MAX);
        let present_ms = i64::try_from(new.wall_ms).unwrap_or(i64::MAX).saturating_sub(stamp_ms);
        // It never goes back, even if this clock is behind.
        state.calendar_offset_ms = state.calendar_offset_ms.max(present_ms);
        let by_clock = (new.wall_ms / 1000).saturating_mul(FENCE_PER_SECOND);
        state.keyspace.raise_fence(by_clock.max(new.fence_above));
        state.keyspace.skip_token();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::cluster_version::ClusterVersion;
    use crate::entry::{Batch, Group, Operation};
    use crate::identifiers::SessionId;
    use crate::machine::Outcome;
    use crate::reply::Reply;
    use crate::settings::Limits;

    const SESSION: SessionId = SessionId { node: 1, incarnation: 1 };
    const NEW: NewCluster = NewCluster { cluster_id: 8, wall_ms: 2_000_000, fence_above: 0 };

    fn apply(
        machine: &mut Machine,
        stamp_ms: u64,
        first_sequence: u64,
        operations: Vec<Operation>,
    ) -> Vec<Outcome> {
        let group = Group { session: SESSION, stream: 0, acked: 0, first_sequence, operations };
        let payload = Batch { version: ClusterVersion::FIRST, groups: vec![group] }.encode();
        let applied = machine.apply(machine.applied() + 1, stamp_ms, Some(&payload)).unwrap();
        applied.into_iter().map(|applied| applied.outcome).collect()
    }

    fn command(line: &str) -> Operation {
        let args = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        Operation::Command { db: 0, user: 0, args }
    }

    fn born() -> Machine {
        let mut machine = Machine::new(Limits::default());
        let birth = Operation::Birth { cluster_id: 7, fence_base: 50, calendar_ms: 1_000_000 };
        apply(&mut machine, 10, 0, vec![birth]);
        apply(&mut machine, 10, 0, vec![Operation::OpenSession]);
        machine
    }

    fn ask(machine: &mut Machine, line: &str) -> Reply {
        let args: Vec<_> = line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        machine.read(0, 0, &args)
    }

    #[test]
    fn what_clients_own_comes_along_and_what_nodes_own_does_not() {
        let mut machine = born();
        let commands = ["SET k v PX 500", "SCRIPT LOAD return", "CONFIG SET maxmemory 12345678", "BLPOP q 0"];
        apply(&mut machine, 20, 1, commands.map(command).to_vec());
        let before = machine.stats();
        assert_eq!((before.sessions, before.waiting, before.scripts), (1, 1, 1));

        machine.begin_new_cluster(&NEW);
        let after = machine.stats();
        assert_eq!((after.sessions, after.waiting, after.scripts, after.retained_replies), (0, 0, 1, 0));
        assert_eq!(machine.limits().data_bytes_max, 12_345_678);
        assert_eq!((machine.cluster_id(), machine.stamp(), machine.applied()), (Some(8), 20, 3));
        assert_eq!(ask(&mut machine, "PTTL k"), Reply::Integer(500));
        assert_eq!(machine.calendar_offset(), 2_000_000 - 20);
        // Who waited takes nothing from whoever pushes now.
        apply(&mut machine, 21, 0, vec![Operation::OpenSession]);
        apply(&mut machine, 21, 1, vec![command("RPUSH q element")]);
        assert_eq!(ask(&mut machine, "LLEN q"), Reply::Integer(1));
    }

    /// Node 1 in its first life is in both clusters. With the old session, its second command would have been taken for
    /// the old node's second, and answered OK without being carried out.
    #[test]
    fn a_new_node_is_not_taken_for_its_namesake() {
        let mut machine = born();
        let done = apply(&mut machine, 20, 1, vec![command("SET a old"), command("SET a older")]);
        assert!(done.iter().all(|outcome| *outcome == Outcome::Reply(Reply::ok())), "{done:?}");
        machine.begin_new_cluster(&NEW);
        let refused = apply(&mut machine, 21, 1, vec![command("SET a new")]);
        assert!(matches!(refused[..], [Outcome::Refused(_)]), "{refused:?}");
        apply(&mut machine, 22, 0, vec![Operation::OpenSession]);
        apply(&mut machine, 22, 1, vec![command("SET a new")]);
        assert_eq!(ask(&mut machine, "GET a"), Reply::bulk("new"));
    }

    #[test]
    fn tokens_grow_by_the_clock_by_the_old_ones_or_by_order() {
        let fence = |own: u64, new: NewCluster| {
            let mut machine = born();
            machine.state.keyspace.raise_fence(own);
            machine.begin_new_cluster(&new);
            machine.stats().fence
        };
        let by_clock = 2_000 * FENCE_PER_SECOND;
        assert_eq!(fence(0, NEW), by_clock + 1);
        assert_eq!(fence(by_clock + 70, NEW), by_clock + 71);
        assert_eq!(fence(0, NewCluster { fence_above: by_clock + 9, ..NEW }), by_clock + 10);
        assert_eq!(fence(0, NewCluster { fence_above: FENCE_ABOVE_MAX, ..NEW }), FENCE_ABOVE_MAX + 1);
    }

    #[test]
    fn a_clock_that_is_behind_does_not_turn_the_calendar_back() {
        let mut machine = born();
        let before = machine.calendar_offset();
        machine.begin_new_cluster(&NewCluster { wall_ms: 5, ..NEW });
        assert_eq!(machine.calendar_offset(), before);
    }

    proptest! {
        /// Each node of a restored cluster restores by itself.
        #[test]
        fn equal_states_begin_equal_clusters(keys in proptest::collection::vec(0..50_u8, 0..40), wall_ms: u64) {
            let mut machine = born();
            for (sequence, key) in (1..).zip(&keys) {
                apply(&mut machine, 20 + sequence, sequence, vec![command(&format!("SET {key} {sequence} PX 60"))]);
            }
            prop_assert_eq!(machine.stats().databases[0].keys == 0, keys.is_empty());
            let mut other = Machine::restore(machine.snapshot()).unwrap();
            let new = NewCluster { wall_ms: wall_ms / 4, ..NEW };
            machine.begin_new_cluster(&new);
            other.begin_new_cluster(&new);
            prop_assert_eq!(machine.hash(), other.hash());
            // And it is a state that a node can take up.
            let taken_up = Machine::restore(machine.snapshot()).unwrap();
            prop_assert_eq!(taken_up.hash(), machine.hash());
        }
    }
}
