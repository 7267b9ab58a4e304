//! The cluster in the words of Redis's replication: ROLE and WAIT; and QUORATE STATUS, in our own.
//!
//! Each node gives the leader's figures, so that a client which compares INFO, ROLE and WAIT finds them to
//! agree wherever it asks.

use std::time::Duration;

use bytes::Bytes;
use quorate_consensus::BootTime;

use crate::{
    connection::{
        arguments::{help, integer, is, text, unknown_subcommand},
        transaction::Command,
        wait::{Until, Wait},
    },
    handle::Reply,
    status::{Member, MemberKind, NodeStatus, Role},
};

/// ROLE: master on the leader only, with its followers; elsewhere slave, with its leader.
pub(super) fn role(status: &NodeStatus) -> Reply {
    match status.role {
        Role::Leader => {
            let followers = status.servers().filter(|peer| peer.connected).map(|peer| {
                let fields = [peer.host.clone(), peer.port.to_string(), peer.matched.to_string()];
                Reply::Array(fields.map(text).to_vec())
            });
            Reply::Array(vec![
                text("master"),
                position(status.log.applied),
                Reply::Array(followers.collect()),
            ])
        }
        Role::Follower | Role::Candidate | Role::Learner | Role::Witness => {
            let (host, port, state) = match &status.leader {
                Some(leader) if leader.connected => (leader.host.clone(), leader.port, "connected"),
                Some(leader) => (leader.host.clone(), leader.port, "connect"),
                None => (String::new(), 0, "connect"),
            };
            Reply::Array(vec![
                text("slave"),
                text(host),
                Reply::Integer(port.into()),
                text(state),
                position(status.log.applied),
            ])
        }
    }
}

/// FRESHNESS: the last entry of the log that this node has applied, and the age of its data in milliseconds; nil instead
/// of an age that is not known yet.
pub(super) fn freshness(status: &NodeStatus, now: BootTime) -> Reply {
    let age = status.fresh_as_of_us.map(|micros| now.since(BootTime { micros }));
    let age = age.map_or(Reply::Null, |age| {
        Reply::Integer(i64::try_from(age.as_micros().div_ceil(1000)).unwrap_or(i64::MAX))
    });
    Reply::Array(vec![position(status.log.applied), age])
}

fn position(index: u64) -> Reply {
    Reply::Integer(i64::try_from(index).unwrap_or(i64::MAX))
}

/// The arguments of `WAIT replicas timeout` and `WAITAOF local replicas timeout`, timeouts in milliseconds.
///
/// What is acknowledged is on the disks of a quorum already, so there is nothing to wait for but followers
/// that are away: the answer is the figure that INFO calls `connected_slaves`.
pub(in crate::connection) fn wait(command: &Command) -> Result<Wait, Reply> {
    let with_local = command.spec.name == "waitaof";
    let [.., local, replicas, timeout] = &command.arguments[..] else { return Err(Reply::syntax_error()) };
    if with_local && !matches!(number(local)?, 0 | 1) {
        return Err(Reply::error("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = number(replicas)?;
    let replicas = u64::try_from(replicas).unwrap_or(0);
    let timeout_ms = integer(timeout).ok_or(Reply::error("ERR timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| Reply::error("ERR timeout is negative"))?;
    let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
    Ok(Wait { until: Until::Followers { replicas, with_local }, timeout, deadline: None })
}

fn number(argument: &[u8]) -> Result<i64, Reply> {
    integer(argument).ok_or_else(Reply::not_an_integer)
}

/// QUORATE: what Redis has no words for.
pub(in crate::connection) fn quorate(status: &NodeStatus, arguments: &[Bytes]) -> Reply {
    match arguments {
        [_, subcommand] if is(subcommand, "STATUS") => match serde_json::to_string(status) {
            Ok(json) => text(json),
            Err(error) => Reply::error_text(format!("ERR the status cannot be written: {error}")),
        },
        [_, subcommand] if is(subcommand, "HELP") => help(
            "QUORATE",
            &[
                "STATUS",
                "    Return this node's view of itself and its cluster as JSON.",
                "MEMBER LIST",
                "    Return the members of the cluster.",
                "MEMBER <step> [<step> ...]",
                "    Change the members, all at once, and return OK, or the ids of those that were added. Steps are:",
                "    ADD <host:port> [ID <id>] [VOTE | REPLACE <id> | WITNESS], PROMOTE <id>, DEMOTE <id>,",
                "    MOVE <id> <host:port>, REMOVE <id>, LEASE <ms> <drift-ppm>, LEASE OFF, QUORUM <voters> [FORCE],",
                "    QUORUM MAJORITY",
                "TRANSFER [<node-id>]",
                "    Let another node lead, or the one named, and return its id once it does.",
            ],
        ),
        [_, subcommand, ..] => unknown_subcommand("QUORATE", subcommand),
        _ => Reply::error("ERR wrong number of arguments for 'quorate' command"),
    }
}

/// How long TRANSFER waits for the successor. On one network it takes over in milliseconds, or not at all.
const TRANSFER_MAX: Duration = Duration::from_secs(2);

/// Whether these arguments of QUORATE are for [`transfer`].
pub(in crate::connection) fn is_transfer(arguments: &[Bytes]) -> bool {
    arguments.get(1).is_some_and(|subcommand| is(subcommand, "TRANSFER"))
}

/// What QUORATE TRANSFER comes to.
pub(in crate::connection) enum Transfer {
    /// The leader of `term` is to be told, and then there is something to wait for.
    Order {
        /// The term that is to end.
        term: u64,
        /// The successor, if one is named.
        to: Option<u64>,
        /// Until there is one.
        wait: Wait,
    },
    /// The node that is named leads.
    Done(Reply),
    /// It cannot be ordered.
    Refused(Reply),
}

/// `QUORATE TRANSFER [node-id]`.
pub(in crate::connection) fn transfer(status: &NodeStatus, arguments: &[Bytes]) -> Transfer {
    let to = match arguments {
        [_, _] => None,
        [_, _, to] => Some(to),
        _ => {
            return Transfer::Refused(Reply::error(
                "ERR wrong number of arguments for 'quorate|transfer' command",
            ));
        }
    };
    let Some(leader) = &status.leader else {
        return Transfer::Refused(Reply::error(
            "CLUSTERDOWN there is no leader that could hand over: are enough nodes up to elect one?",
        ));
    };
    let to = match to.map(|to| successor(status, to)).transpose() {
        Ok(Some(to)) if to == leader.node_id => return Transfer::Done(Reply::Integer(to.cast_signed())),
        Ok(None) if status.peers.is_empty() => {
            return Transfer::Refused(Reply::error(
                "ERR this node is alone: there is nobody to hand over to",
            ));
        }
        Ok(to) => to,
        Err(refusal) => return Transfer::Refused(refusal),
    };
    let until = Until::Succession { term: status.term, to };
    Transfer::Order {
        term: status.term,
        to,
        wait: Wait { until, timeout: Some(TRANSFER_MAX), deadline: None },
    }
}

/// The id of a node that can lead, by its decimal form.
fn successor(status: &NodeStatus, argument: &[u8]) -> Result<u64, Reply> {
    let id = integer(argument).and_then(|id| u64::try_from(id).ok());
    let member = status.members.iter().find(|member| Some(member.node_id) == id);
    if let Some(reason) = member.and_then(unfitness) {
        return Err(Reply::error_text(format!("ERR {reason}")));
    }
    if let Some(peer) = status.peers.iter().find(|peer| Some(peer.node_id) == id) {
        return match peer.connected {
            true => Ok(peer.node_id),
            false => Err(Reply::error_text(format!(
                "ERR node {} cannot take over: node {} has no connection to it",
                peer.node_id, status.node_id
            ))),
        };
    }
    if id == Some(status.node_id) {
        return Ok(status.node_id);
    }
    let mut ids: Vec<u64> = status.peers.iter().map(|peer| peer.node_id).chain([status.node_id]).collect();
    ids.sort_unstable();
    let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    Err(Reply::error_text(format!("ERR no such node; the nodes are {}", ids.join(", "))))
}

/// Why a member never leads, or not now.
fn unfitness(member: &Member) -> Option<String> {
    let id = member.node_id;
    match (member.kind, member.set_aside) {
        (MemberKind::Witness, _) => Some(format!("node {id} is a witness, and never leads")),
        (_, true) => Some(format!("node {id} is set aside, and does not lead before it has caught up")),
        (_, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Leader, Peer};

    fn command(line: &str) -> Command {
        let arguments: Vec<Bytes> = line.split(' ').map(|word| Bytes::from(word.to_owned())).collect();
        let spec = quorate_machine::check(&arguments).expect("a known command");
        Command { spec, arguments }
    }

    #[test]
    fn the_leader_is_master_and_lists_who_follows() {
        let follower = |port, connected| Peer {
            node_id: 2,
            host: "127.0.0.1".into(),
            port,
            connected,
            matched: 9,
            ..Peer::default()
        };
        let mut status = NodeStatus {
            role: Role::Leader,
            peers: vec![follower(7380, true), follower(7381, false)],
            ..NodeStatus::default()
        };
        status.log.applied = 12;
        let followers = Reply::Array(vec![Reply::Array(vec![text("127.0.0.1"), text("7380"), text("9")])]);
        assert_eq!(role(&status), Reply::Array(vec![text("master"), Reply::Integer(12), followers]));
    }

    #[test]
    fn others_are_slaves_of_the_leader_or_look_for_one() {
        let mut status = NodeStatus::default();
        let slave = |host: &str, port, state: &str| {
            let port = Reply::Integer(port);
            Reply::Array(vec![text("slave"), text(host), port, text(state), Reply::Integer(0)])
        };
        assert_eq!(role(&status), slave("", 0, "connect"));
        status.leader = Some(Leader { node_id: 1, host: "h".into(), port: 7379, connected: true });
        assert_eq!(role(&status), slave("h", 7379, "connected"));
    }

    #[test]
    fn freshness_is_a_position_and_an_age_or_none() {
        let mut status = NodeStatus::default();
        status.log.applied = 7;
        let now = BootTime { micros: 5_000_001 };
        assert_eq!(freshness(&status, now), Reply::Array(vec![Reply::Integer(7), Reply::Null]));
        status.fresh_as_of_us = Some(5_000_000);
        assert_eq!(freshness(&status, now), Reply::Array(vec![Reply::Integer(7), Reply::Integer(1)]));
    }

    #[test]
    fn wait_takes_the_arguments_of_redis() {
        let read = |line| wait(&command(line)).map(|wait| (wait.until, wait.timeout));
        let followers = |replicas| Until::Followers { replicas, with_local: false };
        assert_eq!(read("WAIT 2 0"), Ok((followers(2), None)));
        assert_eq!(read("WAIT -1 5"), Ok((followers(0), Some(Duration::from_millis(5)))));
        assert_eq!(read("WAIT x 5"), Err(Reply::not_an_integer()));
        assert_eq!(read("WAIT 1 x"), Err(Reply::error("ERR timeout is not an integer or out of range")));
        assert_eq!(read("WAIT 1 -1"), Err(Reply::error("ERR timeout is negative")));
    }

    #[test]
    fn the_status_is_json_that_reads_back() {
        let status = NodeStatus { node_id: 3, ..NodeStatus::default() };
        let Reply::Bulk(json) = quorate(&status, &["QUORATE".into(), "status".into()]) else {
            panic!("a bulk string")
        };
        assert_eq!(serde_json::from_slice::<NodeStatus>(&json).ok(), Some(status));
    }

    fn led_by_one(connected: &[u64]) -> NodeStatus {
        let peer = |node_id| Peer { node_id, connected: connected.contains(&node_id), ..Peer::default() };
        let leader = Some(Leader { node_id: 1, ..Leader::default() });
        NodeStatus { node_id: 1, term: 5, leader, peers: vec![peer(2), peer(3)], ..NodeStatus::default() }
    }

    #[test]
    fn a_transfer_goes_to_a_node_that_is_there_or_says_why_not() {
        let order = |status: &NodeStatus, line: &str| {
            let arguments: Vec<Bytes> = line.split(' ').map(|word| Bytes::from(word.to_owned())).collect();
            match transfer(status, &arguments) {
                Transfer::Order { term, to, .. } => format!("order in {term} to {to:?}"),
                Transfer::Done(reply) => format!("{reply:?}"),
                Transfer::Refused(Reply::Error(text)) => String::from_utf8_lossy(&text).into_owned(),
                Transfer::Refused(other) => panic!("{other:?}"),
            }
        };
        let status = led_by_one(&[2]);
        assert_eq!(order(&status, "QUORATE TRANSFER"), "order in 5 to None");
        assert_eq!(order(&status, "QUORATE TRANSFER 2"), "order in 5 to Some(2)");
        assert_eq!(order(&status, "QUORATE TRANSFER 1"), "Integer(1)");
        let absent = "ERR node 3 cannot take over: node 1 has no connection to it";
        assert_eq!(order(&status, "QUORATE TRANSFER 3"), absent);
        for unknown in ["4", "x", "-1"] {
            let text = order(&status, &format!("QUORATE TRANSFER {unknown}"));
            assert_eq!(text, "ERR no such node; the nodes are 1, 2, 3");
        }
        let text = order(&status, "QUORATE TRANSFER 2 3");
        assert!(text.starts_with("ERR wrong number of arguments"), "{text}");
        let lone = NodeStatus { peers: Vec::new(), ..status };
        assert!(order(&lone, "QUORATE TRANSFER").starts_with("ERR this node is alone"));
        let text = order(&NodeStatus::default(), "QUORATE TRANSFER");
        assert!(text.starts_with("CLUSTERDOWN there is no leader"), "{text}");
    }
}
