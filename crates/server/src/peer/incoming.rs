//! Connections that peers have dialled: judged, then read.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use prost::Message as _;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};

use super::{
    Events, convert,
    directory::Directory,
    frame,
    handshake::{HELLO_BYTES_MAX, Local, Refusal, Remote, TIMEOUT},
    wire::{Hello, PREAMBLE, Welcome},
};

/// The most connections that have not shaken hands yet. Each costs some KiB, and at most [`TIMEOUT`].
const STRANGERS_MAX: usize = 64;
/// The pause after a failed accept, which means that the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A peer that has vanished without a word is noticed after this, so that its connections do not pile up.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The bytes of messages of one connection that may wait for the shard, as a multiple of the largest frame.
const WINDOW_FRAMES: usize = 4;
/// Credit is counted in units of so many bytes, since a semaphore counts in 32 bits.
const CREDIT_BYTES: usize = 1 << 10;
/// The most different reasons of refusals that are logged.
const REASONS_MAX: usize = 256;

/// What accepting connections needs.
#[derive(Debug)]
pub(super) struct Incoming<E> {
    pub(super) local: Arc<Local>,
    pub(super) directory: Arc<Directory>,
    pub(super) events: E,
    pub(super) shutdown: watch::Receiver<bool>,
    pub(super) reasons: Arc<Mutex<BTreeSet<String>>>,
}

impl<E: Clone> Clone for Incoming<E> {
    fn clone(&self) -> Self {
        Self {
            local: Arc::clone(&self.local),
            directory: Arc::clone(&self.directory),
            events: self.events.clone(),
            shutdown: self.shutdown.clone(),
            reasons: Arc::clone(&self.reasons),
        }
    }
}

impl<E: Events> Incoming<E> {
    /// Accepts connections until this node ends.
    pub(super) async fn run(self, listener: TcpListener) {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        let mut stop = self.shutdown.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|&stop| stop) => return,
            };
            match accepted {
                // One too many is closed at once; a true peer comes again soon.
                Ok((stream, _)) => {
                    if let Ok(permit) = Arc::clone(&strangers).try_acquire_owned() {
                        let this = self.clone();
                        tokio::spawn(async move {
                            let welcomed = timeout(TIMEOUT, this.welcome(stream)).await;
                            drop(permit);
                            if let Ok(Ok((reader, remote))) = welcomed {
                                this.listen(reader, remote).await;
                            }
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection of a peer: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Hears who dialled, and answers.
    async fn welcome(&self, mut stream: TcpStream) -> io::Result<(frame::Reader<TcpStream>, Remote)> {
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
        let mut preamble = [0; PREAMBLE.len()];
        stream.read_exact(&mut preamble).await?;
        if preamble != PREAMBLE {
            self.log_once("a client of another protocol has connected to the peer port");
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut reader = frame::Reader::new(stream, HELLO_BYTES_MAX);
        let hello = reader.next().await?.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let judged = match Hello::decode(hello) {
            Ok(hello) => self.local.judge(&hello),
            Err(_) => Err(Refusal("its first message is malformed".to_owned())),
        };
        let mut answer = BytesMut::new();
        match judged {
            Ok(remote) => {
                let hello = Some(self.local.hello(remote.node_id));
                frame::write(&Welcome { refusal: String::new(), hello }, &mut answer);
                reader.stream_mut().write_all(&answer).await?;
                reader.set_bytes_max(self.local.frame_bytes_max);
                Ok((reader, remote))
            }
            Err(Refusal(reason)) => {
                self.log_once(&reason);
                frame::write(&Welcome { refusal: reason, hello: None }, &mut answer);
                reader.stream_mut().write_all(&answer).await?;
                Err(io::ErrorKind::ConnectionRefused.into())
            }
        }
    }

    fn log_once(&self, reason: &str) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() < REASONS_MAX && reasons.insert(reason.to_owned()) {
            tracing::warn!("a connection from a peer was refused: {reason}");
        }
    }

    /// Passes a peer's messages on, until the connection or this node ends.
    async fn listen(mut self, mut reader: frame::Reader<TcpStream>, remote: Remote) {
        let (peer, accord) = (remote.node_id, remote.accord);
        let peer_address = remote.peer_address.clone();
        self.events.introduced(peer, peer_address.clone());
        self.directory.introduced(remote);
        let window = self.local.frame_bytes_max * WINDOW_FRAMES / CREDIT_BYTES;
        let credit = Arc::new(Semaphore::new(window));
        loop {
            let frame = tokio::select! {
                frame = reader.next() => frame,
                _ = self.shutdown.wait_for(|&stop| stop) => return,
            };
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(error) => {
                    tracing::debug!(peer, "a connection from node {peer} was lost: {error}");
                    return;
                }
            };
            if let Err(Refusal(reason)) = self.local.versions.uphold(accord) {
                self.log_once(&format!("node {peer}: {reason}"));
                return;
            }
            // A guest that was forgotten and speaks again has to be answered.
            if !self.directory.heard(peer) {
                self.events.introduced(peer, peer_address.clone());
            }
            let units = u32::try_from(frame.len() / CREDIT_BYTES + 1).unwrap_or(u32::MAX);
            let Ok(permit) = Arc::clone(&credit).acquire_many_owned(units).await else { return };
            match convert::from_bytes(frame) {
                Ok(message) => self.events.message(peer, message, permit),
                Err(malformed) => {
                    tracing::warn!(peer, "a connection from node {peer} was closed: {malformed}");
                    return;
                }
            }
        }
    }
}
