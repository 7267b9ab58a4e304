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
    directory::Directory,
    frame,
    handshake::{HELLO_BYTES_MAX, Local, Refusal, TIMEOUT},
    lane::{Kind, Receiver},
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
pub(super) struct Outgoing<E> {
    pub(super) peer: u64,
    pub(super) address: Address,
    pub(super) kind: Kind,
    pub(super) local: Arc<Local>,
    pub(super) directory: Arc<Directory>,
    pub(super) lane: Receiver,
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
    /// Keeps a connection to the peer until this node ends.
    pub(super) async fn run(mut self) {
        let mut backoff = BACKOFF;
        let mut reasons = BTreeSet::new();
        let mut away_since = Instant::now();
        let mut stop = self.shutdown.clone();
        loop {
            let loss = match self.connect().await {
                Ok(stream) => {
                    tracing::debug!(peer = self.peer, "connected");
                    backoff = BACKOFF;
                    reasons.clear();
                    self.directory.connected(self.peer);
                    self.lane.open();
                    let loss = self.feed(stream).await;
                    self.lane.close();
                    self.directory.disconnected(self.peer);
                    self.tell_loss(&loss);
                    away_since = Instant::now();
                    loss
                }
                Err(loss) => loss,
            };
            let pause = match loss {
                Loss::Shutdown => return,
                Loss::Io(error) => {
                    if away_since.elapsed() >= UNTOLD {
                        self.log_once(&mut reasons, &error.to_string());
                    }
                    backoff
                }
                Loss::Refused(reason) => {
                    self.log_once(&mut reasons, &reason);
                    REFUSED_BACKOFF
                }
            };
            self.events.unreachable(self.peer);
            backoff = (backoff * 2).min(BACKOFF_MAX);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|&stop| stop) => return,
            }
        }
    }

    /// Tells that a connection was lost. Whether that means anything shows when it cannot be made again.
    fn tell_loss(&self, loss: &Loss) {
        if let (Loss::Io(error), Kind::Urgent) = (loss, self.kind) {
            tracing::info!("lost the connection to node {} at {}: {error}", self.peer, self.address);
        }
    }

    /// Tells a reason the first time. What happens to one lane happens to the other, so one of them is enough.
    fn log_once(&self, reasons: &mut BTreeSet<String>, reason: &str) {
        if *self.stopping.borrow() {
            return;
        }
        let is_new = reasons.len() < REASONS_MAX && reasons.insert(reason.to_owned());
        if is_new && self.kind == Kind::Urgent {
            tracing::warn!("no connection to node {} at {}: {reason}", self.peer, self.address);
        }
    }

    /// Dials, and shakes hands.
    async fn connect(&self) -> Result<TcpStream, Loss> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
        let dialled = timeout(TIMEOUT, TcpStream::connect(self.address.to_pair())).await;
        let mut stream = dialled.map_err(|_| late())??;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_user_timeout(Some(SILENCE_MAX))?;
        timeout(TIMEOUT, self.shake_hands(&mut stream)).await.map_err(|_| late())??;
        Ok(stream)
    }

    async fn shake_hands(&self, stream: &mut TcpStream) -> Result<(), Loss> {
        let mut hello = BytesMut::from(&PREAMBLE[..]);
        frame::write(&self.local.hello(self.peer), &mut hello);
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
        if remote.node_id != self.peer {
            let text = format!("node {} is there instead: see the addresses of --peers", remote.node_id);
            return Err(Loss::Refused(text));
        }
        self.directory.introduced(self.peer, remote.resp_address);
        Ok(())
    }

    /// Writes what comes down the lane, until the connection breaks or the node ends.
    async fn feed(&mut self, mut stream: TcpStream) -> Loss {
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
            frame::write(&convert::to_frame(first), &mut buffer);
            while buffer.len() < WRITE_BYTES
                && let Some(message) = self.lane.try_take()
            {
                frame::write(&convert::to_frame(message), &mut buffer);
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
