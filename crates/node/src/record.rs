//! How the engine's entries stand in the log: the kinds of payload, and the bytes of a configuration.

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_consensus::{Entry, HardState, Index, Membership, NodeId, Payload, Restored, SnapshotMeta, Term};
use quorate_log::{LogEntry, Recovered};

use crate::error::Error;

/// A log entry without payload.
pub(crate) const KIND_BLANK: u8 = 0;
/// A log entry that holds a batch of commands.
pub(crate) const KIND_COMMAND: u8 = 1;
/// A log entry that holds a configuration.
pub(crate) const KIND_MEMBERSHIP: u8 = 2;

/// The bytes of a configuration: format 1, then voters and learners, each a count and that many node ids, all
/// little-endian.
#[must_use]
pub fn encode_membership(membership: &Membership) -> Bytes {
    let mut bytes = BytesMut::with_capacity(9 + 8 * membership.len());
    bytes.put_u8(MEMBERSHIP_FORMAT);
    for nodes in [&membership.voters, &membership.learners] {
        bytes.put_u32_le(u32::try_from(nodes.len()).expect("a cluster has few members"));
        nodes.iter().for_each(|node| bytes.put_u64_le(node.0));
    }
    bytes.freeze()
}

const MEMBERSHIP_FORMAT: u8 = 1;

/// The configuration in `bytes`.
///
/// # Errors
/// If they are not exactly what [`encode_membership`] makes.
pub fn decode_membership(bytes: &Bytes) -> Result<Membership, Error> {
    let mut rest = bytes.clone();
    if rest.try_get_u8().ok() != Some(MEMBERSHIP_FORMAT) {
        return Err(Error::Malformed { what: "a configuration of an unknown format" });
    }
    let membership = Membership { voters: decode_nodes(&mut rest)?, learners: decode_nodes(&mut rest)? };
    if rest.has_remaining() {
        return Err(Error::Malformed { what: "bytes behind a configuration" });
    }
    Ok(membership)
}

fn decode_nodes(bytes: &mut Bytes) -> Result<BTreeSet<NodeId>, Error> {
    let cut_short = |_| Error::Malformed { what: "a configuration that is cut short" };
    let count = bytes.try_get_u32_le().map_err(cut_short)?;
    (0..count).map(|_| bytes.try_get_u64_le().map(NodeId).map_err(cut_short)).collect()
}

/// What the engine continues with, from what the log has recovered.
///
/// # Errors
/// If the log holds something that this version does not know.
pub fn restored(recovered: Recovered) -> Result<Restored, Error> {
    let Recovered { identity, hard_state, snapshot, entries, .. } = recovered;
    let hard_state = HardState {
        term: Term(hard_state.term),
        vote: (hard_state.vote != 0).then_some(NodeId(hard_state.vote)),
        commit: Index(hard_state.commit),
    };
    let snapshot = snapshot
        .map(|header| {
            let membership = decode_membership(&header.membership)?;
            let stamp = quorate_consensus::ClusterTime { millis: header.stamp };
            let (index, term) = (Index(header.index), Term(header.term));
            Ok::<_, Error>(SnapshotMeta { index, term, stamp, membership, bytes: header.bytes })
        })
        .transpose()?;
    let birth =
        if identity.birth.is_empty() { Membership::default() } else { decode_membership(&identity.birth)? };
    let entries = entries.into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(Restored { hard_state, snapshot, birth, entries })
}

fn entry(entry: LogEntry) -> Result<Entry, Error> {
    let payload = match entry.kind {
        KIND_BLANK => Payload::Blank,
        KIND_COMMAND => Payload::Command(entry.payload),
        KIND_MEMBERSHIP => Payload::Membership(decode_membership(&entry.payload)?),
        _ => {
            return Err(Error::Malformed {
                what: "a log entry of an unknown kind: was it written by a newer version?",
            });
        }
    };
    let stamp = quorate_consensus::ClusterTime { millis: entry.stamp };
    Ok(Entry { index: Index(entry.index), term: Term(entry.term), stamp, payload })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn configuration_has_these_bytes() {
        let membership = Membership { voters: [NodeId(1), NodeId(2)].into(), learners: [NodeId(258)].into() };
        let bytes = encode_membership(&membership);
        assert_eq!(
            bytes[..],
            [
                1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0, 0, 0, 0,
                0, 0
            ]
        );
        assert_eq!(decode_membership(&bytes).expect("what was encoded"), membership);
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_panic(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            if let Ok(membership) = decode_membership(&bytes) {
                prop_assert_eq!(encode_membership(&membership).len(), bytes.len());
            }
        }
    }
}
