//! Replies on the wire, as Redis 7 writes them.
//!
//! RESP3 has a type for each kind of reply. RESP2 has five, so there the others are told as the nearest of
//! them: a map or pairs as an array of twice the length, a double as a string, a boolean as 0 or 1. The two null kinds
//! differ in RESP2 only.

use bytes::{Bytes, BytesMut};
use quorate_machine::double;

use crate::handle::Reply;

/// The version of the protocol that a connection speaks; HELLO changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What every connection begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

impl Protocol {
    /// 2 or 3.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Resp2 => 2,
            Self::Resp3 => 3,
        }
    }
}

/// Appends the reply to `out`. The depth of its recursion is that of the reply, which the machine bounds.
pub fn encode(reply: &Reply, protocol: Protocol, out: &mut BytesMut) {
    put(reply, protocol, out);
}

/// How many bytes [`encode`] would append, found without allocating any of them.
#[must_use]
pub fn encoded_bytes(reply: &Reply, protocol: Protocol) -> usize {
    let mut bytes = Tally(0);
    put(reply, protocol, &mut bytes);
    bytes.0
}

/// Appends the head of an array of `items` replies, which the caller encodes one by one.
pub fn encode_array_head(items: usize, out: &mut BytesMut) {
    length(b'*', items, out);
}

/// Where a reply is written to: the bytes themselves, or only their number.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

struct Tally(usize);

impl Sink for Tally {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

fn put(reply: &Reply, protocol: Protocol, out: &mut impl Sink) {
    let resp3 = protocol == Protocol::Resp3;
    match reply {
        Reply::Null if resp3 => out.put(b"_\r\n"),
        Reply::NullArray if resp3 => out.put(b"_\r\n"),
        Reply::Null => out.put(b"$-1\r\n"),
        Reply::NullArray => out.put(b"*-1\r\n"),
        Reply::Status(text) => line(b'+', text, out),
        Reply::Error(text) => line(b'-', text, out),
        Reply::Integer(value) => number(b':', *value, out),
        Reply::Bulk(bytes) => bulk(bytes, out),
        Reply::Array(items) => sequence(b'*', items, protocol, out),
        Reply::Set(items) => sequence(if resp3 { b'~' } else { b'*' }, items, protocol, out),
        Reply::Push(items) => sequence(if resp3 { b'>' } else { b'*' }, items, protocol, out),
        Reply::Map(pairs) => map(pairs, protocol, out),
        Reply::Pairs(items) => pairs(items, protocol, out),
        Reply::Double(value) if resp3 => raw_line(b',', double::format(*value).as_bytes(), out),
        Reply::Double(value) => bulk(double::format(*value).as_bytes(), out),
        Reply::Boolean(value) if resp3 => raw_line(b'#', if *value { b"t" } else { b"f" }, out),
        Reply::Boolean(value) => number(b':', i64::from(*value), out),
        Reply::BigNumber(digits) if resp3 => raw_line(b'(', digits, out),
        Reply::BigNumber(digits) => bulk(digits, out),
        Reply::Verbatim(text) if resp3 => verbatim(text, out),
        Reply::Verbatim(text) => bulk(text, out),
    }
}

/// A line of text. A line break inside of it would end the reply too early, so it becomes a space, as in Redis.
fn line(kind: u8, text: &Bytes, out: &mut impl Sink) {
    if text.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        let text: Vec<u8> =
            text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
        raw_line(kind, &text, out);
    } else {
        raw_line(kind, text, out);
    }
}

fn raw_line(kind: u8, text: &[u8], out: &mut impl Sink) {
    out.put(&[kind]);
    out.put(text);
    out.put(b"\r\n");
}

fn number(kind: u8, value: i64, out: &mut impl Sink) {
    raw_line(kind, itoa::Buffer::new().format(value).as_bytes(), out);
}

fn length(kind: u8, length: usize, out: &mut impl Sink) {
    raw_line(kind, itoa::Buffer::new().format(length).as_bytes(), out);
}

fn bulk(bytes: &[u8], out: &mut impl Sink) {
    length(b'$', bytes.len(), out);
    out.put(bytes);
    out.put(b"\r\n");
}

fn verbatim(text: &[u8], out: &mut impl Sink) {
    length(b'=', text.len() + 4, out);
    out.put(b"txt:");
    out.put(text);
    out.put(b"\r\n");
}

fn sequence(kind: u8, items: &[Reply], protocol: Protocol, out: &mut impl Sink) {
    length(kind, items.len(), out);
    for item in items {
        put(item, protocol, out);
    }
}

fn map(pairs: &[(Reply, Reply)], protocol: Protocol, out: &mut impl Sink) {
    match protocol {
        Protocol::Resp2 => length(b'*', pairs.len() * 2, out),
        Protocol::Resp3 => length(b'%', pairs.len(), out),
    }
    for (key, value) in pairs {
        put(key, protocol, out);
        put(value, protocol, out);
    }
}

fn pairs(pairs: &[(Reply, Reply)], protocol: Protocol, out: &mut impl Sink) {
    match protocol {
        Protocol::Resp2 => length(b'*', pairs.len() * 2, out),
        Protocol::Resp3 => length(b'*', pairs.len(), out),
    }
    for (first, second) in pairs {
        if protocol == Protocol::Resp3 {
            length(b'*', 2, out);
        }
        put(first, protocol, out);
        put(second, protocol, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(reply: &Reply) -> (String, String) {
        let text = |protocol| {
            let mut out = BytesMut::new();
            encode(reply, protocol, &mut out);
            assert_eq!(encoded_bytes(reply, protocol), out.len(), "{reply:?}");
            out.escape_ascii().to_string().replace("\\r\\n", " ")
        };
        (text(Protocol::Resp2), text(Protocol::Resp3))
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn each_kind_of_reply_is_written_as_redis_writes_it() {
        let one = || Reply::Integer(1);
        let golden = [
            (Reply::Null, "$-1 ", "_ "),
            (Reply::NullArray, "*-1 ", "_ "),
            (Reply::Status(bytes("OK")), "+OK ", "+OK "),
            (Reply::Error(bytes("ERR x\r\ny")), "-ERR x  y ", "-ERR x  y "),
            (Reply::Integer(i64::MIN), ":-9223372036854775808 ", ":-9223372036854775808 "),
            (Reply::Bulk(bytes("a\0")), "$2 a\\x00 ", "$2 a\\x00 "),
            (Reply::Bulk(Bytes::new()), "$0  ", "$0  "),
            (Reply::Array(vec![]), "*0 ", "*0 "),
            (Reply::Array(vec![one(), Reply::Null]), "*2 :1 $-1 ", "*2 :1 _ "),
            (Reply::Map(vec![(one(), Reply::Boolean(true))]), "*2 :1 :1 ", "%1 :1 #t "),
            (Reply::Pairs(vec![(one(), Reply::Null)]), "*2 :1 $-1 ", "*1 *2 :1 _ "),
            (Reply::Pairs(vec![]), "*0 ", "*0 "),
            (Reply::Set(vec![one()]), "*1 :1 ", "~1 :1 "),
            (Reply::Push(vec![one()]), "*1 :1 ", ">1 :1 "),
            (Reply::Double(1.5), "$3 1.5 ", ",1.5 "),
            (Reply::Boolean(false), ":0 ", "#f "),
            (Reply::BigNumber(bytes("123")), "$3 123 ", "(123 "),
            (Reply::Verbatim(bytes("hey")), "$3 hey ", "=7 txt:hey "),
        ];
        for (reply, resp2, resp3) in golden {
            assert_eq!(wire(&reply), (resp2.to_owned(), resp3.to_owned()), "{reply:?}");
        }
    }
}
