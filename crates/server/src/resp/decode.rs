//! The incremental decoder of requests.
//!
//! Bytes are appended to [`Decoder::space`] as they arrive; [`Decoder::next_command`] takes complete commands off the
//! front. It remembers how far it has looked, so that no byte of a slow or large frame is scanned twice, and
//! hands out arguments as slices of the read buffer, so that none is copied.
//!
//! Invariants:
//! * How the input is cut into reads never changes the result. Each limit is therefore checked against
//!   positions in the frame, never against what happens to have arrived.
//! * An announced length allocates nothing: memory follows the bytes that the client has really sent.
//! * The first error is final. What follows a broken frame cannot be trusted to begin with a command.
//!
//! Redis takes any two bytes for the end of a line or argument; here they must be CR LF, since whatever else
//! stands there is a length that went wrong.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::inline;

/// How large a request may be. Each is checked before the bytes are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of a whole command with its framing.
    pub frame_bytes_max: usize,
    /// Arguments of a command, its name included.
    pub arguments_max: usize,
    /// Bytes of one argument.
    pub argument_bytes_max: usize,
    /// Bytes of an inline command, and of the line that announces a length.
    pub inline_bytes_max: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            // A command must fit into a log entry, and an entry into a peer message: see the driver's limits.
            frame_bytes_max: 16 << 20,
            // Six bytes on the wire cost up to fifty in memory, so the count has a limit of its own.
            arguments_max: 128 << 10,
            argument_bytes_max: 16 << 20,
            // Redis's own bound.
            inline_bytes_max: 64 << 10,
        }
    }
}

/// What is wrong with the input, in the words that Redis's clients know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The line after `*` is no number, or too great.
    #[error("invalid multibulk length")]
    InvalidArrayLength,
    /// The line after `$` is no number, negative, or too great.
    #[error("invalid bulk length")]
    InvalidArgumentLength,
    /// An argument does not begin with `$`.
    #[error("expected '$', got '{}'", .0.escape_ascii())]
    ExpectedArgument(u8),
    /// No CR LF behind an argument.
    #[error("expected CRLF after an argument")]
    ExpectedLineEnd,
    /// An inline command without an end.
    #[error("too big inline request")]
    InlineTooLong,
    /// The line after `*` does not end.
    #[error("too big mbulk count string")]
    ArrayLengthTooLong,
    /// The line after `$` does not end.
    #[error("too big bulk count string")]
    ArgumentLengthTooLong,
    /// The arguments together are larger than a frame may be.
    #[error("too big request")]
    FrameTooLarge,
    /// The quotes of an inline command.
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
}

/// A complete command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Name and arguments, never empty.
    pub arguments: Vec<Bytes>,
    /// All of its bytes, as they arrived. The arguments are slices of them, unless it was an inline command; so
    /// keeping these as long as those costs nothing.
    pub bytes: Bytes,
}

/// Turns a stream of bytes into commands.
#[derive(Debug)]
pub struct Decoder {
    limits: FrameLimits,
    buffer: BytesMut,
    /// The most that the buffer has had allocated since it was last given back. What it reports itself is
    /// less: the part of an allocation that was handed out as arguments is not counted, though still held.
    allocated: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// At the first byte of a command; no line end among the first `scanned` bytes.
    Start { scanned: usize },
    /// In an array, whose announcing line has been read.
    Array(Array),
    /// The stream is unusable.
    Failed(ProtocolError),
}

/// An array of which some arguments have arrived. Positions count from the beginning of the buffer, which is
/// the beginning of the frame.
#[derive(Debug)]
struct Array {
    /// How many arguments were announced; at least 1.
    expected: usize,
    /// Where the complete ones are.
    arguments: Vec<Range<usize>>,
    /// The first byte that has not been understood.
    cursor: usize,
    /// No line end among this many bytes from the cursor on.
    scanned: usize,
    /// The length of the argument that begins at the cursor, if its line has been read.
    length: Option<usize>,
}

/// Room for so many arguments is made at once; a longer array grows as they arrive.
const ARGUMENTS_AT_ONCE: usize = 8;

impl Decoder {
    /// A decoder at the beginning of a stream, which holds no memory yet.
    #[must_use]
    pub fn new(limits: FrameLimits) -> Self {
        Self { limits, buffer: BytesMut::new(), allocated: 0, state: State::Start { scanned: 0 } }
    }

    /// Where to append what arrives, with room for `bytes`, or for a quarter of that if so much is left: small
    /// commands share an allocation, since each of them may keep it for long. Only append.
    pub fn space(&mut self, bytes: usize) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < bytes.div_ceil(4) {
            self.buffer.reserve(bytes);
        }
        self.allocated = self.allocated.max(self.buffer.capacity());
        &mut self.buffer
    }

    /// How many more bytes the argument that is arriving is known to need; 0 if none is.
    #[must_use]
    pub fn missing(&self) -> usize {
        match &self.state {
            State::Array(Array { cursor, length: Some(length), .. }) => {
                (cursor + length + 2).saturating_sub(self.buffer.len())
            }
            State::Start { .. } | State::Array(_) | State::Failed(_) => 0,
        }
    }

    /// Bytes that have arrived and are not yet part of a command.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether what has arrived has filled the room that there was for it.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.buffer.len() == self.buffer.capacity()
    }

    /// Bytes that the read buffer keeps allocated, at most.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.allocated
    }

    /// Gives memory back if nothing is buffered.
    pub fn release(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.allocated = 0;
        }
    }

    /// The next complete command, or none before more has arrived. After an error, that error for ever.
    ///
    /// # Errors
    /// The input is not RESP, or exceeds a limit. The connection is to be closed after telling the client.
    pub fn next_command(&mut self) -> Result<Option<Frame>, ProtocolError> {
        let result = self.advance();
        if let Err(error) = &result {
            self.state = State::Failed(error.clone());
            self.buffer.clear();
            self.release();
        }
        result
    }

    fn advance(&mut self) -> Result<Option<Frame>, ProtocolError> {
        loop {
            match &mut self.state {
                State::Failed(error) => return Err(error.clone()),
                State::Start { scanned } => {
                    let Some(first) = self.buffer.first() else { return Ok(None) };
                    let is_array = *first == b'*';
                    let too_long = match is_array {
                        true => ProtocolError::ArrayLengthTooLong,
                        false => ProtocolError::InlineTooLong,
                    };
                    let Some(line) = line(&self.buffer, scanned, self.limits.inline_bytes_max, too_long)?
                    else {
                        return Ok(None);
                    };
                    match is_array {
                        true => self.begin_array(line)?,
                        false => {
                            let frame = self.take_inline(line)?;
                            if !frame.arguments.is_empty() {
                                return Ok(Some(frame));
                            }
                        }
                    }
                }
                State::Array(array) => {
                    if !array.advance(&self.buffer, &self.limits)? {
                        return Ok(None);
                    }
                    return Ok(Some(self.take_array()));
                }
            }
        }
    }

    /// Reads `*3`. An array of none, or of less than none, is no command and is passed over, as Redis does.
    fn begin_array(&mut self, line: usize) -> Result<(), ProtocolError> {
        let count = number(&self.buffer[1..line]).ok_or(ProtocolError::InvalidArrayLength)?;
        let count = usize::try_from(count).unwrap_or(0);
        if count > self.limits.arguments_max {
            return Err(ProtocolError::InvalidArrayLength);
        }
        if count == 0 {
            drop(self.buffer.split_to(line + 1));
            self.state = State::Start { scanned: 0 };
        } else {
            let arguments = Vec::with_capacity(count.min(ARGUMENTS_AT_ONCE));
            let cursor = line + 1;
            self.state = State::Array(Array { expected: count, arguments, cursor, scanned: 0, length: None });
        }
        Ok(())
    }

    fn take_inline(&mut self, line: usize) -> Result<Frame, ProtocolError> {
        let bytes = self.buffer.split_to(line + 1).freeze();
        self.state = State::Start { scanned: 0 };
        let arguments = inline::split(&bytes[..line]).map_err(|_| ProtocolError::UnbalancedQuotes)?;
        Ok(Frame { arguments, bytes })
    }

    fn take_array(&mut self) -> Frame {
        let State::Array(array) = std::mem::replace(&mut self.state, State::Start { scanned: 0 }) else {
            return Frame { arguments: Vec::new(), bytes: Bytes::new() };
        };
        let bytes = self.buffer.split_to(array.cursor).freeze();
        let arguments = array.arguments.into_iter().map(|argument| bytes.slice(argument)).collect();
        Frame { arguments, bytes }
    }
}

/// The first `most` arguments of a [`Frame`], read once more out of its bytes, and how many arguments it has.
#[must_use]
pub fn read_again(bytes: &Bytes, most: usize) -> (Vec<Bytes>, usize) {
    let Some(line) = bytes.iter().position(|byte| *byte == b'\n') else { return (Vec::new(), 0) };
    let count = bytes.strip_prefix(b"*").and_then(|_| number(&bytes[1..line]));
    let Some(count) = count.and_then(|count| usize::try_from(count).ok()) else {
        let mut words = inline::split(&bytes[..line]).unwrap_or_default();
        let count = words.len();
        words.truncate(most);
        return (words, count);
    };
    let (expected, arguments) = (count.min(most), Vec::with_capacity(count.min(most)));
    let mut array = Array { expected, arguments, cursor: line + 1, scanned: 0, length: None };
    // It was within the limits of its time.
    let limits = FrameLimits {
        frame_bytes_max: usize::MAX,
        arguments_max: usize::MAX,
        argument_bytes_max: usize::MAX,
        inline_bytes_max: usize::MAX,
    };
    match array.advance(bytes, &limits) {
        Ok(_) => (array.arguments.into_iter().map(|argument| bytes.slice(argument)).collect(), count),
        Err(_) => (Vec::new(), count),
    }
}

impl Array {
    /// Reads on as far as the buffer goes; true once the last argument is complete.
    fn advance(&mut self, buffer: &[u8], limits: &FrameLimits) -> Result<bool, ProtocolError> {
        while self.arguments.len() < self.expected {
            let length = match self.length {
                Some(length) => length,
                None => match self.read_length(buffer, limits)? {
                    Some(length) => length,
                    None => return Ok(false),
                },
            };
            let end = self.cursor + length;
            match buffer.get(end..end + 2) {
                None => return Ok(false),
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::ExpectedLineEnd),
            }
            self.arguments.push(self.cursor..end);
            self.cursor = end + 2;
            self.length = None;
        }
        Ok(true)
    }

    /// Reads `$3`, and moves the cursor to the argument's first byte.
    fn read_length(&mut self, buffer: &[u8], limits: &FrameLimits) -> Result<Option<usize>, ProtocolError> {
        let rest = &buffer[self.cursor..];
        match rest.first() {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::ExpectedArgument(*other)),
        }
        let too_long = ProtocolError::ArgumentLengthTooLong;
        let Some(line) = line(rest, &mut self.scanned, limits.inline_bytes_max, too_long)? else {
            return Ok(None);
        };
        let length = number(&rest[1..line]).and_then(|length| usize::try_from(length).ok());
        let length = length
            .filter(|length| *length <= limits.argument_bytes_max)
            .ok_or(ProtocolError::InvalidArgumentLength)?;
        self.cursor += line + 1;
        self.scanned = 0;
        if self.cursor.saturating_add(length).saturating_add(2) > limits.frame_bytes_max {
            return Err(ProtocolError::FrameTooLarge);
        }
        self.length = Some(length);
        Ok(Some(length))
    }
}

/// The position of the line feed that ends the first line; none before it has arrived. Remembers in `scanned`
/// what it has looked at.
fn line(
    bytes: &[u8],
    scanned: &mut usize,
    limit: usize,
    too_long: ProtocolError,
) -> Result<Option<usize>, ProtocolError> {
    let found = bytes[*scanned..].iter().position(|byte| *byte == b'\n').map(|at| *scanned + at);
    *scanned = bytes.len();
    match found.unwrap_or(bytes.len()) > limit {
        true => Err(too_long),
        false => Ok(found),
    }
}

/// Reads the number of a line that must end in CR, as strictly as Redis: no plus sign, no leading zero.
fn number(line: &[u8]) -> Option<i64> {
    let digits = line.strip_suffix(b"\r")?;
    let magnitude = digits.strip_prefix(b"-").unwrap_or(digits);
    let canonical = match magnitude {
        [b'0'] => digits.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    canonical.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
