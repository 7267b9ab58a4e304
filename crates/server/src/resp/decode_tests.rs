//! Tests of the decoder: examples first, then the properties.

use proptest::prelude::*;

use super::*;

const LIMITS: FrameLimits =
    FrameLimits { frame_bytes_max: 200, arguments_max: 5, argument_bytes_max: 100, inline_bytes_max: 60 };

/// Feeds the pieces one after the other: the commands in readable form, and the error that ended them.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<String>, Option<ProtocolError>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut commands = Vec::new();
    for piece in pieces {
        decoder.space(piece.len()).extend_from_slice(piece);
        loop {
            match decoder.next_command() {
                Ok(Some(frame)) => {
                    let count = frame.arguments.len();
                    assert_eq!(read_again(&frame.bytes, count), (frame.arguments.clone(), count));
                    let (first, all) = read_again(&frame.bytes, 1);
                    assert_eq!((&first[..], all), (&frame.arguments[..1], count));
                    commands.push(show(&frame.arguments));
                }
                Ok(None) => break,
                Err(error) => return (commands, Some(error)),
            }
        }
    }
    (commands, None)
}

fn show(arguments: &[Bytes]) -> String {
    arguments.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join("|")
}

fn whole(input: &[u8]) -> (Vec<String>, Option<ProtocolError>) {
    decode([input])
}

#[test]
fn a_pipeline_of_arrays_and_lines_is_taken_apart() {
    let input = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING 'x y'\r\n\r\n*0\r\n*-1\r\nECHO b\n*1\r\n$0\r\n\r\n";
    let commands = ["GET|a", "PING|x y", "ECHO|b", ""].map(String::from).to_vec();
    assert_eq!(whole(input), (commands, None));
}

#[test]
fn an_argument_may_hold_any_bytes() {
    assert_eq!(whole(b"*1\r\n$4\r\n\r\n\0\xff\r\n"), (vec![r"\r\n\x00\xff".into()], None));
}

#[test]
fn broken_frames_are_refused_in_the_words_of_redis() {
    let text = |input: &[u8]| whole(input).1.map(|error| error.to_string()).unwrap_or_default();
    for input in [
        &b"*x\r\n"[..],
        b"*1 \r\n",
        b"*+1\r\n",
        b"*01\r\n",
        b"*6\r\n",
        b"*99999999999999999999\r\n",
        b"*\r\n",
    ] {
        assert_eq!(text(input), "invalid multibulk length", "{}", input.escape_ascii());
    }
    for input in [&b"*1\r\n$-1\r\n"[..], b"*1\r\n$x\r\n", b"*1\r\n$101\r\n", b"*1\r\n$\r\n", b"*1\r\n$1\n"] {
        assert_eq!(text(input), "invalid bulk length", "{}", input.escape_ascii());
    }
    assert_eq!(text(b"*1\r\n:1\r\n"), "expected '$', got ':'");
    assert_eq!(text(b"*1\r\n$1\r\nab\r\n"), "expected CRLF after an argument");
    assert_eq!(text(b"PING \"x\r\n"), "unbalanced quotes in request");
}

#[test]
fn what_is_too_large_is_refused_before_it_has_arrived() {
    let text = |input: &[u8]| whole(input).1.map(|error| error.to_string()).unwrap_or_default();
    assert_eq!(text(&[b'x'; 61]), "too big inline request");
    assert_eq!(text(&[b'*'; 61]), "too big mbulk count string");
    assert_eq!(text(&[&b"*1\r\n$"[..], &[b'1'; 61]].concat()), "too big bulk count string");
    let two_large = [&b"*2\r\n$100\r\n"[..], &[b'x'; 100], b"\r\n$90\r\n"].concat();
    assert_eq!(text(&two_large), "too big request");
}

#[test]
fn an_error_is_final_and_frees_the_buffer() {
    let mut decoder = Decoder::new(LIMITS);
    decoder.space(0).extend_from_slice(b"*x\r\nPING\r\n");
    assert_eq!(decoder.next_command(), Err(ProtocolError::InvalidArrayLength));
    decoder.space(0).extend_from_slice(b"PING\r\n");
    assert_eq!(decoder.next_command(), Err(ProtocolError::InvalidArrayLength));
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn announced_lengths_allocate_nothing() {
    let mut decoder = Decoder::new(FrameLimits::default());
    decoder.space(0).extend_from_slice(b"*131072\r\n$16000000\r\nx");
    assert_eq!(decoder.next_command(), Ok(None));
    assert!(decoder.buffer.capacity() < 128, "capacity {}", decoder.buffer.capacity());
    let State::Array(array) = &decoder.state else { panic!("in an array") };
    assert_eq!(array.arguments.capacity(), ARGUMENTS_AT_ONCE);
    assert_eq!(decoder.missing(), 16_000_001);
}

#[test]
fn arguments_are_slices_of_the_read_buffer() {
    let mut decoder = Decoder::new(LIMITS);
    decoder.space(64).extend_from_slice(b"*1\r\n$3\r\nabc\r\n");
    let begin = decoder.buffer.as_ptr() as usize;
    let frame = decoder.next_command().expect("well-formed").expect("complete");
    assert_eq!(frame.bytes.as_ptr() as usize, begin);
    assert_eq!(frame.arguments[0].as_ptr() as usize, begin + 8);
}

#[test]
fn memory_that_arguments_share_is_counted_until_it_is_given_back() {
    let mut decoder = Decoder::new(LIMITS);
    decoder.space(1000).extend_from_slice(b"PING\r\n*1\r\n$3\r\nabc\r\n");
    while let Ok(Some(_)) = decoder.next_command() {}
    decoder.space(1000);
    assert!(decoder.allocated() >= 1000);
    decoder.release();
    assert_eq!((decoder.allocated(), decoder.buffer.capacity()), (0, 0));
}

/// Input that is often nearly right, so that each state of the decoder is reached.
fn nearly_resp() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (0..7_i32).prop_map(|count| format!("*{count}\r\n").into_bytes()),
        (-1..120_i32).prop_map(|length| format!("${length}\r\n").into_bytes()),
        proptest::collection::vec(any::<u8>(), 0..12),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(|data| [
            format!("${}\r\n", data.len()).into_bytes(),
            data,
            b"\r\n".to_vec()
        ]
        .concat()),
        "[ a-z'\"\\\\]{0,80}(\r\n|\n)?".prop_map(String::into_bytes),
        Just(b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n".to_vec()),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn how_input_is_split_changes_nothing(input in nearly_resp(), cuts in proptest::collection::vec(1_usize..9, 1..20)) {
        let mut pieces = Vec::new();
        let mut rest = &input[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        prop_assert_eq!(decode(pieces), whole(&input));
    }

    #[test]
    fn commands_come_out_as_they_went_in(
        commands in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..5), 0..8),
    ) {
        let mut input = Vec::new();
        for command in &commands {
            input.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for argument in command {
                input.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
                input.extend_from_slice(argument);
                input.extend_from_slice(b"\r\n");
            }
        }
        let expected: Vec<String> = commands
            .iter()
            .map(|command| show(&command.iter().cloned().map(Bytes::from).collect::<Vec<_>>()))
            .collect();
        prop_assert_eq!(whole(&input), (expected, None));
    }
}
