//! Getting a backup from a node: `GET /snapshot` at its HTTP door.
//!
//! In HTTP/1.0, where an answer ends with its connection. One that ends too early is noticed by its missing foot.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use crate::{
    cli::{address::ANSWER_TIMEOUT, status::ask},
    config::{Address, HostPort, Value as _},
    http::SNAPSHOT_HEADER,
};

/// How long a node may be silent: it asks a quorum first, and gives up before this.
const PATIENCE: Duration = Duration::from_secs(40);

/// The longest head of an answer, and the longest reason of a refusal.
const HEAD_BYTES_MAX: u64 = 16 << 10;

/// A backup on its way here.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) node_id: u64,
    pub(super) body: BufReader<TcpStream>,
}

impl Download {
    /// Asks the node whose RESP address is `address`. An error is in words.
    pub(super) fn begin(address: &Address) -> Result<Self, String> {
        let status = ask(address)?;
        let http = Address::read(&status.http, &HostPort)
            .ok_or("this node is recovering its data, or of a version without backups")?;
        let host = if http.is_unspecified() { &address.host } else { &http.host };
        let http = Address::new(host, http.port);
        let body = get(&http).map_err(|error| format!("http://{http}/snapshot: {error}"))?;
        Ok(Self { node_id: status.node_id, body: check_head(body)? })
    }
}

fn get(http: &Address) -> std::io::Result<BufReader<TcpStream>> {
    use std::io::{Error, ErrorKind, Write as _};
    let mut last = Error::from(ErrorKind::NotFound);
    for address in http.to_pair().to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, ANSWER_TIMEOUT) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                let (name, value) = SNAPSHOT_HEADER;
                write!(stream, "GET /snapshot HTTP/1.0\r\nhost: {http}\r\n{name}: {value}\r\n\r\n")?;
                return Ok(BufReader::with_capacity(64 << 10, stream));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Reads the head of the answer. An error is why there is no body.
fn check_head(mut answer: BufReader<TcpStream>) -> Result<BufReader<TcpStream>, String> {
    let mut head = answer.by_ref().take(HEAD_BYTES_MAX);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        head.read_line(&mut line).map_err(|error| error.to_string())?;
        match line.trim_end() {
            "" if line.is_empty() => return Err("the answer ends within its head".to_owned()),
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let status = lines.first().map_or("", String::as_str);
    if status.split(' ').nth(1) == Some("200") {
        return Ok(answer);
    }
    let mut reason = String::new();
    let read = answer.take(HEAD_BYTES_MAX).read_to_string(&mut reason);
    match (read, reason.trim()) {
        (Ok(_), reason) if !reason.is_empty() => Err(reason.to_owned()),
        (Ok(_) | Err(_), _) => Err(status.to_owned()),
    }
}
