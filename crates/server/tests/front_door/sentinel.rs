//! The Sentinel door, byte by byte: its clients parse what they get by position and case.

use std::{sync::Arc, time::Duration};

use quorate::{
    config::Address,
    connection::SentinelSettings,
    status::{Leader, NodeStatus, Peer},
};

use crate::client::{Client, Door};

async fn door() -> Door {
    Door::open_sentinel(SentinelSettings {
        master_name: "quorate".to_owned(),
        advertise: Address::new("h1", 7379),
        down_after: Duration::from_millis(300),
    })
    .await
}

/// Node 1 follows this one.
fn led_by(node_id: u64) -> Arc<NodeStatus> {
    let port = 7378 + u16::try_from(node_id).unwrap();
    let leader = Leader { node_id, host: format!("h{node_id}"), port, connected: true };
    let peer = |node_id: u16| Peer {
        node_id: node_id.into(),
        host: format!("h{node_id}"),
        port: 7378 + node_id,
        connected: true,
        ..Peer::default()
    };
    let peers = vec![peer(2), peer(3)];
    Arc::new(NodeStatus { node_id: 1, leader: Some(leader), peers, ..NodeStatus::default() })
}

async fn expect_all(client: &mut Client, exchanges: &[(&str, &str)]) {
    for (command, reply) in exchanges {
        client.ask(command, reply).await;
    }
}

#[tokio::test]
async fn a_sentinel_client_is_greeted_as_by_a_sentinel() {
    let door = door().await;
    let mut client = door.client().await;
    let hello = "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.2.4\r\n$5\r\nproto\r\n:2\r\n$2\r\nid\r\n:1\r\n\
                 $4\r\nmode\r\n$8\r\nsentinel\r\n$7\r\nmodules\r\n*0\r\n";
    let exchanges = [
        ("HELLO 2", format!("*12\r\n{hello}")),
        ("PING", "+PONG\r\n".to_owned()),
        ("ROLE", "*2\r\n$8\r\nsentinel\r\n*1\r\n$7\r\nquorate\r\n".to_owned()),
        ("CLIENT SETNAME me", "+OK\r\n".to_owned()),
        ("CLIENT SETINFO LIB-NAME it", "+OK\r\n".to_owned()),
        ("CLIENT GETNAME", "$2\r\nme\r\n".to_owned()),
        ("AUTH default any", "+OK\r\n".to_owned()),
        ("HELLO 3", format!("%6\r\n{}", hello.replace(":2", ":3"))),
        ("SENTINEL GET-MASTER-ADDR-BY-NAME quorate", "_\r\n".to_owned()),
        ("RESET", "+RESET\r\n".to_owned()),
        ("QUIT", "+OK\r\n".to_owned()),
    ];
    for (command, reply) in exchanges {
        client.ask(command, &reply).await;
    }
    client.expect_end().await;
}

#[tokio::test]
async fn refusals_have_the_words_of_a_sentinel() {
    let door = door().await;
    let mut client = door.client().await;
    let exchanges = [
        ("GET a", "-ERR unknown command 'GET', with args beginning with: 'a' \r\n"),
        ("MULTI", "-ERR unknown command 'MULTI', with args beginning with: \r\n"),
        ("QUORATE STATUS", "-ERR unknown command 'QUORATE', with args beginning with: 'STATUS' \r\n"),
        ("CLIENT UNBLOCK 1", "-ERR unknown subcommand 'UNBLOCK'. Try CLIENT HELP.\r\n"),
        ("SENTINEL", "-ERR wrong number of arguments for 'sentinel' command\r\n"),
        ("SENTINEL MASTER", "-ERR wrong number of arguments for 'sentinel|master' command\r\n"),
        ("SENTINEL MASTERS x", "-ERR wrong number of arguments for 'sentinel|masters' command\r\n"),
        ("SENTINEL foo", "-ERR unknown subcommand 'foo'. Try SENTINEL HELP.\r\n"),
        ("SENTINEL MASTER nope", "-ERR No such master with that name\r\n"),
        ("SENTINEL REPLICAS nope", "-ERR No such master with that name\r\n"),
        ("SENTINEL CKQUORUM nope", "-ERR No such master with that name\r\n"),
        ("SENTINEL GET-MASTER-ADDR-BY-NAME nope", "*-1\r\n"),
        ("SENTINEL GET-MASTER-ADDR-BY-NAME QUORATE", "*-1\r\n"),
        ("SENTINEL MASTER quorate", "-ERR No leader is known yet\r\n"),
        ("SENTINEL MASTERS", "*0\r\n"),
    ];
    expect_all(&mut client, &exchanges).await;
}

#[tokio::test]
async fn subscribers_are_told_of_each_new_leader_once() {
    let door = door().await;
    door.shard.status.send_replace(led_by(2));
    let mut asking = door.client().await;
    // All tasks share a thread, and that which watches the status was woken before this question arrives.
    asking.ask("SENTINEL GET-MASTER-ADDR-BY-NAME quorate", "*2\r\n$2\r\nh2\r\n$4\r\n7380\r\n").await;

    let mut client = door.client().await;
    let exchanges = [
        ("SUBSCRIBE +switch-master", "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"),
        ("PSUBSCRIBE *", "*3\r\n$10\r\npsubscribe\r\n$1\r\n*\r\n:2\r\n"),
        ("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n"),
        ("PUNSUBSCRIBE", "*3\r\n$12\r\npunsubscribe\r\n$1\r\n*\r\n:1\r\n"),
    ];
    expect_all(&mut client, &exchanges).await;
    let push = |text: &str| {
        let length = text.len();
        format!("*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n${length}\r\n{text}\r\n")
    };
    door.shard.status.send_replace(Arc::new(NodeStatus { leader: None, ..(*led_by(2)).clone() }));
    door.shard.status.send_replace(led_by(3));
    client.expect(push("quorate h2 7380 h3 7381")).await;
    door.shard.status.send_replace(Arc::new(NodeStatus { term: 9, ..(*led_by(3)).clone() }));
    door.shard.status.send_replace(led_by(1));
    client.expect(push("quorate h3 7381 h1 7379")).await;
}

#[tokio::test]
async fn what_clients_publish_to_the_keyspace_does_not_reach_subscribers_here() {
    let door = door().await;
    let mut client = door.client().await;
    client.ask("SUBSCRIBE news", "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n").await;
    let publication = quorate_machine::Publication {
        kind: quorate_machine::ChannelKind::Ordinary,
        channel: "news".into(),
        message: "m".into(),
        position: None,
    };
    door.shard.handle.subscriptions().publish(&[publication], 1);
    client.ask("PING", "*2\r\n$4\r\npong\r\n$0\r\n\r\n").await;
}

#[tokio::test]
async fn info_says_what_it_is_and_who_leads() {
    let door = door().await;
    door.shard.status.send_replace(led_by(2));
    let mut client = door.client().await;
    let text = "# Sentinel\r\nsentinel_masters:1\r\nsentinel_tilt:0\r\nsentinel_tilt_since_seconds:-1\r\n\
                sentinel_running_scripts:0\r\nsentinel_scripts_queue_length:0\r\nsentinel_simulate_failure_flags:0\r\n\
                master0:name=quorate,status=ok,address=h2:7380,slaves=2,sentinels=1\r\n";
    client.ask("INFO sentinel", &format!("${}\r\n{text}\r\n", text.len())).await;
}
