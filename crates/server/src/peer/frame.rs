//! Frames on a stream: four bytes of length, little-endian, then so many bytes of protobuf.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

/// How much room a reader makes at a time. Room for a long frame grows with the bytes that have arrived, so that
/// announcing a length costs the announcer as much as us.
const READ_BYTES: usize = 64 << 10;

/// Appends `message` as a frame.
pub(crate) fn write(message: &impl Message, to: &mut BytesMut) {
    let length = message.encoded_len();
    to.reserve(LENGTH_BYTES + length);
    to.put_u32_le(u32::try_from(length).expect("settings keep messages below 4 GiB"));
    message.encode(to).expect("a growing buffer takes every message");
}

/// Reads frames of up to a fixed number of bytes.
#[derive(Debug)]
pub(crate) struct Reader<S> {
    stream: S,
    buffer: BytesMut,
    bytes_max: usize,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    /// A reader whose first frames may have `bytes_max` bytes at most.
    pub(crate) fn new(stream: S, bytes_max: usize) -> Self {
        Self { stream, buffer: BytesMut::new(), bytes_max }
    }

    /// Lets further frames be as long as this.
    pub(crate) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// The stream beneath; for writing, since reading from it would lose its place.
    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The next frame's bytes; `None` at an end of the stream between frames. Safe to cancel.
    ///
    /// # Errors
    /// Those of the stream; [`io::ErrorKind::InvalidData`] for a frame that is too long;
    /// [`io::ErrorKind::UnexpectedEof`] for an end within a frame.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES.min(self.bytes_max + LENGTH_BYTES));
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    fn take_frame(&mut self) -> io::Result<Option<Bytes>> {
        let Some(length) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > self.bytes_max {
            let text = format!("a frame of {length} bytes, where at most {} are allowed", self.bytes_max);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::wire::Position;

    #[tokio::test]
    async fn frames_come_back_whole_however_the_stream_is_cut() {
        let mut bytes = BytesMut::new();
        let messages: Vec<_> = (0..50).map(|n| Position { index: n, term: n << 40 }).collect();
        messages.iter().for_each(|message| write(message, &mut bytes));
        for cut in [1, 3, 7, 1000] {
            let mut pieces = tokio_test_stream(&bytes, cut);
            let mut reader = Reader::new(&mut pieces, 100);
            for message in &messages {
                let frame = reader.next().await.unwrap().unwrap();
                assert_eq!(Position::decode(frame).unwrap(), *message);
            }
            assert!(reader.next().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_is_refused_before_it_has_arrived() {
        let mut start: &[u8] = &[0xff, 0xff, 0xff, 0x7f, 1];
        let error = Reader::new(&mut start, 1024).next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn an_end_within_a_frame_is_an_error() {
        let mut start: &[u8] = &[9, 0, 0, 0, 1];
        let error = Reader::new(&mut start, 1024).next().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    /// A stream that hands out `cut` bytes at a time.
    fn tokio_test_stream(bytes: &[u8], cut: usize) -> impl AsyncRead + Unpin {
        let (mut writer, reader) = tokio::io::duplex(cut);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes).await.unwrap();
        });
        reader
    }
}
