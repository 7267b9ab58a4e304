//! Commands, one a line, applied to a machine and to another that lives through snapshots.

use bytes::Bytes;
use quorate::resp::{Decoder, FrameLimits};
use quorate_machine::Machine;

use super::{Node, outcomes, shape};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "commands",
    run,
    seeds,
    words: &[
        b"\n",
        b" ",
        b"SET ",
        b"GET ",
        b"EVAL \"return redis.call(KEYS[1])\" 1 ",
        b"XX",
        b"NX",
        b"PX 1",
        b"-inf",
        b"nan",
        b"(1",
        b"[a",
        b"+",
        b"-",
        b"\"\"",
        b"WITHSCORES",
        b"LIMIT 0 -1",
        b"COUNT 0",
        b"MATCH *",
        b"BYSCORE",
        b"STORE k",
        b"\"\\x00\\xff\"",
        b"1e308",
        b"0x10",
        b" k",
        b" l",
        b" h",
        b" s",
        b" z",
        b"RENAME ",
        b"COPY ",
        b"DEL ",
        b"BLPOP ",
    ],
};

/// The databases that a command may be of; the last one does not exist.
const DATABASES: [u32; 4] = [0, 0, 1, u32::MAX];

fn run(input: &[u8]) -> Vec<u64> {
    let (mut one, mut other) = (Node::new(), Node::new());
    let mut shapes = Vec::new();
    for (number, line) in input.split(|&byte| byte == b'\n').enumerate() {
        let Some(args) = arguments(line) else { continue };
        let db = if line.ends_with(b"\t") { DATABASES[number % 4] } else { 0 };
        let (replies, others) = (one.command(db, &args), other.command(db, &args));
        // A read may be random, and depends on how many there were before.
        assert!(replies == others || Machine::is_read(&args), "two machines answer differently: {args:?}");
        shapes.extend(replies.first().map(|reply| (args[0].to_ascii_uppercase(), shape(reply))));
        if number % 4 == 3 {
            other = other.restored();
            (one.stamp_ms, other.stamp_ms) = (one.stamp_ms + 7, other.stamp_ms + 7);
        }
    }
    assert_eq!(one.machine.hash(), other.machine.hash(), "two machines are different");
    outcomes(shapes)
}

/// The words of a line, as a client would send them by hand.
pub(super) fn arguments(line: &[u8]) -> Option<Vec<Bytes>> {
    // An array is one of several lines.
    let line = line.strip_prefix(b"*").unwrap_or(line);
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.space(line.len() + 1).extend_from_slice(&[line, b"\n"].concat());
    decoder.next_command().ok()?.map(|frame| frame.arguments)
}

/// The sections of commands that are compared with Redis.
fn sections() -> impl Iterator<Item = Vec<u8>> {
    let files = [
        include_str!("../../../compat/cases/blocking.txt"),
        include_str!("../../../compat/cases/hashes.txt"),
        include_str!("../../../compat/cases/keys.txt"),
        include_str!("../../../compat/cases/lists.txt"),
        include_str!("../../../compat/cases/objects.txt"),
        include_str!("../../../compat/cases/sets.txt"),
        include_str!("../../../compat/cases/sorted_sets.txt"),
        include_str!("../../../compat/cases/strings.txt"),
    ];
    files.into_iter().flat_map(|text| text.split("\n== ")).map(|section| section.as_bytes().to_vec())
}

/// Each command of the table with some usual arguments, and what is compared with Redis.
fn seeds() -> Vec<Vec<u8>> {
    let set_up = "SET k v\nRPUSH l a b c\nHSET h f 1 g 2\nSADD s a b c\nZADD z 1 a 2 b 3 c";
    let usual =
        ["", "k", "l", "h", "s", "z", "k 1", "l 0 -1", "h f", "s a", "z a 1", "z 0 -1", "2 s z", "k v x y"];
    let of = |name: &str| {
        let lines = usual.map(|usual| format!("\n{name} {usual}"));
        format!("{set_up}{}", lines.concat()).into_bytes()
    };
    quorate_machine::all().map(|spec| of(spec.name)).chain(sections()).collect()
}
