//! One lane's connection to one peer: dialled, kept, and dialled again.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use bytes::BytesMut;
use prost::Message as _;
use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    Events, convert,
    directory::{ContactId, Directory},
    frame,
    handshake::{HELLO_BYTES_MAX, Local, Refusal, TIMEOUT},
    lane::{Kind, Receiver},
    versions::Accord,
    wire::{PREAMBLE, Welcome},
};
use crate::config::Address;

/// The pause after a failed attempt, at first and at most. A peer that has just been restarted is found at once;
/// one that is away costs two attempts a second.
const BACKOFF: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// The pause after a refusal: an operator has to do something about it.
const REFUSED_BACKOFF: Duration = Duration::from_secs(2);
/// What was sent and is not confirmed by the peer's system for so long loses the connection. Otherwise, after a
/// partition, TCP would wait for its next retransmission, up to two minutes, instead of dialling anew.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// Messages that wait are gathered until a write has so many bytes.
const WRITE_BYTES: usize = 256 << 10;
/// A peer that is away for less is not worth a warning: it starts at the same time as this node, or is started again,
/// or this node is about to be told to end, too.
const UNTOLD: Duration = Duration::from_millis(150);
/// The most different reasons that are logged of one peer; more would be an attack on the log.
const REASONS_MAX: usize = 32;

/// What a connection to one peer needs.
#[derive(Debug)]
pub(super) struct Outgoing<E: Events> {
    pub(super) contact: ContactId,
    /// Where the peer may be, likelier places first. Closed when this node has no more to say to it.
    pub(super) addresses: watch::Receiver<Vec<Address>>,
    pub(super) kind: Kind,
    pub(super) local: Arc<Local>,
    pub(super) directory: Arc<Directory>,
    pub(super) lane: Receiver<E::Message>,
    pub(super) events: E,
    /// True once this node is on its way down, when peers may well be gone.
    pub(super) stopping: watch::Receiver<bool>,
    pub(super) shutdown: watch::Receiver<bool>,
}

/// Why a connection is not, or no longer, there.
enum Loss {
    /// The network, or the other side's end.
    Io(io::Error),
    /// One side does not accept the other.
    Refused(String),
    /// This node ends.
    Shutdown,
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<E: Events> Outgoing<E> {
    /// Keeps a connection to the peer until this node ends, or has no more to say to it.
    pub(super) async fn run(mut self) {
        let mut backoff = BACKOFF;
        let mut reasons = BTreeSet::new();
        let mut away_since = Instant::now();
        let mut attempts = 0;
        while let Some(address) = self.next_address(attempts).await {
            let loss = match self.connect(&address).await {
                Ok((stream, accord)) => {
                    tracing::debug!(peer = self.contact.peer, "connected");
                    backoff = BACKOFF;
                    reasons.clear();
                    self.directory.connected(self.contact);
                    self.lane.open();
                    let loss = self.feed(stream, accord).await;
                    self.lane.close();
                    self.directory.disconnected(self.contact);
                    self.tell_loss(&address, &loss);
                    away_since = Instant::now();
                    loss
                }
                Err(loss) => {
                    attempts += 1;
                    loss
                }
            };
            let pause = match loss {
                Loss::Shutdown => return,
                Loss::Io(error) => {
                    if away_since.elapsed() >= UNTOLD {
                        self.log_once(&mut reasons, &address, &error.to_string());
                    }
                    backoff
                }
                Loss::Refused(reason) => {
                    self.log_once(&mut reasons, &address, &reason);
                    REFUSED_BACKOFF
                }
            };
            self.events.unreachable(self.contact.peer);
            backoff = (backoff * 2).min(BACKOFF_MAX);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.addresses.changed() => if changed.is_err() { return },
                _ = self.shutdown.wait_for(|&stop| stop) => return,
            }
        }
    }

    /// Where to look for the peer after so many failures, as soon as a place is known; none if it is not looked for
    /// any more. A place that was good is tried again first.
    async fn next_address(&mut self, failures: usize) -> Option<Address> {
        tokio::select! {
            known = self.addresses.wait_for(|addresses| !addresses.is_empty()) => {
                let addresses = known.ok()?;
                addresses.get(failures % addresses.len()).cloned()
            }
            _ = self.shutdown.wait_for(|&stop| stop) => None,
        }
    }

    /// Tells that a connection was lost. Whether that means anything shows when it cannot be made again.
    fn tell_loss(&self, address: &Address, loss: &Loss) {
        if let (Loss::Io(error), Kind::Urgent) = (loss, self.kind) {
            tracing::info!("lost the connection to node {} at {address}: {error}", self.contact.peer);
        }
    }

    /// Tells a reason the first time. What happens to one lane happens to the other, so one of them is enough.
    fn log_once(&self, reasons: &mut BTreeSet<String>, address: &Address, reason: &str) {
        if *self.stopping.borrow() {
            return;
        }
        let text = format!("no connection to node {} at {address}: {reason}", self.contact.peer);
        if reasons.len() < REASONS_MAX && self.kind == Kind::Urgent && !reasons.contains(&text) {
            tracing::warn!("{text}");
            reasons.insert(text);
        }
    }

    /// Dials, and shakes hands. Says how to talk.
    async fn connect(&self, address: &Address) -> Result<(TcpStream, Accord), Loss> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let dialled = timeout(TIMEOUT, TcpStream::connect(address.to_pair())).await;
        let mut stream = dialled.map_err(|_| late())??;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_user_timeout(Some(SILENCE_MAX))?;
        let accord = timeout(TIMEOUT, self.shake_hands(&mut stream)).await.map_err(|_| late())??;
        Ok((stream, accord))
    }

    async fn shake_hands(&self, stream: &mut TcpStream) -> Result<Accord, Loss> {
        let mut hello = BytesMut::from(&PREAMBLE[..]);
        frame::write(&self.local.hello(self.contact.peer), &mut hello);
        stream.write_all(&hello).await?;
        let answer = frame::Reader::new(stream, HELLO_BYTES_MAX).next().await?;
        let answer = answer.ok_or(io::Error::from(io::ErrorKind::UnexpectedEof))?;
        let malformed = || Loss::Refused("what listens there is no Quorate node".to_owned());
        let welcome = Welcome::decode(answer).map_err(|_| malformed())?;
        if !welcome.refusal.is_empty() {
            return Err(Loss::Refused(welcome.refusal));
        }
        let hello = welcome.hello.ok_or_else(malformed)?;
        let remote = self.local.judge(&hello).map_err(|Refusal(reason)| Loss::Refused(reason))?;
        if remote.node_id != self.contact.peer {
            let text =
                format!("node {} is there instead: see `quorate member list` and --peers", remote.node_id);
            return Err(Loss::Refused(text));
        }
        self.events.introduced(remote.node_id, remote.peer_address.clone());
        let accord = remote.accord;
        self.directory.introduced(remote);
        Ok(accord)
    }

    /// Writes what comes down the lane, until the connection breaks, the node ends, or the peer's program is too old.
    async fn feed(&mut self, mut stream: TcpStream, accord: Accord) -> Loss {
        let (mut reader, mut writer) = stream.split();
        // The other side sends nothing here, so all that reading can tell is that the connection is over.
        let mut nothing = [0; 1];
        let mut buffer = BytesMut::new();
        loop {
            let first = tokio::select! {
                message = self.lane.take() => message,
                read = reader.read(&mut nothing) => return Loss::Io(end_of_stream(read)),
                _ = self.shutdown.wait_for(|&stop| stop) => None,
            };
            let Some(first) = first else { return Loss::Shutdown };
            if let Err(Refusal(reason)) = self.local.versions.uphold(accord) {
                return Loss::Refused(reason);
            }
            frame::write(&convert::to_frame(first, accord.spoken), &mut buffer);
            while buffer.len() < WRITE_BYTES
                && let Some(message) = self.lane.try_take()
            {
                frame::write(&convert::to_frame(message, accord.spoken), &mut buffer);
            }
            tokio::select! {
                written = writer.write_all(&buffer) => if let Err(error) = written { return Loss::Io(error) },
                read = reader.read(&mut nothing) => return Loss::Io(end_of_stream(read)),
            }
            buffer.clear();
        }
    }
}

fn end_of_stream(read: io::Result<usize>) -> io::Error {
    match read {
        Ok(0) => io::Error::new(io::ErrorKind::UnexpectedEof, "the other side has closed the connection"),
        Ok(_) => io::Error::new(io::ErrorKind::InvalidData, "the other side speaks where it should listen"),
        Err(error) => error,
    }
}
