//! ZooKeeper's protocol: length-prefixed frames of its serialization, jute, whose numbers are big-endian and whose
//! strings and buffers have their length in front. Answers come in the order of the requests.

use super::{Client, KEY_BYTES, VALUE_BYTES, key_name, unexpected, write_digits};
use bytes::{Buf as _, BufMut as _, BytesMut};
use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The session that is asked for; the server allows up to 20 ticks of 2 s.
const SESSION_MS: i32 = 40_000;
/// The largest answer: of a key's value, with room to spare.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;

const NODE_EXISTS: i32 = -110;
const ANY_VERSION: i32 = -1;
const EPHEMERAL: i32 = 1;
const PERSISTENT: i32 = 0;

/// The protocol's number of a request.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Kind {
    Create = 1,
    Delete = 2,
    GetData = 4,
    SetData = 5,
    Sync = 9,
    CloseSession = -11,
}

/// One session.
pub(crate) struct ZooKeeper {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    requests: i32,
    key: Vec<u8>,
    lock: Vec<u8>,
    owner: String,
}

impl ZooKeeper {
    /// Puts a request behind those that wait to be sent.
    fn request(&mut self, kind: Kind, body: impl FnOnce(&mut BytesMut)) {
        self.requests += 1;
        let start = self.output.len();
        self.output.put_i32(0);
        self.output.put_i32(self.requests);
        self.output.put_i32(kind as i32);
        body(&mut self.output);
        let length = i32::try_from(self.output.len() - start - LENGTH_BYTES).expect("requests are small");
        self.output[start..start + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    }

    async fn send(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }

    /// The next answer's error code, 0 for none, and what follows it.
    async fn receive(&mut self) -> io::Result<(i32, BytesMut)> {
        const HEADER_BYTES: usize = 16;
        let mut frame = self.frame().await?;
        if frame.len() < HEADER_BYTES {
            return Err(unexpected("a frame without a header"));
        }
        let (_request, _transaction, error) = (frame.get_i32(), frame.get_i64(), frame.get_i32());
        Ok((error, frame))
    }

    async fn frame(&mut self) -> io::Result<BytesMut> {
        loop {
            if let Some(head) = self.input.first_chunk::<LENGTH_BYTES>() {
                let length = usize::try_from(i32::from_be_bytes(*head)).map_err(io::Error::other)?;
                if length > FRAME_BYTES_MAX {
                    return Err(unexpected(format!("a frame of {length} bytes")));
                }
                if self.input.len() >= LENGTH_BYTES + length {
                    self.input.advance(LENGTH_BYTES);
                    return Ok(self.input.split_to(length));
                }
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn done(&mut self) -> io::Result<()> {
        require_none(self.receive().await?.0)
    }

    fn request_create(&mut self, path: &[u8], data: &[u8], flags: i32) {
        self.request(Kind::Create, |out| {
            put_buffer(out, path);
            put_buffer(out, data);
            // One access rule: everything, for the world.
            const ALL_PERMISSIONS: i32 = 31;
            out.put_i32(1);
            out.put_i32(ALL_PERMISSIONS);
            put_buffer(out, b"world");
            put_buffer(out, b"anyone");
            out.put_i32(flags);
        });
    }

    fn key(&mut self, number: u64) -> Vec<u8> {
        write_digits(&mut self.key, number);
        self.key.clone()
    }

    fn lock_path(&mut self, number: u64) -> Vec<u8> {
        write_digits(&mut self.lock, number);
        self.lock.clone()
    }
}

impl Client for ZooKeeper {
    async fn connect(address: SocketAddr, number: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self {
            stream,
            input: BytesMut::with_capacity(16 << 10),
            output: BytesMut::with_capacity(4 << 10),
            requests: 0,
            key: key_name("/k", 0).into(),
            lock: key_name("/l", 0).into(),
            owner: format!("owner-{number:08}"),
        };
        debug_assert_eq!(client.key.len(), KEY_BYTES);
        client.output.extend_from_slice(&greeting());
        client.send().await?;
        let mut welcome = client.frame().await?;
        let (_version, granted_ms) = (welcome.try_get_i32(), welcome.try_get_i32());
        // A session of no length is one that was refused.
        if granted_ms.is_ok_and(|ms| ms > 0) { Ok(client) } else { Err(unexpected("no session")) }
    }

    async fn set(&mut self, key: u64) -> io::Result<()> {
        let path = self.key(key);
        self.request(Kind::SetData, |out| {
            put_buffer(out, &path);
            put_buffer(out, &[b'v'; VALUE_BYTES]);
            out.put_i32(ANY_VERSION);
        });
        self.send().await?;
        self.done().await
    }

    async fn create(&mut self, key: u64) -> io::Result<()> {
        let path = self.key(key);
        self.request_create(&path, &[b'v'; VALUE_BYTES], PERSISTENT);
        self.send().await?;
        match self.receive().await? {
            (NODE_EXISTS, _) => Ok(()),
            (error, _) => require_none(error),
        }
    }

    async fn get(&mut self, key: u64) -> io::Result<()> {
        let path = self.key(key);
        self.request(Kind::Sync, |out| put_buffer(out, &path));
        self.request(Kind::GetData, |out| {
            put_buffer(out, &path);
            out.put_u8(0); // No watch.
        });
        self.send().await?;
        self.done().await?;
        let (error, mut value) = self.receive().await?;
        require_none(error)?;
        let length = value.try_get_i32().map_err(io::Error::other)?;
        if usize::try_from(length) == Ok(VALUE_BYTES) { Ok(()) } else { Err(unexpected(length)) }
    }

    async fn lock(&mut self, lock: u64) -> io::Result<bool> {
        let path = self.lock_path(lock);
        let owner = self.owner.clone();
        self.request_create(&path, owner.as_bytes(), EPHEMERAL);
        self.send().await?;
        match self.receive().await? {
            (NODE_EXISTS, _) => Ok(false),
            (error, _) => require_none(error).map(|()| true),
        }
    }

    async fn unlock(&mut self, lock: u64) -> io::Result<()> {
        let path = self.lock_path(lock);
        self.request(Kind::Delete, |out| {
            put_buffer(out, &path);
            out.put_i32(ANY_VERSION);
        });
        self.send().await?;
        self.done().await
    }

    async fn set_all(&mut self, keys: &[u64]) -> io::Result<()> {
        for &key in keys {
            self.set(key).await?;
        }
        Ok(())
    }

    async fn close(mut self) -> io::Result<()> {
        self.request(Kind::CloseSession, |_| {});
        self.send().await?;
        self.done().await
    }

    async fn leads(address: SocketAddr) -> io::Result<bool> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"srvr").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok(text.contains("Mode: leader"))
    }
}

/// The first frame: a wish for a new session.
fn greeting() -> BytesMut {
    const PASSWORD_BYTES: usize = 16;
    let mut body = BytesMut::new();
    body.put_i32(0); // The protocol's version.
    body.put_i64(0); // The last transaction seen.
    body.put_i32(SESSION_MS);
    body.put_i64(0); // No session yet.
    put_buffer(&mut body, &[0; PASSWORD_BYTES]);
    body.put_u8(0); // Not content with a server that only reads.
    let mut frame = BytesMut::new();
    put_buffer(&mut frame, &body);
    frame
}

fn put_buffer(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(i32::try_from(bytes.len()).expect("keys and values are small"));
    out.put_slice(bytes);
}

fn require_none(error: i32) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(unexpected(format!("error {error}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_has_the_length_that_it_says() {
        let frame = greeting();
        assert_eq!(frame.len(), LENGTH_BYTES + 45);
        assert_eq!(frame[..LENGTH_BYTES], 45_i32.to_be_bytes());
    }
}
