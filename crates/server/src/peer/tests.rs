//! Two transports over the loopback.

use std::{collections::BTreeSet, io, sync::OnceLock, time::Duration};

use quorate_consensus::{
    ClusterTime, Index, Membership, SnapshotMeta, Term,
    raft::message::{Body, Message},
};
use quorate_machine::ClusterVersion;
use quorate_node::Gossip;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

use super::*;
use crate::peer::{acquaintances::Acquaintances, versions::Versions};

/// What a transport told, in order.
#[derive(Debug, PartialEq)]
enum Told {
    Message(u64, Box<PeerMessage<Message>>),
    Introduced(u64, Option<Address>),
    Unreachable(u64),
}

#[derive(Clone)]
struct Ear(mpsc::UnboundedSender<Told>);

impl Events for Ear {
    type Message = Message;

    fn message(&self, from: u64, message: PeerMessage<Message>, _: OwnedSemaphorePermit) {
        let _ = self.0.send(Told::Message(from, Box::new(message)));
    }

    fn introduced(&self, peer: u64, address: Option<Address>) {
        let _ = self.0.send(Told::Introduced(peer, address));
    }

    fn unreachable(&self, peer: u64) {
        let _ = self.0.send(Told::Unreachable(peer));
    }
}

struct Node {
    transport: Transport<Ear>,
    told: mpsc::UnboundedReceiver<Told>,
    shutdown: watch::Sender<bool>,
}

fn local(node_id: u64, disk_id: u128, acquaintances: Arc<Acquaintances>) -> Local {
    Local {
        node_id,
        founders: BTreeSet::from([1, 2]),
        cluster_id: Arc::new(OnceLock::new()),
        disk_id,
        incarnation: 1,
        engine: "raft",
        versions: Arc::new(Versions::new(ClusterVersion::NEWEST)),
        frame_bytes_max: 1 << 20,
        resp_address: Address::new("127.0.0.1", 7379),
        sentinel_address: None,
        http_address: Address::new("127.0.0.1", 18_379),
        peer_address: Address::new("127.0.0.1", 17_379),
        acquaintances,
    }
}

/// The configuration of these members.
fn members(peers: &Peers) -> Membership {
    let address = |(&id, address): (&u64, &Address)| {
        (NodeId(id), quorate_consensus::Address(address.to_string().into()))
    };
    Membership::of_voters(peers.0.keys().copied().map(NodeId)).with_addresses(peers.0.iter().map(address))
}

fn start(mut local: Local, peers: &Peers, listener: TcpListener) -> Node {
    local.peer_address = Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let (sender, told) = mpsc::unbounded_channel();
    let shutdown = watch::Sender::new(false);
    let (_, stopping) = watch::channel(false);
    let settings = Peers::default();
    let mut transport =
        Transport::start(local, &settings, 1 << 20, listener, Ear(sender), stopping, shutdown.subscribe());
    transport.follow(&members(peers));
    Node { transport, told, shutdown }
}

async fn listeners() -> (TcpListener, TcpListener, Peers) {
    let one = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let two = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = |listener: &TcpListener| Address::new("127.0.0.1", listener.local_addr().unwrap().port());
    let peers = Peers([(1, address(&one)), (2, address(&two))].into());
    (one, two, peers)
}

fn gossip(number: u64) -> PeerMessage<Message> {
    PeerMessage::Gossip(Gossip {
        applied: Index(number),
        room: true,
        wall_ms: 0,
        followers: 0,
        commit: Index(number),
        version: ClusterVersion::FIRST,
        sent: quorate_consensus::BootTime::default(),
        echo: None,
    })
}

fn chunk(bytes: usize) -> PeerMessage<Message> {
    let meta = SnapshotMeta {
        index: Index(1),
        term: Term(1),
        stamp: ClusterTime { millis: 0 },
        membership: Membership::default().into(),
        bytes: 0,
    };
    let body = Body::SnapshotChunk { meta, offset: 0, data: vec![0; bytes].into() };
    PeerMessage::Engine(Message { term: Term(1), body })
}

const LONG: Duration = Duration::from_secs(10);

impl Node {
    /// The next thing that is told and fits; others are passed over.
    async fn next(&mut self, fits: impl Fn(&Told) -> bool) -> Told {
        let search = async {
            loop {
                let told = self.told.recv().await.expect("the transport lives");
                if fits(&told) {
                    return told;
                }
            }
        };
        timeout(LONG, search).await.expect("it is told in time")
    }

    /// `peer` is no member, and was not for long.
    fn leave_long_ago(&mut self, peer: u64) {
        self.transport.follow(&Membership::of_voters([NodeId(1)]));
        let long_ago =
            Instant::now().checked_sub(GUEST_SILENCE_MAX * 2).expect("the machine runs for longer");
        self.transport.peers.get_mut(&NodeId(peer)).expect("a guest").guest_since = Some(long_ago);
    }

    /// Resolves once both lanes to `peer` are connected, or panics after a long time.
    async fn connected(&self, peer: u64) {
        let directory = self.transport.directory();
        let wait = async {
            while directory.contacts().get(&peer).is_none_or(|contact| contact.connections < 2) {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, wait).await.expect("connected in time");
    }
}

#[tokio::test]
async fn messages_arrive_in_order_and_a_lost_connection_is_told_and_made_again() {
    let (one, two, peers) = listeners().await;
    let known = Arc::new(Acquaintances::in_memory());
    let first = start(local(1, 10, Arc::clone(&known)), &peers, one);
    let mut first = first;
    let mut second = start(local(2, 20, Arc::clone(&known)), &peers, two);
    first.connected(2).await;
    for number in 0..100 {
        first.transport.send(NodeId(2), gossip(number));
    }
    for number in 0..100 {
        let told = second.next(|told| matches!(told, Told::Message(..))).await;
        assert_eq!(told, Told::Message(1, Box::new(gossip(number))));
    }

    second.shutdown.send_replace(true);
    first.next(|told| *told == Told::Unreachable(2)).await;
    drop(second);
    let again = TcpListener::bind(peers.0[&2].to_pair()).await.unwrap();
    let mut second = start(local(2, 20, known), &peers, again);
    first.connected(2).await;
    first.transport.send(NodeId(2), gossip(7));
    assert_eq!(
        second.next(|told| matches!(told, Told::Message(..))).await,
        Told::Message(1, Box::new(gossip(7)))
    );
}

/// A full lane was once reported like a lost connection: followers under load took their leader for dead, asked for
/// votes, and everybody sent everything again.
#[tokio::test]
async fn a_peer_that_is_too_slow_loses_messages_and_is_not_called_unreachable() {
    let (one, two, peers) = listeners().await;
    let known = Arc::new(Acquaintances::in_memory());
    let mut first = start(local(1, 10, Arc::clone(&known)), &peers, one);
    let mut second = start(local(2, 20, known), &peers, two);
    first.connected(2).await;
    while first.told.try_recv().is_ok() {}

    // Nothing is awaited meanwhile, so that nothing can leave the lane.
    for _ in 0..5 {
        first.transport.send(NodeId(2), chunk(300 << 10));
    }
    assert_eq!(first.transport.directory().contacts()[&2].dropped, 2);
    first.transport.send(NodeId(2), gossip(1));
    second.next(|told| *told == Told::Message(1, Box::new(gossip(1)))).await;
    assert!(first.told.try_recv().is_err());
    assert_eq!(first.transport.directory().contacts()[&2].connections, 2);
}

#[tokio::test]
async fn a_wiped_node_is_refused_in_both_directions() {
    let (one, two, peers) = listeners().await;
    let known = Arc::new(Acquaintances::in_memory());
    known.meet(2, 20).unwrap();
    let mut first = start(local(1, 10, known), &peers, one);
    let mut second = start(local(2, 21, Arc::new(Acquaintances::in_memory())), &peers, two);
    first.next(|told| *told == Told::Unreachable(2)).await;
    second.next(|told| *told == Told::Unreachable(1)).await;
    assert_eq!(first.transport.directory().contacts()[&2].connections, 0);
    assert_eq!(second.transport.directory().contacts()[&1].connections, 0);
}

#[tokio::test]
async fn garbage_on_the_peer_port_is_closed_at_once_and_harms_nobody() {
    let (one, two, peers) = listeners().await;
    let known = Arc::new(Acquaintances::in_memory());
    let first = start(local(1, 10, Arc::clone(&known)), &peers, one);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"QUORATE1\xff\xff\xff\xff", b"QUORATE1\x02\0\0\0zz"] {
        let mut stranger = TcpStream::connect(peers.0[&1].to_pair()).await.unwrap();
        stranger.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(LONG, stranger.read_to_end(&mut answer)).await.expect("closed in time");
        let reset = matches!(&read, Err(error) if error.kind() == io::ErrorKind::ConnectionReset);
        assert!(read.is_ok() || reset);
    }
    let _second = start(local(2, 20, known), &peers, two);
    first.connected(2).await;
}

/// A witness applies nothing, so that it would not notice by itself that its program is too old.
#[tokio::test]
async fn who_does_not_know_the_version_that_comes_is_refused_from_then_on() {
    let (one, two, peers) = listeners().await;
    let known = Arc::new(Acquaintances::in_memory());
    let first = local(1, 10, Arc::clone(&known));
    let versions = Arc::clone(&first.versions);
    let mut first = start(first, &peers, one);
    let mut second = start(local(2, 20, known), &peers, two);
    first.connected(2).await;
    second.connected(1).await;
    versions.rises_to(ClusterVersion(ClusterVersion::NEWEST.0 + 1));
    second.transport.send(NodeId(1), gossip(1));
    second.next(|told| *told == Told::Unreachable(1)).await;
    first.transport.send(NodeId(2), gossip(2));
    first.next(|told| *told == Told::Unreachable(2)).await;
    while let Ok(told) = second.told.try_recv() {
        assert!(!matches!(told, Told::Message(..)), "what was to be sent is not: {told:?}");
    }
}

/// A node that comes back after others have joined does not know the leader that dials it, and could not answer.
#[tokio::test]
async fn a_node_of_the_cluster_that_nobody_has_told_of_is_answered() {
    let (one, two, peers) = listeners().await;
    let born = |mut local: Local| {
        local.cluster_id = Arc::new(OnceLock::from(7));
        local.founders = BTreeSet::new();
        local
    };
    let acquaintances = || Arc::new(Acquaintances::in_memory());
    let mut first = start(born(local(1, 10, acquaintances())), &Peers::default(), one);
    let mut second = start(born(local(2, 20, acquaintances())), &peers, two);
    let told = first.next(|told| matches!(told, Told::Introduced(2, Some(_)))).await;
    let Told::Introduced(_, address) = told else { unreachable!("that was waited for") };
    assert_eq!(address.as_ref(), peers.0.get(&2));
    first.transport.introduced(NodeId(2), address);
    first.connected(2).await;
    first.transport.send(NodeId(2), gossip(3));
    second.next(|told| *told == Told::Message(1, Box::new(gossip(3)))).await;
}

#[tokio::test]
async fn a_place_where_somebody_else_is_or_nobody_does_not_keep_from_the_right_one() {
    let (one, two, peers) = listeners().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = Address::new("127.0.0.1", gone.local_addr().unwrap().port());
    drop(gone);
    let known = Arc::new(Acquaintances::in_memory());
    let mut wrong = peers.clone();
    wrong.0.insert(2, nobody);
    let mut first = start(local(1, 10, Arc::clone(&known)), &wrong, one);
    let _second = start(local(2, 20, known), &peers, two);
    first.next(|told| *told == Told::Unreachable(2)).await;
    first.transport.introduced(NodeId(2), peers.0.get(&2).cloned());
    first.connected(2).await;
}

#[tokio::test]
async fn who_is_no_member_any_more_is_still_answered_while_it_speaks() {
    let (one, two, peers) = listeners().await;
    let known = Arc::new(Acquaintances::in_memory());
    let mut first = start(local(1, 10, Arc::clone(&known)), &peers, one);
    let mut second = start(local(2, 20, known), &peers, two);
    first.connected(2).await;
    second.connected(1).await;
    second.transport.send(NodeId(1), gossip(1));
    first.next(|told| *told == Told::Message(2, Box::new(gossip(1)))).await;
    first.leave_long_ago(2);
    first.transport.tidy();
    first.transport.send(NodeId(2), gossip(2));
    second.next(|told| *told == Told::Message(1, Box::new(gossip(2)))).await;
}

#[tokio::test]
async fn who_is_no_member_any_more_and_silent_is_forgotten_until_it_speaks_again() {
    let (one, two, peers) = listeners().await;
    let known = Arc::new(Acquaintances::in_memory());
    let mut first = start(local(1, 10, Arc::clone(&known)), &peers, one);
    first.next(|told| *told == Told::Unreachable(2)).await;
    first.leave_long_ago(2);
    first.transport.tidy();
    assert!(first.transport.directory().contacts().is_empty());

    let second = start(local(2, 20, known), &peers, two);
    second.connected(1).await;
    second.transport.send(NodeId(1), gossip(1));
    let address = peers.0.get(&2).cloned();
    first.next(|told| *told == Told::Introduced(2, address.clone())).await;
    first.transport.introduced(NodeId(2), address);
    first.connected(2).await;
}
