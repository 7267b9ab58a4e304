//! The task that moves one connection's bytes.
//!
//! It waits for whatever comes first: bytes to read, answers of the shard, room to write, a deadline, or being
//! told to end. Everything that has arrived is handled before it waits again, so that under load a pipeline
//! is one read, one submission and one write.
//!
//! An idle connection holds a buffer of [`READ_BYTES_MIN`]; a busy one reads in larger pieces, and gives the
//! memory back when it has nothing more to do.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant as StdInstant,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest},
    net::tcp::OwnedReadHalf,
    sync::watch,
    time::{Duration, Instant, sleep_until, timeout},
};

use super::{
    FrontDoor,
    answers::Answers,
    clients::{Client, Endpoints, Summons},
    exchange::{Exchange, is_http},
    limits::Share,
    statistics::Cut,
};
use crate::{
    handle::ConnId,
    resp::Decoder,
    status::NodeStatus,
    subscriptions::{Mailbox, Message},
};

/// What is read at once from a connection that sends little: an ordinary command and its reply are smaller.
const READ_BYTES_MIN: usize = 1 << 10;
/// What is read at once from one that sends much. More gains nothing: it is what a socket delivers.
const READ_BYTES_MAX: usize = 64 << 10;
/// Input that may wait undecoded while commands are held back or too many are unanswered. It is read at all
/// so that a client which leaves meanwhile is noticed.
const READ_AHEAD_BYTES: usize = 16 << 10;
/// How often to look whether a client is still there of whom no more is read while it waits for something.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// An output buffer that grew beyond this is given back once it is empty.
const OUTPUT_KEPT_BYTES: usize = 16 << 10;
/// Answers are encoded until so many bytes wait to be written: enough to keep a socket busy. The others are held
/// as they are, which is cheaper, until the client has read on.
const OUTPUT_READY_BYTES: usize = 256 << 10;
/// How long a client with more than `output_bytes_max` unread may take nothing of it. Who reads, however much it
/// has asked for, takes something all the time.
const EXCESS_STALL_MAX: Duration = Duration::from_secs(1);
/// How long, and for how many bytes, a client that was refused may go on sending: closing a socket with unread
/// input would take the refusal from it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1 << 20;

/// Where a client's bytes come from.
pub(super) trait Input: AsyncRead + Unpin {
    /// Whether the client has ended the connection, or its half of it, as far as that is known. What it had sent before
    /// may still be unread.
    fn has_ended(&self) -> bool;
}

impl Input for OwnedReadHalf {
    /// An end that lies behind more bytes than the socket takes is not known before they are read.
    fn has_ended(&self) -> bool {
        let readiness = pin!(self.ready(Interest::READABLE));
        let now = readiness.poll(&mut Context::from_waker(Waker::noop()));
        matches!(now, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }
}

/// A connection that has been admitted.
#[derive(Debug)]
pub(super) struct Connection {
    exchange: Exchange,
    decoder: Decoder,
    answers: Answers,
    share: Share,
    read_bytes: usize,
    /// Since when the client has taken none of the output that waits for it; none if none waits.
    stalled_since: Option<Instant>,
    /// Since when more waits for the client than `output_bytes_max`; none if less does.
    excess_since: Option<Instant>,
    /// For those who WAIT.
    status: watch::Receiver<Arc<NodeStatus>>,
    last_input: Instant,
    /// Declared last, and so dropped last: by then nothing is held any more.
    presence: Presence,
}

/// Being connected, which ends however the task does, by a panic as well.
#[derive(Debug)]
struct Presence {
    front: Arc<FrontDoor>,
    client: Arc<Client>,
}

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The client left, or asked for it.
    Left,
    /// CLIENT KILL.
    Killed,
    /// The socket failed.
    Socket(io::Error),
    /// The shard closed it: what became of its requests is unknown.
    Closed(&'static str),
    /// A limit was reached, which the log should tell.
    Cut(Cut),
}

/// What happened while the task waited.
enum Event {
    Read(io::Result<usize>),
    Wrote(io::Result<usize>),
    /// Answers arrived, or ended.
    Answers,
    /// A message arrived; none if none will any more.
    Message(Option<Arc<Message>>),
    Deadline,
    StatusChanged,
    Summoned(Summons),
}

impl Connection {
    /// Admits a connection, unless there are too many.
    pub(super) fn open(front: &Arc<FrontDoor>, endpoints: Endpoints) -> Option<Self> {
        if front.clients.count() >= front.limits.clients_max {
            // Refusing must cost less than serving, so the shard is not asked.
            return None;
        }
        let (id, answers) = front.shard.connect();
        let Some(client) = front.clients.admit(id, endpoints, front.limits.clients_max) else {
            front.shard.disconnect(id);
            return None;
        };
        let now = Instant::now();
        Some(Self {
            exchange: Exchange::new(front.clone(), client.clone()),
            decoder: Decoder::new(front.limits.frame),
            answers: Answers::new(answers, front.limits.output_bytes_max),
            share: Share::new(front.budget.clone()),
            read_bytes: READ_BYTES_MIN,
            stalled_since: None,
            excess_since: None,
            status: front.shard.watch_status(),
            last_input: now,
            presence: Presence { front: front.clone(), client },
        })
    }

    /// Serves until the connection ends.
    pub(super) async fn serve<R, W>(mut self, mut reader: R, mut writer: W)
    where
        R: Input,
        W: AsyncWrite + Unpin,
    {
        let end = self.converse(&mut reader, &mut writer).await;
        self.exchange.observe_unanswered(self.exchange.now);
        self.tell(&end);
        match end {
            End::Left if self.exchange.is_refused() => linger(&mut reader, &mut writer).await,
            End::Closed(_) | End::Killed => {
                // What was answered before is owed; the client's silence must not hold the task.
                let output = std::mem::take(self.exchange.output());
                let _ = timeout(LINGER, writer.write_all(&output)).await;
            }
            End::Left | End::Socket(_) | End::Cut(_) => {}
        }
    }

    async fn converse<R, W>(&mut self, reader: &mut R, writer: &mut W) -> End
    where
        R: Input,
        W: AsyncWrite + Unpin,
    {
        loop {
            if let Err(end) = self.deliver() {
                return end;
            }
            self.execute_input();
            while self.wait_is_over() {
                self.execute_input();
            }
            if let Some(wrote) = self.write_now(writer) {
                if let Err(end) = self.handle(Event::Wrote(wrote)) {
                    return end;
                }
                if self.has_more() {
                    continue;
                }
            }
            if let Some(end) = self.check_limits() {
                return end;
            }
            if self.exchange.is_over() && self.exchange.output().is_empty() {
                return End::Left;
            }
            let event = self.wait(reader, writer).await;
            self.exchange.now = Instant::now();
            if let Err(end) = self.handle(event) {
                return end;
            }
            if self.is_left_unheard() && reader.has_ended() {
                self.exchange.give_up();
                self.presence.front.shard.give_up(self.presence.client.id);
            }
        }
    }

    /// Writes what the socket takes at once, which mostly is all: a turn of waiting costs as much as the write.
    fn write_now<W: AsyncWrite + Unpin>(&mut self, writer: &mut W) -> Option<io::Result<usize>> {
        let output = self.exchange.output();
        if output.is_empty() {
            return None;
        }
        // Nobody needs to be woken: if it is too early, the wait that follows asks again.
        match Pin::new(writer).poll_write(&mut Context::from_waker(Waker::noop()), output) {
            Poll::Ready(wrote) => Some(wrote),
            Poll::Pending => None,
        }
    }

    /// Whether having written lets anything go on that no event will announce.
    fn has_more(&self) -> bool {
        self.answers.has_some()
            || self.exchange.message_bytes() > 0
            || self.decoder.buffered() > 0
            || !self.exchange.is_open()
    }

    /// Executes all commands that have arrived and may be executed, and submits what is for the shard.
    fn execute_input(&mut self) {
        let before = self.decoder.buffered();
        while self.may_execute() {
            match self.decoder.next_command() {
                Ok(Some(frame)) if is_http(&frame) => self.refuse_http(),
                Ok(Some(frame)) => self.exchange.execute(frame),
                Ok(None) => {
                    self.exchange.drained();
                    break;
                }
                Err(error) => {
                    let client = self.presence.client.endpoints.remote;
                    if let Some(kept_back) = self.presence.front.cuts.pass(StdInstant::now()) {
                        tracing::warn!(%client, %error, kept_back, "refused a client's input");
                    }
                    self.exchange.refuse_input(&error);
                }
            }
        }
        let requests = self.exchange.take_requests();
        // Said once more: a node that was recovering its data when the client gave up has not heard it.
        let gives_up = self.exchange.gives_up() && !requests.is_empty();
        self.presence.front.shard.submit(self.presence.client.id, requests);
        if gives_up {
            self.presence.front.shard.give_up(self.presence.client.id);
        }
        if self.decoder.buffered() != before {
            let buffered = self.decoder.buffered();
            self.exchange.publish(buffered, self.decoder.allocated().saturating_sub(buffered));
        }
    }

    /// Answers a wait that is over, which lets more input be executed.
    fn wait_is_over(&mut self) -> bool {
        if !self.exchange.is_waiting() {
            return false;
        }
        let status = self.status.borrow_and_update().clone();
        self.exchange.poll_wait(&status, self.exchange.now)
    }

    /// A browser was made to send a request here; what follows in it might look like commands.
    fn refuse_http(&mut self) {
        let client = self.presence.client.endpoints.remote;
        if let Some(kept_back) = self.presence.front.cuts.pass(StdInstant::now()) {
            tracing::warn!(%client, kept_back, "closed a connection that speaks HTTP: possible attack from a browser");
        }
        self.exchange.refuse();
    }

    /// How much room to make for the next read. Whoever has nothing in flight may stay silent for long, and
    /// gets little.
    fn next_read_bytes(&self) -> usize {
        match self.exchange.owes_nothing() && self.decoder.buffered() == 0 {
            true => READ_BYTES_MIN,
            false => self.read_bytes.max(self.decoder.missing().min(READ_BYTES_MAX)),
        }
    }

    fn check_limits(&mut self) -> Option<End> {
        let limits = &self.presence.front.limits;
        let now = self.exchange.now;
        let unread = self.unread_bytes();
        self.stalled_since = (unread > 0).then(|| self.stalled_since.unwrap_or(now));
        self.excess_since = (unread > limits.output_bytes_max).then(|| self.excess_since.unwrap_or(now));
        if let Some((_, cause)) = self.patience_ends().filter(|(end, _)| now >= *end) {
            return Some(End::Cut(cause));
        }
        if limits.idle_max.is_some_and(|idle| now.saturating_duration_since(self.last_input) >= idle)
            && self.exchange.is_idle()
        {
            return Some(End::Cut(Cut::Idle));
        }
        if self.decoder.allocated() > READ_BYTES_MIN {
            // Done only if nothing is buffered; and then arguments that are in flight hold most of it anyway.
            self.decoder.release();
        }
        let held = self.decoder.allocated() + self.exchange.held_bytes() + self.answers.held_bytes();
        match self.share.hold(held) {
            true => None,
            false => Some(End::Cut(Cut::Buffers)),
        }
    }

    /// Waits for the next event. Each branch loses nothing when another one wins.
    async fn wait<R, W>(&mut self, reader: &mut R, writer: &mut W) -> Event
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let deadline = self.deadline();
        let may_read = self.may_read();
        let is_waiting = self.exchange.is_waiting();
        let read_bytes = self.next_read_bytes();
        let has_output = !self.exchange.output().is_empty();
        let takes_messages = self.exchange.output_bytes() < OUTPUT_READY_BYTES && self.exchange.is_open();
        let (output, mailbox) = self.exchange.ends();
        // Not biased: a busy channel gives something to write at every turn, and the client must be heard as well.
        tokio::select! {
            summons = self.presence.client.summoned() => Event::Summoned(summons),
            wrote = writer.write(output), if has_output => Event::Wrote(wrote),
            () = self.answers.arrive() => Event::Answers,
            message = next_message(mailbox), if takes_messages => Event::Message(message),
            read = reader.read_buf(self.decoder.space(read_bytes)), if may_read => Event::Read(read),
            () = changed(&mut self.status), if is_waiting => Event::StatusChanged,
            () = until(deadline) => Event::Deadline,
        }
    }

    /// Reply bytes that the client has not taken, encoded or not.
    fn unread_bytes(&self) -> usize {
        self.exchange.output_bytes() + self.answers.held_bytes() + self.exchange.message_bytes()
    }

    /// Whether the next command may be executed: not while the replies to earlier ones pile up.
    fn may_execute(&self) -> bool {
        self.exchange.accepts() && self.unread_bytes() <= self.presence.front.limits.output_bytes_max
    }

    fn may_read(&self) -> bool {
        self.exchange.is_open() && (self.may_execute() || self.decoder.buffered() < READ_AHEAD_BYTES)
    }

    /// Whether its client waits, perhaps for long, and would not be noticed if it left: so much stands behind the command
    /// that waits that no more is read.
    fn is_left_unheard(&self) -> bool {
        let waits = self.exchange.is_blocked() || self.exchange.is_waiting();
        waits && self.exchange.is_open() && !self.exchange.gives_up() && !self.may_read()
    }

    /// Until when the client may leave its replies unread, and what to say of it then. With more unread than it
    /// should have it must be reading, and must get below the limit within the time that it may else do nothing.
    fn patience_ends(&self) -> Option<(Instant, Cut)> {
        let stall_max = self.presence.front.limits.output_stall_max;
        let stalled = self.stalled_since?;
        match self.excess_since {
            None => Some((stalled.checked_add(stall_max)?, Cut::Stalled)),
            Some(excess) => {
                let idle = stalled.checked_add(stall_max.min(EXCESS_STALL_MAX))?;
                let end = excess.checked_add(stall_max).map_or(idle, |end| end.min(idle));
                Some((end, Cut::Output))
            }
        }
    }

    /// When to look again if nothing happens.
    fn deadline(&self) -> Option<Instant> {
        let limits = &self.presence.front.limits;
        let stall = self.patience_ends().map(|(end, _)| end);
        let idle = limits.idle_max.filter(|_| self.exchange.is_idle()).map(|idle| self.last_input + idle);
        let look = self.is_left_unheard().then(|| self.exchange.now + LOOK_INTERVAL);
        [self.exchange.wait_deadline(), stall, idle, look].into_iter().flatten().min()
    }

    fn handle(&mut self, event: Event) -> Result<(), End> {
        match event {
            Event::Read(Ok(0)) => {
                self.exchange.end_input();
                self.presence.front.shard.give_up(self.presence.client.id);
                Ok(())
            }
            Event::Read(Ok(bytes)) => {
                self.arrived(bytes);
                Ok(())
            }
            Event::Wrote(Ok(0)) => Err(End::Socket(io::ErrorKind::WriteZero.into())),
            Event::Wrote(Ok(bytes)) => {
                self.written(bytes);
                Ok(())
            }
            Event::Read(Err(error)) | Event::Wrote(Err(error)) => Err(End::Socket(error)),
            Event::Answers => {
                self.answers.sort_in(self.exchange.now);
                Ok(())
            }
            Event::Deadline | Event::StatusChanged => Ok(()),
            Event::Message(Some(message)) => {
                self.exchange.receive_one(&message);
                Ok(())
            }
            Event::Message(None) => Err(End::Cut(Cut::Messages)),
            Event::Summoned(Summons::Kill) => Err(End::Killed),
            // Who reads the node's own data as they are needs no leader for it.
            Event::Summoned(Summons::Dismissal) if self.exchange.needs_no_leader() => Ok(()),
            Event::Summoned(Summons::Dismissal) => {
                self.leave();
                Ok(())
            }
        }
    }

    /// Ends the connection, once what was asked is answered. What waits for something is given up.
    fn leave(&mut self) {
        self.exchange.give_up();
        self.exchange.close();
        self.presence.front.shard.give_up(self.presence.client.id);
    }

    /// The next piece is larger if this one filled its room, and smaller if it used little of it.
    fn arrived(&mut self, bytes: usize) {
        self.last_input = self.exchange.now;
        self.presence.front.statistics.input_bytes.add(bytes as u64);
        if self.decoder.is_full() {
            self.read_bytes = (self.read_bytes * 4).min(READ_BYTES_MAX);
        } else if bytes < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        }
    }

    fn written(&mut self, bytes: usize) {
        let now = self.exchange.now;
        self.presence.front.statistics.output_bytes.add(bytes as u64);
        let output = self.exchange.output();
        output.advance(bytes);
        self.stalled_since = (!output.is_empty()).then_some(now);
        if output.is_empty() && output.capacity() > OUTPUT_KEPT_BYTES {
            *output = BytesMut::new();
        }
    }

    /// Encodes answers and messages, unless enough waits to be written.
    fn deliver(&mut self) -> Result<(), End> {
        while self.exchange.output_bytes() < OUTPUT_READY_BYTES {
            let Some((answer, arrived)) = self.answers.next() else { break };
            self.exchange.answer(answer, arrived).map_err(End::Closed)?;
        }
        if self.exchange.is_open() {
            self.exchange.receive(OUTPUT_READY_BYTES);
        }
        match self.answers.is_over() {
            true => Err(End::Closed("the shard has stopped")),
            false => Ok(()),
        }
    }

    /// Writes the log line of an end that somebody may ask about.
    fn tell(&self, end: &End) {
        let (cause, reason) = match end {
            End::Cut(cause) => (*cause, cause.reason()),
            End::Closed(reason) => (Cut::Unknown, *reason),
            End::Socket(error) => {
                tracing::debug!(client = %self.presence.client.endpoints.remote, %error, "a connection failed");
                return;
            }
            End::Left | End::Killed => return,
        };
        self.presence.front.statistics.cut(cause);
        if let Some(kept_back) = self.presence.front.cuts.pass(StdInstant::now()) {
            let client = self.presence.client.endpoints.remote;
            tracing::warn!(%client, reason, kept_back, "closed a client's connection");
        }
    }
}

/// Resolves when the status was replaced; never, once nobody replaces it any more.
async fn changed<T>(status: &mut watch::Receiver<T>) {
    if status.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Resolves at the deadline, or never. Most connections have none most of the time: no timer is made for them.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// The next message of a mailbox; without one there will never be any.
async fn next_message(mailbox: Option<&mut Mailbox>) -> Option<Arc<Message>> {
    match mailbox {
        Some(mailbox) => mailbox.next().await,
        None => std::future::pending().await,
    }
}

/// Takes what the client is still sending, so that it gets to read why it was refused.
async fn linger<R, W>(reader: &mut R, writer: &mut W)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let drain = async {
        // An error only means that the client is gone already.
        let _ = writer.shutdown().await;
        let mut input = reader.take(LINGER_BYTES_MAX as u64);
        let mut scrap = BytesMut::with_capacity(READ_BYTES_MIN);
        while matches!(input.read_buf(&mut scrap).await, Ok(1..)) {
            scrap.clear();
        }
    };
    let _ = timeout(LINGER, drain).await;
}

impl Drop for Presence {
    fn drop(&mut self) {
        let id: ConnId = self.client.id;
        if std::thread::panicking() {
            tracing::error!(
                connection = id.0,
                "a connection's task panicked and was closed; please report this"
            );
        }
        self.front.shard.subscriptions().remove(id);
        self.front.clients.remove(id);
        self.front.shard.disconnect(id);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use crossbeam_channel::Receiver;
    use quorate_machine::{Seen, Version};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::{
        connection::Limits,
        handle::{Answer, Reply, ShardHandle, ShardInput, Watched},
        subscriptions::Subscriptions,
    };

    impl Input for tokio::io::ReadHalf<tokio::io::DuplexStream> {
        fn has_ended(&self) -> bool {
            false
        }
    }

    fn front(limits: Limits) -> (Arc<FrontDoor>, Receiver<ShardInput>, watch::Sender<Arc<NodeStatus>>) {
        let (inputs, received) = crossbeam_channel::unbounded();
        let (status, watched) = watch::channel(Arc::new(NodeStatus::default()));
        let handle = ShardHandle::new(inputs, watched, Subscriptions::new().0);
        (FrontDoor::new(handle, limits, BTreeMap::new(), 0), received, status)
    }

    /// What the shard is told next must be this.
    macro_rules! expect {
        ($received:expr, $kind:ident) => {
            let input = next(&$received).await;
            assert!(matches!(input, ShardInput::$kind { .. }), "{input:?}");
        };
    }

    /// A client whose connection is being served.
    async fn served(front: &Arc<FrontDoor>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, remote) = listener.accept().await.unwrap();
        let connection = Connection::open(front, Endpoints { remote, local: remote }).unwrap();
        let (reader, writer) = stream.into_split();
        tokio::spawn(connection.serve(reader, writer));
        client
    }

    /// What the shard is told next.
    async fn next(received: &Receiver<ShardInput>) -> ShardInput {
        let arrives = async {
            loop {
                match received.try_recv() {
                    Ok(input) => return input,
                    Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        timeout(Duration::from_secs(20), arrives).await.expect("the shard is told something")
    }

    /// Nothing more was read of such a client, and so it took an element that nobody got.
    #[tokio::test]
    async fn a_client_that_leaves_with_much_behind_a_command_that_waits_is_noticed() {
        let (front, received, _status) = front(Limits::default());
        let mut client = served(&front).await;
        client.write_all(b"BLPOP q 0\r\n").await.unwrap();
        client.write_all(&b"PING\r\n".repeat(5_000)).await.unwrap();
        expect!(received, Connected);
        expect!(received, Requests);
        drop(client);
        expect!(received, GivesUp);
        assert_eq!(front.connected(), 1, "the shard has the last word");
    }

    /// While a node recovers its data nobody hears that a client gives up; so one that had asked for more, and left, took
    /// a place in the queue for ever.
    #[tokio::test]
    async fn a_client_that_gave_up_says_so_again_behind_what_it_asks_for_later() {
        // A reply that is longer than may wait holds back what is behind it, also the end of the input.
        let (front, received, status) = front(Limits { output_bytes_max: 1024, ..Limits::default() });
        status.send_replace(Arc::new(NodeStatus { loading: true, ..NodeStatus::default() }));
        let (mut client, stream) = tokio::io::duplex(512);
        let address = ([127, 0, 0, 1], 5).into();
        let connection = Connection::open(&front, Endpoints { remote: address, local: address }).unwrap();
        let (reader, writer) = tokio::io::split(stream);
        tokio::spawn(connection.serve(reader, writer));
        client.write_all(b"COMMAND\r\nBLPOP q 0\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        expect!(received, Connected);
        expect!(received, GivesUp);
        status.send_replace(Arc::new(NodeStatus::default()));
        tokio::spawn(async move { tokio::io::copy(&mut client, &mut tokio::io::sink()).await });
        expect!(received, Requests);
        expect!(received, GivesUp);
    }

    /// The share of a reply that was written at once stayed taken for as long as its client was silent, until others
    /// were cut off for want of room that nobody used.
    #[tokio::test]
    async fn a_client_that_has_read_its_reply_takes_no_room_any_more() {
        let (front, _received, _status) = front(Limits::default());
        let mut client = served(&front).await;
        client.write_all(b"COMMAND\r\nPING\r\n").await.unwrap();
        let mut replies = Vec::new();
        while !replies.ends_with(b"+PONG\r\n") {
            assert!(client.read_buf(&mut replies).await.unwrap() > 0);
        }
        assert!(replies.len() > 16 << 10, "{} bytes fit into what each may have", replies.len());
        let settled = async {
            while front.buffered_bytes() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), settled).await.expect("the room is given back");
    }

    /// More than may wait was answered when the end of the input was known, and all of it was written at once: nothing
    /// remained that could have happened to the connection.
    #[tokio::test]
    async fn a_half_closed_connection_ends_when_all_is_written() {
        let (front, received, _status) = front(Limits { output_bytes_max: 1024, ..Limits::default() });
        let mut client = served(&front).await;
        client.write_all(b"GET a\r\nGET b\r\nWATCH k\r\n").await.unwrap();
        client.shutdown().await.unwrap();
        let ShardInput::Connected { answers, .. } = next(&received).await else {
            panic!("it connects first")
        };
        let mut asked = 0;
        while asked < 3 {
            if let ShardInput::Requests { requests, .. } = next(&received).await {
                asked += requests.len();
            }
        }
        let value = || Answer::Reply(Reply::Bulk(Bytes::from(vec![b'v'; 900])));
        let seen = Seen::Present(Version(1));
        let watched = Watched { db: 0, key: Bytes::from_static(b"k"), seen };
        for answer in [value(), value(), Answer::Watched(vec![watched])] {
            answers.send(answer).unwrap();
        }
        let mut replies = Vec::new();
        let all = timeout(Duration::from_secs(20), client.read_to_end(&mut replies)).await;
        let tail = replies[replies.len().saturating_sub(20)..].escape_ascii().to_string();
        assert!(
            matches!(all, Ok(Ok(_))) && tail.ends_with("+OK\\r\\n"),
            "{all:?}, {} bytes, {tail}",
            replies.len()
        );
    }

    #[tokio::test]
    async fn a_panic_ends_one_connection_and_leaves_no_trace_of_it() {
        let (front, received, _status) = front(Limits::default());
        let endpoints = Endpoints { remote: ([127, 0, 0, 1], 5).into(), local: ([127, 0, 0, 1], 6).into() };
        let mut connection = Connection::open(&front, endpoints).expect("there is room");
        assert!(connection.share.hold(1 << 20));
        let task = tokio::spawn(async move {
            let _connection = connection;
            panic!("as the test wants it");
        });
        assert!(task.await.is_err());
        assert_eq!((front.connected(), front.buffered_bytes()), (0, 0));
        assert!(matches!(received.try_recv(), Ok(ShardInput::Connected { .. })));
        assert!(matches!(received.try_recv(), Ok(ShardInput::Disconnected { .. })));
    }
}
