//! What is promised to others is on the disk before they hear of it (hazards 5 to 7, 13).

use quorate_consensus::{Index, NodeId};

use super::{ClusterOf, Subject};

impl<E: Subject> ClusterOf<E> {
    pub(super) fn check_told(&self, from: NodeId, message: &E::Message) {
        let (term, index) = E::told(message);
        let node = &self.nodes[&from];
        let promised = node.durable.hard_state.term;
        assert!(
            term.is_none_or(|term| promised >= term),
            "{from} says {message}, and {} is on its disk",
            E::term_text(promised)
        );
        let snapshot = node.snapshot.as_ref().map_or(Index(0), |(meta, _)| meta.index);
        let held = node.durable.entries.last().map_or(snapshot, |last| last.index.max(snapshot));
        assert!(
            index.is_none_or(|index| held >= index),
            "{from} says {message}, and its disk ends at {held}"
        );
    }
}
