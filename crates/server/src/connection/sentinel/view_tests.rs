//! What is said of each kind of node, in health and without a leader.

use bytes::BytesMut;

use super::*;
use crate::{
    config::Address,
    resp::{Protocol, encode},
    status::{Leader, Member, MemberKind},
};

fn settings() -> SentinelSettings {
    SentinelSettings {
        master_name: "quorate".to_owned(),
        advertise: Address::new("h1", 7379),
        down_after: std::time::Duration::from_millis(300),
    }
}

fn peer(node_id: u64, port: u16) -> Peer {
    Peer {
        node_id,
        host: format!("h{node_id}"),
        port,
        sentinel_host: format!("h{node_id}"),
        sentinel_port: 26_379,
        connected: true,
        heard_ms_ago: Some(40),
        ..Peer::default()
    }
}

/// Node 1 of three, which follows node 2.
fn follower() -> NodeStatus {
    NodeStatus {
        node_id: 1,
        cluster_id: Some("c".repeat(32)),
        term: 7,
        leader: Some(Leader { node_id: 2, host: "h2".to_owned(), port: 7380, connected: true }),
        peers: vec![peer(2, 7380), peer(3, 7381)],
        members: (1..=3).map(voter).collect(),
        ..NodeStatus::default()
    }
}

fn voter(node_id: u64) -> Member {
    Member { node_id, ..Member::default() }
}

fn master() -> Option<Master> {
    Some(Master { node_id: 2, host: "h2".to_owned(), port: 7380 })
}

/// A reply in version 2 of the protocol, without the lengths of strings.
fn words(reply: &Reply) -> String {
    let mut out = BytesMut::new();
    encode(reply, Protocol::Resp2, &mut out);
    let text = String::from_utf8_lossy(&out).into_owned();
    let is_length = |line: &&str| !line.starts_with('$') || *line == "$-1";
    text.lines().filter(is_length).collect::<Vec<_>>().join(" ")
}

const ID_2: &str = "cccccccccccccccccccccccccccccccc00000002";
const ID_3: &str = "cccccccccccccccccccccccccccccccc00000003";

#[test]
fn the_leader_is_the_master_and_all_others_are_its_replicas() {
    let (settings, status) = (settings(), follower());
    let view = View::new(&settings, &status, None);
    assert_eq!(words(&view.address()), "*2 h2 7380");
    assert_eq!(
        words(&view.masters()),
        format!(
            "*1 *40 name quorate ip h2 port 7380 runid {ID_2} flags master link-pending-commands 0 link-refcount 1 \
             last-ping-sent 0 last-ok-ping-reply 40 last-ping-reply 40 down-after-milliseconds 300 info-refresh 40 \
             role-reported master role-reported-time 0 config-epoch 7 num-slaves 2 num-other-sentinels 2 quorum 2 \
             failover-timeout 0 parallel-syncs 1"
        )
    );
    let replicas = words(&view.replicas());
    assert!(replicas.starts_with("*2 *42 name h1:7379 ip h1 port 7379 runid "), "{replicas}");
    assert!(
        replicas.contains(&format!(
            " *42 name h3:7381 ip h3 port 7381 runid {ID_3} flags slave link-pending-commands 0 link-refcount 1 \
             last-ping-sent 0 last-ok-ping-reply 40 last-ping-reply 40 down-after-milliseconds 300 info-refresh 40 \
             role-reported slave role-reported-time 0 master-link-down-time 0 master-link-status ok master-host h2 \
             master-port 7380 slave-priority 100 slave-repl-offset 0 replica-announced 1"
        )),
        "{replicas}"
    );
    assert_eq!(
        words(&view.sentinels()).replace(ID_2, "2").replace(ID_3, "3"),
        "*2 *28 name 2 ip h2 port 26379 runid 2 flags sentinel link-pending-commands 0 link-refcount 1 last-ping-sent 0 \
         last-ok-ping-reply 40 last-ping-reply 40 down-after-milliseconds 300 last-hello-message 40 voted-leader ? \
         voted-leader-epoch 0 *28 name 3 ip h3 port 26379 runid 3 flags sentinel link-pending-commands 0 link-refcount \
         1 last-ping-sent 0 last-ok-ping-reply 40 last-ping-reply 40 down-after-milliseconds 300 last-hello-message 40 \
         voted-leader ? voted-leader-epoch 0"
    );
    let line = view.line().unwrap();
    assert_eq!(line, "name=quorate,status=ok,address=h2:7380,slaves=2,sentinels=3");
}

#[test]
fn a_node_names_itself_while_it_leads() {
    let mut status = follower();
    status.leader = Some(Leader { node_id: 1, host: "h1".to_owned(), port: 7379, connected: true });
    let settings = settings();
    let view = View::new(&settings, &status, master());
    assert_eq!(words(&view.address()), "*2 h1 7379");
    let replicas = words(&view.replicas());
    assert!(replicas.contains("name h2:7380 ") && replicas.contains("name h3:7381 "), "{replicas}");
}

/// Clients that were sent to a dead leader for as long as it was missed would fail again and again.
#[test]
fn a_leader_that_is_out_of_touch_is_not_named() {
    let mut status = follower();
    let flags = |status: &NodeStatus| {
        let settings = settings();
        let view = View::new(&settings, status, master());
        assert_eq!(words(&view.address()), "*-1");
        assert_eq!(words(&view.masters()).matches("s-down-time 40").count(), 1);
        let masters = words(&view.masters());
        let flags = masters.split(" flags ").nth(1).and_then(|rest| rest.split(' ').next());
        (flags.unwrap().to_owned(), view.line().unwrap())
    };
    status.peers[0].connected = false;
    let (killed, line) = flags(&status);
    assert_eq!(killed, "master,s_down,disconnected");
    assert_eq!(line, "name=quorate,status=sdown,address=h2:7380,slaves=2,sentinels=3");
    let replicas = words(&View::new(&settings(), &status, master()).replicas());
    assert_eq!(replicas.matches("master-link-status err").count(), 2, "{replicas}");
    status.leader = None;
    assert_eq!(flags(&status).0, "master,s_down,o_down,disconnected");
    let mut removed = follower();
    removed.removed = true;
    assert_eq!(flags(&removed).0, "master,s_down,disconnected");
}

#[test]
fn before_the_first_leader_no_master_is_known() {
    let (settings, status) = (settings(), NodeStatus { leader: None, ..follower() });
    let view = View::new(&settings, &status, None);
    assert_eq!(words(&view.masters()), "*0");
    assert_eq!(view.master(), None);
    assert_eq!(words(&view.address()), "*-1");
    assert_eq!(view.line(), None);
    let replicas = words(&view.replicas());
    assert!(replicas.starts_with("*3 ") && replicas.contains("master-host ? master-port 0"), "{replicas}");
}

#[test]
fn nodes_that_are_away_are_flagged_and_those_without_an_address_left_out() {
    let mut status = follower();
    status.peers[1].connected = false;
    status.peers.push(Peer { node_id: 4, ..Peer::default() });
    status.members.push(voter(4));
    let settings = settings();
    let view = View::new(&settings, &status, None);
    let replicas = words(&view.replicas());
    assert!(
        replicas.starts_with("*2 ") && replicas.contains(" flags slave,s_down,disconnected "),
        "{replicas}"
    );
    let sentinels = words(&view.sentinels());
    assert!(sentinels.contains(" flags sentinel,s_down,disconnected "), "{sentinels}");
    assert_eq!(
        words(&view.quorum()),
        "-NOQUORUM 2 usable Sentinels. Not enough available Sentinels to reach the \
        majority and authorize a failover"
    );
    status.peers[1].connected = true;
    let text = "+OK 3 usable Sentinels. Quorum and failover authorization can be reached";
    assert_eq!(words(&View::new(&settings, &status, None).quorum()), text);
}

/// Three learners were as good as three more voters, so that a node without a majority said that it had one.
#[test]
fn learners_make_no_majority() {
    let (settings, mut status) = (settings(), follower());
    for learner in 4..=6 {
        status.peers.push(peer(learner, 7380));
        status.members.push(Member { kind: MemberKind::Learner, ..voter(learner) });
    }
    let text = "+OK 3 usable Sentinels. Quorum and failover authorization can be reached";
    assert_eq!(words(&View::new(&settings, &status, None).quorum()), text);
    status.peers.iter_mut().for_each(|peer| peer.connected = peer.node_id > 3);
    let refusal = words(&View::new(&settings, &status, None).quorum());
    assert!(refusal.starts_with("-NOQUORUM 1 usable"), "{refusal}");
}

/// If one of three commits, three elect, and two cannot promise a failover.
#[test]
fn quorum_is_what_a_new_leader_must_reach() {
    let (settings, mut status) = (settings(), follower());
    status.peers[0].connected = true;
    status.peers[1].connected = false;
    let answer = |status: &NodeStatus| words(&View::new(&settings, status, None).quorum());
    assert!(answer(&status).starts_with("+OK 2 usable"));
    status.phase2_quorum = Some(1);
    assert!(answer(&status).starts_with("-NOQUORUM 2 usable"));
    assert!(words(&View::new(&settings, &status, None).masters()).contains(" quorum 3 "));
}
