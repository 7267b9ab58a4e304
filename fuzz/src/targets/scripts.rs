//! Scripts: whatever their text is, they end within their budgets, and do the same on two machines.

use super::{Node, args, commands::arguments, outcomes, shape};
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "scripts",
    run,
    seeds,
    words: &[
        b"redis.call('",
        b"redis.pcall('",
        b"redis.error_reply(",
        b"redis.sha1hex(",
        b"redis.log(",
        b"return ",
        b"local ",
        b"for i=1,",
        b" do ",
        b" end ",
        b"while true ",
        b"repeat ",
        b" until ",
        b"function(",
        b"pcall(",
        b"error(",
        b"setmetatable(",
        b"{__index=",
        b"string.rep(",
        b"string.format('%",
        b"string.gsub(",
        b"string.find(",
        b"table.concat(",
        b"table.insert(",
        b"table.sort(",
        b"unpack(",
        b"select(",
        b"tostring(",
        b"tonumber(",
        b"next(",
        b"rawset(",
        b"cjson.encode(",
        b"cjson.decode(",
        b"cmsgpack.pack(",
        b"cmsgpack.unpack(",
        b"struct.pack('",
        b"struct.unpack('",
        b"bit.",
        b"math.",
        b"KEYS[1]",
        b"ARGV[1]",
        b"_G",
        b"nil",
        b"1e308",
        b"0/0",
        b"..",
        b"[[",
        b"]]",
        b"--",
        b"\n",
        b"(",
        b")",
        b"{",
        b"}",
        b"coroutine.",
    ],
};

/// The scripts that are compared with Redis.
fn seeds() -> Vec<Vec<u8>> {
    let files = [
        include_str!("../../../compat/cases/scripts.txt"),
        include_str!("../../../compat/cases/script_libraries.txt"),
    ];
    let lines = files.into_iter().flat_map(str::lines).filter(|line| line.starts_with("EVAL "));
    lines.filter_map(|line| Some(arguments(line.as_bytes())?.get(1)?.to_vec())).collect()
}

fn run(input: &[u8]) -> Vec<u64> {
    let (mut one, mut other) = (Node::new(), Node::new());
    other = other.restored();
    let eval = args(&[b"EVAL", input, b"2", b"k", b"l", b"1", b"abc"]);
    let replies = one.command(0, &eval);
    assert_eq!(replies, other.command(0, &eval), "two machines answer differently");
    assert_eq!(one.machine.hash(), other.machine.hash(), "two machines are different");
    // Once more, by a machine that has run it before.
    assert_eq!(
        one.command(0, &eval),
        other.restored().command(0, &eval),
        "a warm machine answers differently"
    );
    outcomes(replies.iter().map(shape))
}
