//! Requests of clients: how the stream is cut changes nothing, and no length costs memory before its bytes have come.

use quorate::resp::{Decoder, Frame, FrameLimits, ProtocolError, read_again};

use super::outcome;
use crate::Target;

pub(super) const TARGET: Target = Target {
    name: "resp",
    run,
    seeds: Vec::new,
    words: &[
        b"\r\n",
        b"*",
        b"$",
        b"*1\r\n",
        b"$1\r\nx\r\n",
        b"-1",
        b"\"",
        b"'",
        b"\\x",
        b" ",
        b"\n",
        b"*0\r\n",
        b"$0\r\n\r\n",
    ],
};

/// Small, so that inputs come to each of them.
const LIMITS: FrameLimits =
    FrameLimits { frame_bytes_max: 1024, arguments_max: 16, argument_bytes_max: 256, inline_bytes_max: 128 };

fn run(input: &[u8]) -> Vec<u64> {
    let whole = decode(input, std::iter::repeat(input.len().max(1)));
    assert_eq!(whole, decode(input, std::iter::repeat(1)), "byte by byte it is another request");
    // Pieces whose lengths are the input's own bytes.
    let pieces = input.iter().map(|&byte| usize::from(byte % 17) + 1).cycle();
    assert_eq!(whole, decode(input, pieces), "in pieces it is another request");
    let (frames, error) = whole;
    for Frame { arguments, bytes } in &frames {
        assert_eq!(read_again(bytes, usize::MAX), (arguments.clone(), arguments.len()), "read once more");
    }
    let shapes: Vec<_> = frames.iter().map(|frame| (frame.arguments.len(), frame.bytes[0] == b'*')).collect();
    vec![outcome((shapes.len().min(3), shapes.first().copied(), error.map(|error| error.to_string())))]
}

/// The requests in `input`, which arrives in pieces of these lengths, and what ended them.
fn decode(input: &[u8], mut pieces: impl Iterator<Item = usize>) -> (Vec<Frame>, Option<ProtocolError>) {
    let mut decoder = Decoder::new(LIMITS);
    let (mut frames, mut rest) = (Vec::new(), input);
    while !rest.is_empty() {
        let length = pieces.next().unwrap_or(1).min(rest.len());
        let (piece, behind) = rest.split_at(length);
        decoder.space(piece.len()).extend_from_slice(piece);
        rest = behind;
        loop {
            match decoder.next_command() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        let room = 4 * (input.len() + LIMITS.frame_bytes_max);
        assert!(decoder.allocated() <= room, "{} bytes are allocated", decoder.allocated());
    }
    (frames, None)
}
