//! How the engine's entries stand in the log: the kinds of payload, and the bytes of a configuration.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use quorate_consensus::{
    Address, Entry, HardState, Index, Lease, Membership, NodeId, Payload, Restored, SnapshotMeta, Term,
    Uncounted,
};
use quorate_log::{Identity, LogEntry, Recovered};

use crate::error::Error;

/// A log entry without payload.
pub(crate) const KIND_BLANK: u8 = 0;
/// A log entry that holds a batch of commands.
pub(crate) const KIND_COMMAND: u8 = 1;
/// A log entry that holds a configuration.
pub(crate) const KIND_MEMBERSHIP: u8 = 2;

/// The bytes of a configuration, as `docs/log-format.md` draws them.
#[must_use]
pub fn encode_membership(membership: &Membership) -> Bytes {
    let Membership { voters, outgoing, learners, promotions, ids_used, addresses, lease, .. } = membership;
    let quorums = [membership.phase2_quorum, membership.outgoing_phase2_quorum];
    let format = if quorums == [None; 2] { MEMBERSHIP_FORMAT } else { FLEXIBLE_FORMAT };
    let (witnesses, set_aside) = (&membership.witnesses().collect(), &membership.set_aside().collect());
    let mut bytes = BytesMut::new();
    bytes.put_u8(format);
    for nodes in [voters, outgoing, learners, witnesses, set_aside] {
        bytes.put_u32_le(count(nodes.len()));
        nodes.iter().for_each(|node| bytes.put_u64_le(node.0));
    }
    bytes.put_u32_le(count(promotions.len()));
    for (node, place) in promotions {
        bytes.put_u64_le(node.0);
        bytes.put_u64_le(place.map_or(0, |place| place.0));
    }
    bytes.put_u64_le(*ids_used);
    bytes.put_u32_le(count(addresses.len()));
    for (node, address) in addresses {
        bytes.put_u64_le(node.0);
        bytes.put_u32_le(count(address.0.len()));
        bytes.put_slice(address.0.as_bytes());
    }
    bytes.put_u32_le(lease.map_or(0, |lease| lease.millis));
    bytes.put_u32_le(lease.map_or(0, |lease| lease.drift_ppm));
    if format == FLEXIBLE_FORMAT {
        quorums.into_iter().for_each(|quorum| bytes.put_u8(quorum.unwrap_or_default()));
    }
    bytes.freeze()
}

const MEMBERSHIP_FORMAT: u8 = 4;
/// The same with quorums that are not all majorities. A program that does not know of them must not count by others.
const FLEXIBLE_FORMAT: u8 = 5;

fn count(members: usize) -> u32 {
    u32::try_from(members).expect("a cluster has few members, with short addresses")
}

/// The configuration in `bytes`.
///
/// # Errors
/// If they are not exactly what [`encode_membership`] makes of a sound configuration.
pub fn decode_membership(bytes: &Bytes) -> Result<Membership, Error> {
    let mut rest = bytes.clone();
    let is_flexible = match rest.try_get_u8() {
        Ok(MEMBERSHIP_FORMAT) => false,
        Ok(FLEXIBLE_FORMAT) => true,
        Ok(_) | Err(_) => return Err(Error::Malformed { what: "a configuration of an unknown format" }),
    };
    let mut membership = Membership {
        voters: decode_nodes(&mut rest)?,
        outgoing: decode_nodes(&mut rest)?,
        learners: decode_nodes(&mut rest)?,
        uncounted: decode_uncounted(&mut rest)?,
        promotions: decode_promotions(&mut rest)?,
        ids_used: decode_number(&mut rest)?,
        addresses: decode_addresses(&mut rest)?,
        lease: decode_lease(&mut rest)?,
        ..Membership::default()
    };
    if is_flexible {
        membership.phase2_quorum = decode_quorum(&mut rest)?;
        membership.outgoing_phase2_quorum = decode_quorum(&mut rest)?;
    }
    membership.check().map_err(|what| Error::Malformed { what })?;
    // A node that is listed twice, say, or bytes behind the end.
    if encode_membership(&membership) != bytes {
        return Err(Error::Malformed { what: "a configuration with more than it needs" });
    }
    Ok(membership)
}

fn decode_count(bytes: &mut Bytes) -> Result<u32, Error> {
    bytes.try_get_u32_le().map_err(|_| CUT_SHORT)
}

fn decode_number(bytes: &mut Bytes) -> Result<u64, Error> {
    bytes.try_get_u64_le().map_err(|_| CUT_SHORT)
}

fn decode_nodes(bytes: &mut Bytes) -> Result<BTreeSet<NodeId>, Error> {
    (0..decode_count(bytes)?).map(|_| decode_number(bytes).map(NodeId)).collect()
}

fn decode_uncounted(bytes: &mut Bytes) -> Result<BTreeMap<NodeId, Uncounted>, Error> {
    let witnesses = decode_nodes(bytes)?.into_iter().map(|node| (node, Uncounted::Witness));
    let set_aside = decode_nodes(bytes)?.into_iter().map(|node| (node, Uncounted::SetAside));
    Ok(witnesses.chain(set_aside).collect())
}

fn decode_promotions(bytes: &mut Bytes) -> Result<BTreeMap<NodeId, Option<NodeId>>, Error> {
    let promotion = |bytes: &mut Bytes| {
        let (node, place) = (decode_number(bytes)?, decode_number(bytes)?);
        Ok((NodeId(node), (place != 0).then_some(NodeId(place))))
    };
    (0..decode_count(bytes)?).map(|_| promotion(bytes)).collect()
}

fn decode_addresses(bytes: &mut Bytes) -> Result<BTreeMap<NodeId, Address>, Error> {
    let address = |bytes: &mut Bytes| {
        let node = NodeId(decode_number(bytes)?);
        let length = usize::try_from(decode_count(bytes)?).unwrap_or(usize::MAX);
        if length > bytes.len() {
            return Err(CUT_SHORT);
        }
        let text = bytes.split_to(length);
        let text = std::str::from_utf8(&text)
            .map_err(|_| Error::Malformed { what: "a configuration with an address that is no text" })?;
        Ok((node, Address(text.into())))
    };
    (0..decode_count(bytes)?).map(|_| address(bytes)).collect()
}

fn decode_lease(bytes: &mut Bytes) -> Result<Option<Lease>, Error> {
    let (millis, drift_ppm) = (decode_count(bytes)?, decode_count(bytes)?);
    Ok((millis != 0).then_some(Lease { millis, drift_ppm }))
}

fn decode_quorum(bytes: &mut Bytes) -> Result<Option<u8>, Error> {
    let quorum = bytes.try_get_u8().map_err(|_| CUT_SHORT)?;
    Ok((quorum != 0).then_some(quorum))
}

const CUT_SHORT: Error = Error::Malformed { what: "a configuration that is cut short" };

/// What the engine continues with, from what the log has recovered.
///
/// # Errors
/// If the log holds something that this version does not know.
pub fn restored(recovered: Recovered) -> Result<Restored, Error> {
    let Recovered { identity, hard_state, snapshot, entries, under_repair, .. } = recovered;
    let hard_state = HardState {
        term: Term(hard_state.term),
        vote: (hard_state.vote != 0).then_some(NodeId(hard_state.vote)),
        commit: Index(hard_state.commit),
    };
    let snapshot = snapshot
        .map(|header| {
            let membership = decode_membership(&header.membership)?.into();
            let stamp = quorate_consensus::ClusterTime { millis: header.stamp };
            let (index, term) = (Index(header.index), Term(header.term));
            Ok::<_, Error>(SnapshotMeta { index, term, stamp, membership, bytes: header.bytes })
        })
        .transpose()?;
    let birth = birth(&identity)?;
    let entries = entries.into_iter().map(entry).collect::<Result<_, _>>()?;
    Ok(Restored { hard_state, snapshot, birth, entries, under_repair: under_repair.is_some() })
}

/// The configuration that a node's cluster was born with; nobody for a node that has joined later.
///
/// # Errors
/// If the folder says what this version does not know.
pub fn birth(identity: &Identity) -> Result<Membership, Error> {
    if identity.birth.is_empty() { Ok(Membership::default()) } else { decode_membership(&identity.birth) }
}

fn entry(entry: LogEntry) -> Result<Entry, Error> {
    let payload = match entry.kind {
        KIND_BLANK => Payload::Blank,
        KIND_COMMAND => Payload::Command(entry.payload),
        KIND_MEMBERSHIP => Payload::Membership(Box::new(decode_membership(&entry.payload)?)),
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
        let membership = Membership {
            voters: [NodeId(1), NodeId(3), NodeId(5)].into(),
            outgoing: [NodeId(1), NodeId(2)].into(),
            learners: [NodeId(4), NodeId(258)].into(),
            promotions: [(NodeId(4), Some(NodeId(3))), (NodeId(258), None)].into(),
            ids_used: 259,
            addresses: [(NodeId(3), Address("h:1".into()))].into(),
            lease: Some(Lease { millis: 258, drift_ppm: 1 }),
            uncounted: [(NodeId(5), Uncounted::Witness), (NodeId(1), Uncounted::SetAside)].into(),
            ..Membership::default()
        };
        let bytes = encode_membership(&membership);
        let number = |number: u16| [&number.to_le_bytes()[..], &[0; 6]].concat();
        let expected = [
            &[4, 3, 0, 0, 0][..],
            &number(1),
            &number(3),
            &number(5),
            &[2, 0, 0, 0],
            &number(1),
            &number(2),
            &[2, 0, 0, 0],
            &number(4),
            &number(258),
            &[1, 0, 0, 0],
            &number(5),
            &[1, 0, 0, 0],
            &number(1),
            &[2, 0, 0, 0],
            &number(4),
            &number(3),
            &number(258),
            &number(0),
            &number(259),
            &[1, 0, 0, 0],
            &number(3),
            b"\x03\0\0\0h:1",
            &[2, 1, 0, 0, 1, 0, 0, 0],
        ];
        assert_eq!(bytes, expected.concat());
        assert_eq!(decode_membership(&bytes).expect("what was encoded"), membership);
    }

    #[test]
    fn configuration_with_flexible_quorums_has_these_bytes() {
        let five = Membership::of_voters((1..=5).map(NodeId));
        let plain = encode_membership(&five);
        let flexible = Membership { phase2_quorum: Some(2), ..five };
        let joint = Membership { outgoing: flexible.voters.clone(), ..flexible.clone() };
        let joint = Membership { phase2_quorum: None, outgoing_phase2_quorum: Some(4), ..joint };
        let bytes = encode_membership(&flexible);
        assert_eq!(bytes, [b"\x05", &plain[1..], b"\x02\0"].concat());
        assert!(encode_membership(&joint).ends_with(b"\0\x04"));
        for membership in [flexible, joint] {
            assert_eq!(decode_membership(&encode_membership(&membership)).unwrap(), membership);
        }
        let needless = [b"\x05", &plain[1..], &[0; 2]].concat();
        assert!(decode_membership(&needless.into()).is_err(), "one configuration has one form");
    }

    #[test]
    fn configuration_that_no_change_leads_to_is_refused() {
        let twice = Membership { learners: [NodeId(1)].into(), ..Membership::of_voters([NodeId(1)]) };
        let error = decode_membership(&encode_membership(&twice)).unwrap_err();
        assert!(error.to_string().contains("a voter is a learner"), "{error}");
        let mut longer = encode_membership(&Membership::of_voters([NodeId(1)])).to_vec();
        longer.push(0);
        assert!(decode_membership(&longer.into()).is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_refused_without_panic(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            if let Ok(membership) = decode_membership(&bytes) {
                prop_assert_eq!(encode_membership(&membership), bytes);
            }
        }
    }
}
