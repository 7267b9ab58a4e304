//! What scripts read by their libraries: JSON, MessagePack, packed structures, patterns.

use super::{Node, args, outcomes, shape};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "libraries",
    run,
    seeds: Vec::new,
    words: &[
        b"{\"a\":",
        b"[",
        b"]",
        b"}",
        b"null",
        b"1e999",
        b"\"\\u",
        b"\\ud83d",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xcb",
        b"\xdc\xff\xff",
        b"\x90",
        b"\x80",
        b"\x82",
        b">I4",
        b"<i8",
        b"s",
        b"c0",
        b"!8",
        b"d",
        b"%a+",
        b"%b()",
        b"(.-)",
        b"[^",
        b"%f[",
        b"*",
        b"%1",
        b".-.-.-.-.-",
    ],
};

/// Each reads the one argument; the reply says what came of it.
const READERS: [&[u8]; 8] = [
    b"return cjson.encode(cjson.decode(ARGV[1]))",
    b"return cmsgpack.pack(cmsgpack.unpack(ARGV[1]))",
    b"return {struct.unpack(ARGV[1], ARGV[1])}",
    b"return struct.pack(ARGV[1], 1, 'abc', -2, 3.5)",
    b"return struct.size(ARGV[1])",
    b"return {string.find(ARGV[1], ARGV[1])}",
    b"return string.gsub('the quick (brown) fox', ARGV[1], '%0')",
    b"return string.format(ARGV[1], 1, 2.5, 'x')",
];

fn run(input: &[u8]) -> Vec<u64> {
    let (mut one, mut other) = (Node::new(), Node::new());
    let mut shapes = Vec::new();
    for reader in READERS {
        let eval = args(&[b"EVAL", reader, b"0", input]);
        let replies = one.command(0, &eval);
        assert_eq!(replies, other.command(0, &eval), "two machines answer differently");
        shapes.extend(replies.iter().map(shape));
    }
    for words in [&[&b"KEYS"[..], input][..], &[b"SCAN", b"0", b"MATCH", input], &[b"CONFIG", b"GET", input]]
    {
        let command = args(words);
        shapes.extend(one.command(0, &command).iter().map(shape));
    }
    outcomes((0..).zip(shapes))
}
