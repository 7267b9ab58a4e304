//! Snapshots of test machines: made, sent in chunks, installed or refused.

use bytes::Bytes;
use quorate_consensus::{Index, Input, NodeId, SnapshotMeta, engine::SnapshotEffect};

use super::{ClusterOf, Subject};
use crate::snapshot::{decode, encode};

impl<E: Subject> ClusterOf<E> {
    /// The machine of `id` makes a snapshot of what it has applied; the log keeps `trailing` entries before it.
    pub(crate) fn make_snapshot(&mut self, id: NodeId, trailing: u64) {
        let node = &self.nodes[&id];
        if node.engine.is_none() {
            return;
        }
        let index = node.applied;
        let known = node.snapshot.as_ref().map_or(Index(0), |(meta, _)| meta.index);
        if index <= known {
            return;
        }
        let last = self.history[&index].clone();
        let data = encode(id, &node.machine);
        let membership = self.membership_at(index).into();
        let bytes = data.len() as u64;
        let meta = SnapshotMeta { index, term: last.term, stamp: last.stamp, membership, bytes };
        self.node_mut(id).snapshot = Some((meta.clone(), data));
        let keep_from = Index((index.0 + 1).saturating_sub(trailing));
        self.input(id, Input::SnapshotMade { meta, keep_from });
    }

    pub(super) fn snapshot_work(&mut self, id: NodeId, effect: SnapshotEffect) {
        let answer = match effect {
            SnapshotEffect::Load { to, meta, offset, bytes } => self.load(id, to, meta, offset, bytes),
            SnapshotEffect::Store { meta, offset, data } => {
                let incoming = &mut self.node_mut(id).incoming;
                if offset == 0 {
                    incoming.clear();
                }
                assert_eq!(incoming.len() as u64, offset, "a chunk was stored out of place");
                incoming.extend_from_slice(&data);
                let end = incoming.len() as u64;
                self.trace.push(format!("{id} stores {end}/{} of snapshot {}", meta.bytes, meta.index));
                Input::SnapshotStored { meta, end }
            }
            SnapshotEffect::Install { meta } => {
                let node = self.node_mut(id);
                assert!(node.writes.iter().all(|write| write.entries.is_empty()), "installed amid writes");
                node.installing = Some(meta);
                return;
            }
        };
        self.input(id, answer);
    }

    /// Completes the installation of a snapshot.
    pub(crate) fn install(&mut self, id: NodeId) -> bool {
        let node = self.node_mut(id);
        let Some(meta) = node.installing.take() else { return false };
        assert!(
            node.writes.iter().all(|write| write.entries.is_empty()),
            "wrote entries amid an installation"
        );
        assert!(
            node.applied < meta.index,
            "applied {} amid the installation of {}",
            node.applied,
            meta.index
        );
        let data = std::mem::take(&mut node.incoming);
        node.machine = decode(&data);
        node.applied = meta.index;
        node.durable.install(&meta);
        node.submitted.install(&meta);
        node.snapshot = Some((meta.clone(), data));
        self.trace.push(format!("{id} installs snapshot {}@{}", meta.index, E::term_text(meta.term)));
        self.check_machine(id);
        self.input(id, Input::SnapshotInstalled { meta });
        true
    }

    /// The snapshot that a node installs turns out to be no good.
    pub(crate) fn reject(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        let meta = node.installing.take().expect("a snapshot is being installed");
        self.trace.push(format!("{id} rejects snapshot {}@{}", meta.index, E::term_text(meta.term)));
        self.input(id, Input::SnapshotRejected { meta });
    }

    fn load(
        &mut self,
        id: NodeId,
        to: NodeId,
        wanted: Option<SnapshotMeta>,
        offset: u64,
        bytes: usize,
    ) -> Input<E::Message> {
        match &self.nodes[&id].snapshot {
            Some((meta, data)) if wanted.as_ref().is_none_or(|wanted| wanted == meta) => {
                let from = usize::try_from(offset).expect("small");
                let data = Bytes::copy_from_slice(&data[from..data.len().min(from + bytes)]);
                Input::SnapshotLoaded { to, meta: meta.clone(), offset, data }
            }
            Some(_) | None => Input::SnapshotMissing { to },
        }
    }
}
