//! Disks that lose what they once held, and nodes that know.

use quorate_consensus::{HardState, Index, NodeId};

use super::{ClusterOf, Image, Subject};

impl<E: Subject> ClusterOf<E> {
    /// The disk of a node that is down turns out to be damaged: of its log only the entries up to `keep` are left, and
    /// its snapshot only if `keeps_snapshot`.
    pub(crate) fn damage(&mut self, id: NodeId, keep: Index, keeps_snapshot: bool) {
        let node = self.node_mut(id);
        assert!(node.engine.is_none(), "{id} is up");
        let image = node.durable.clone();
        node.lost.get_or_insert(image);
        node.durable.truncate(keep.next());
        if !keeps_snapshot && node.snapshot.take().is_some() {
            node.durable.entries.clear();
        }
        let base = node.snapshot.as_ref().map_or(Index(0), |(meta, _)| meta.index);
        let last = node.durable.entries.last().map_or(base, |entry| entry.index);
        // It knew more of a log that is gone, and may have been another.
        node.durable.hard_state.commit = node.durable.hard_state.commit.min(last).max(base);
        self.trace.push(format!("{id} has lost all after {last}"));
    }

    /// Whether some disk has lost what others may count on.
    pub(crate) fn has_damage(&self) -> bool {
        self.nodes.values().any(|node| node.lost.is_some())
    }

    /// The same, of the record of its last truncation and all behind it: what was truncated is back.
    pub(crate) fn damage_truncation(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let earlier = node.untruncated.take().expect("a node that has truncated something");
        let commit = earlier.hard_state.commit;
        let image = Image { hard_state: HardState { commit, ..node.durable.hard_state }, ..earlier };
        node.lost = Some(std::mem::replace(&mut node.durable, image));
        self.trace.push(format!("{id} has lost a truncation, and all after it"));
    }

    /// A node says that it has all that it ever acknowledged.
    pub(super) fn repaired(&mut self, id: NodeId) {
        let lost = self.node_mut(id).lost.take().expect("a node that was under repair");
        let node = &self.nodes[&id];
        let covered = node.snapshot.as_ref().map_or(Index(0), |(meta, _)| meta.index);
        for entry in lost.entries.iter().filter(|entry| self.history.get(&entry.index) == Some(entry)) {
            let is_there = entry.index <= covered || node.durable.holds(entry);
            assert!(is_there, "{id} calls itself whole without {}", entry.index);
        }
    }
}
