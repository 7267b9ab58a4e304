//! Snapshots of a machine, whose checksums are made right, so that what is behind them is read.

use bytes::Bytes;
use quorate_machine::Machine;

use super::{Node, args, outcome};
use crate::Target;

pub(super) const TARGET: Target =
    Target { name: "snapshots", run, seeds, words: &[b"QUORATE\x01", b"\x02\x00"] };

/// The first bytes, as `crates/machine/src/snapshot.rs` draws them.
const MAGIC_BYTES: usize = 8;

fn run(input: &[u8]) -> Vec<u64> {
    let mut bytes = input.to_vec();
    mend_checksums(&mut bytes);
    let bytes = Bytes::from(bytes);
    let whole = Machine::restore([bytes.clone()]);
    let pieces = bytes.chunks(3).map(Bytes::copy_from_slice);
    let machine = match (whole, Machine::restore(pieces)) {
        (Ok(machine), Ok(other)) => {
            assert_eq!(machine.hash(), other.hash(), "cut into pieces it is another machine");
            machine
        }
        (Err(error), Err(other)) => {
            assert_eq!(error, other, "cut into pieces it has another error");
            return vec![outcome(error.to_string())];
        }
        (whole, pieces) => panic!("whole {:?}, in pieces {:?}", whole.err(), pieces.err()),
    };
    let mut node = Node { stamp_ms: machine.stamp().saturating_add(1), sequence: 0, machine };
    let keys = node.machine.stats().databases.iter().map(|database| database.keys).sum::<usize>();
    drop(node.restored());
    use_it(&mut node);
    vec![outcome((keys.min(5), bytes.len() / 16))]
}

/// A machine that was read is one that works.
fn use_it(node: &mut Node) {
    for words in [
        &[&b"DBSIZE"[..]][..],
        &[b"KEYS", b"*"],
        &[b"SCAN", b"0", b"COUNT", b"1000"],
        &[b"RANDOMKEY"],
        &[b"INFO"],
    ] {
        node.machine.read(node.stamp_ms, 0, &args(words));
    }
}

/// Gives each frame the checksum of its payload, as far as lengths fit.
fn mend_checksums(bytes: &mut [u8]) {
    let Some(mut rest) = bytes.get_mut(MAGIC_BYTES..) else { return };
    while let Some((head, behind)) = rest.split_first_chunk_mut::<8>() {
        let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let Some((payload, behind)) = behind.split_at_mut_checked(length as usize) else { return };
        head[4..].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
        rest = behind;
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let mut node = Node::new();
    let mut seeds = vec![image(&node)];
    for words in [
        &[&b"SET"[..], b"k", b"v", b"PX", b"50"][..],
        &[b"RPUSH", b"l", b"a", b"12", b"c"],
        &[b"HSET", b"h", b"f", b"1", b"g", b"2"],
        &[b"SADD", b"s", b"1", b"2", b"x"],
        &[b"ZADD", b"z", b"1.5", b"a", b"-inf", b"b"],
        &[b"EVAL", b"return 1", b"0"],
        &[b"BLPOP", b"none", b"0"],
        &[b"CONFIG", b"SET", b"notify-keyspace-events", b"KEA"],
    ] {
        node.command(0, &args(words));
        seeds.push(image(&node));
    }
    seeds
}

fn image(node: &Node) -> Vec<u8> {
    node.machine.snapshot().fold(Vec::new(), |image, chunk| [&image[..], &chunk].concat())
}
