//! The Redis protocol, as a client that does nothing but measure: requests are encoded once, and before each use
//! only the digits of their key change.

use super::{Client, KEY_BYTES, LOCK_TTL_SECONDS, VALUE_BYTES, key_name, unexpected, write_digits};
use bytes::{Buf as _, BytesMut};
use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The usual script by which a holder releases its lock.
const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

/// One connection.
pub(crate) struct Resp {
    stream: TcpStream,
    input: BytesMut,
    /// The requests of one pipeline.
    output: Vec<u8>,
    value_bytes: usize,
    set: Template,
    get: Template,
    lock: Template,
    unlock: Template,
}

/// An encoded request, and where its key ends.
struct Template {
    request: Vec<u8>,
    key_end: usize,
}

/// As much of an answer as the operations look at.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Status,
    Nil,
    Integer(i64),
    Bulk(Vec<u8>),
    Error(String),
}

impl Resp {
    /// Writes values of another length, and expects them.
    pub(crate) fn with_value_bytes(mut self, bytes: usize) -> Self {
        self.set = Template::set(bytes);
        self.value_bytes = bytes;
        self
    }

    async fn receive(&mut self) -> io::Result<Answer> {
        loop {
            if let Some((answer, length)) = decode(&self.input)? {
                self.input.advance(length);
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// What the server answers to a command, as text.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> io::Result<String> {
        match self.send_lines(words).await? {
            Answer::Bulk(text) => String::from_utf8(text).map_err(io::Error::other),
            Answer::Integer(number) => Ok(number.to_string()),
            Answer::Status => Ok("OK".to_owned()),
            answer @ (Answer::Nil | Answer::Error(_)) => Err(unexpected(answer)),
        }
    }

    async fn send_lines(&mut self, words: &[&str]) -> io::Result<Answer> {
        self.stream.write_all(&encode(words)).await?;
        self.receive().await
    }
}

impl Client for Resp {
    async fn connect(address: SocketAddr, number: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let owner = format!("owner-{number:08}");
        let (key, lock) = (key_name("k", 0), key_name("l", 0));
        let ttl_ms = (LOCK_TTL_SECONDS * 1_000).to_string();
        Ok(Self {
            stream,
            input: BytesMut::with_capacity(16 << 10),
            output: Vec::new(),
            value_bytes: VALUE_BYTES,
            set: Template::set(VALUE_BYTES),
            get: Template::new(&["GET", &key], &key),
            lock: Template::new(&["SET", &lock, &owner, "NX", "PX", &ttl_ms], &lock),
            unlock: Template::new(&["EVAL", RELEASE, "1", &lock, &owner], &lock),
        })
    }

    async fn set(&mut self, key: u64) -> io::Result<()> {
        self.stream.write_all(self.set.with_key(key)).await?;
        self.receive().await?.require(&Answer::Status)
    }

    async fn get(&mut self, key: u64) -> io::Result<()> {
        self.stream.write_all(self.get.with_key(key)).await?;
        match self.receive().await? {
            Answer::Bulk(value) if value.len() == self.value_bytes => Ok(()),
            answer => Err(unexpected(answer)),
        }
    }

    async fn lock(&mut self, lock: u64) -> io::Result<bool> {
        self.stream.write_all(self.lock.with_key(lock)).await?;
        match self.receive().await? {
            Answer::Status => Ok(true),
            Answer::Nil => Ok(false),
            answer => Err(unexpected(answer)),
        }
    }

    async fn unlock(&mut self, lock: u64) -> io::Result<()> {
        self.stream.write_all(self.unlock.with_key(lock)).await?;
        self.receive().await?.require(&Answer::Integer(1))
    }

    async fn set_all(&mut self, keys: &[u64]) -> io::Result<()> {
        self.output.clear();
        for &key in keys {
            self.output.extend_from_slice(self.set.with_key(key));
        }
        self.stream.write_all(&self.output).await?;
        for _ in keys {
            self.receive().await?.require(&Answer::Status)?;
        }
        Ok(())
    }

    async fn leads(address: SocketAddr) -> io::Result<bool> {
        match Self::connect(address, 0).await?.send_lines(&["INFO", "replication"]).await? {
            Answer::Bulk(text) => Ok(String::from_utf8_lossy(&text).contains("role:master")),
            answer => Err(unexpected(answer)),
        }
    }
}

impl Template {
    fn new(words: &[&str], key: &str) -> Self {
        let request = encode(words);
        let at = request.windows(key.len()).position(|part| part == key.as_bytes());
        Self { key_end: at.expect("a request names its key") + key.len(), request }
    }

    fn set(value_bytes: usize) -> Self {
        let key = key_name("k", 0);
        Self::new(&["SET", &key, &"v".repeat(value_bytes)], &key)
    }

    fn with_key(&mut self, key: u64) -> &[u8] {
        write_digits(&mut self.request[self.key_end - KEY_BYTES..self.key_end], key);
        &self.request
    }
}

impl Answer {
    fn require(self, wanted: &Self) -> io::Result<()> {
        if self == *wanted { Ok(()) } else { Err(unexpected(self)) }
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::Status => f.write_str("a status"),
            Answer::Nil => f.write_str("nil"),
            Answer::Integer(number) => number.fmt(f),
            Answer::Bulk(value) => write!(f, "a value of {} bytes", value.len()),
            Answer::Error(text) => f.write_str(text),
        }
    }
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    request.into_bytes()
}

/// The first answer in `input` and its length there; nothing while it is incomplete.
fn decode(input: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let Some(end) = input.iter().position(|&byte| byte == b'\n') else { return Ok(None) };
    let line = std::str::from_utf8(&input[1..end - 1]).map_err(io::Error::other)?;
    let number = || line.parse::<i64>().map_err(io::Error::other);
    let head = end + 1;
    let answer = match input[0] {
        b'+' => Answer::Status,
        b'-' => Answer::Error(line.to_owned()),
        b':' => Answer::Integer(number()?),
        b'$' => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Some((Answer::Nil, head))) };
            let whole = head + length + 2;
            let value = input.get(head..whole).map(|value| value[..length].to_vec());
            return Ok(value.map(|value| (Answer::Bulk(value), whole)));
        }
        other => return Err(unexpected(format!("a reply of type {}", char::from(other)))),
    };
    Ok(Some((answer, head)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_changes_nothing_but_its_key() {
        let mut template = Template::set(3);
        let request = String::from_utf8(template.with_key(42).to_vec()).unwrap();
        assert_eq!(request, format!("*3\r\n$3\r\nSET\r\n$64\r\n{}\r\n$3\r\nvvv\r\n", key_name("k", 42)));
    }

    #[test]
    fn answers_are_cut_out_one_by_one() {
        let input = b"+OK\r\n$2\r\nab\r\n$-1\r\n:7\r\n-ERR no\r\n";
        let (mut at, mut answers) = (0, Vec::new());
        while let Some((answer, length)) = decode(&input[at..]).unwrap() {
            at += length;
            answers.push(answer);
        }
        let error = Answer::Error("ERR no".to_owned());
        assert_eq!(
            answers,
            [Answer::Status, Answer::Bulk(b"ab".to_vec()), Answer::Nil, Answer::Integer(7), error]
        );
        assert_eq!(at, input.len());
        assert_eq!(decode(b"$5\r\nabc").unwrap(), None);
    }
}
