//! QUORATE MEMBER: who belongs to the cluster, and who is to.

use bytes::Bytes;
use quorate_consensus::{Change, ID_MAX, Lease, NodeId, Purpose, Step};

use crate::{
    config::{Address, HostPort, LOOPBACK, Value as _},
    connection::arguments::{integer, is, quoted, text},
    handle::Reply,
    status::{Member, MemberKind, NodeStatus},
};

/// The most steps of one change: everybody goes, and as many come.
const STEPS_MAX: usize = 2 * quorate_consensus::MEMBERS_MAX;

/// Whether these arguments of QUORATE are for [`member`].
pub(in crate::connection) fn is_member(arguments: &[Bytes]) -> bool {
    arguments.get(1).is_some_and(|subcommand| is(subcommand, "MEMBER"))
}

/// What QUORATE MEMBER comes to.
#[derive(Debug)]
pub(in crate::connection) enum Members {
    /// They are told.
    Listed(Reply),
    /// They are to be changed.
    Change(Change),
    /// It cannot be done.
    Refused(Reply),
}

/// `QUORATE MEMBER LIST | step [step ..]`.
pub(in crate::connection) fn member(status: &NodeStatus, arguments: &[Bytes]) -> Members {
    match &arguments[2..] {
        [word] if is(word, "LIST") => Members::Listed(list(status)),
        words => match change(words).and_then(|change| check_reachable(status, change)) {
            Ok(change) => Members::Change(change),
            Err(refusal) => Members::Refused(refusal),
        },
    }
}

fn list(status: &NodeStatus) -> Reply {
    let leader = status.leader.as_ref().map(|leader| leader.node_id);
    let integer = |number: u64| Reply::Integer(number.cast_signed());
    let member = |member: &Member| {
        Reply::Map(vec![
            (text("id"), integer(member.node_id)),
            (text("kind"), text(member.kind.word())),
            (text("leads"), integer(u64::from(leader == Some(member.node_id)))),
            (text("to-vote"), integer(u64::from(member.promotes))),
            (text("replaces"), integer(member.replaces.unwrap_or(0))),
            (text("address"), text(member.address.clone())),
        ])
    };
    Reply::Array(status.members.iter().map(member).collect())
}

/// The change that `words` spell.
fn change(mut words: &[Bytes]) -> Result<Change, Reply> {
    let mut steps = Vec::new();
    while !words.is_empty() {
        let (step, rest) = step(words)?;
        words = rest;
        steps.push(step);
        if steps.len() > STEPS_MAX {
            return Err(Reply::error_text(format!("ERR too many steps; allowed are {STEPS_MAX}")));
        }
    }
    if steps.is_empty() { Err(Reply::error(USAGE)) } else { Ok(Change(steps)) }
}

const USAGE: &str = "ERR what is to change? Allowed is LIST, or one or more of: ADD <host:port> [ID <id>] \
                     [VOTE | REPLACE <id> | WITNESS], PROMOTE <id>, DEMOTE <id>, MOVE <id> <host:port>, REMOVE <id>, \
                     LEASE <ms> <drift-ppm>, LEASE OFF, QUORUM <voters> [FORCE], QUORUM MAJORITY";

type Parsed<'a, T> = Result<(T, &'a [Bytes]), Reply>;

fn step(words: &[Bytes]) -> Parsed<'_, Step> {
    match words {
        [word, place, rest @ ..] if is(word, "ADD") => add(address(place)?, rest),
        [word, id, rest @ ..] if is(word, "PROMOTE") => Ok((Step::Promote { node: node(id)? }, rest)),
        [word, id, rest @ ..] if is(word, "DEMOTE") => Ok((Step::Demote { node: node(id)? }, rest)),
        [word, id, rest @ ..] if is(word, "REMOVE") => Ok((Step::Remove { node: node(id)? }, rest)),
        [word, id, place, rest @ ..] if is(word, "MOVE") => {
            Ok((Step::Move { node: node(id)?, address: address(place)? }, rest))
        }
        [word, usual, rest @ ..] if is(word, "QUORUM") && is(usual, "MAJORITY") => {
            Ok((Step::Quorum { phase2: None, forced: false }, rest))
        }
        [word, voters, rest @ ..] if is(word, "QUORUM") => {
            let phase2 = Some(quorum(voters)?);
            match rest {
                [force, rest @ ..] if is(force, "FORCE") => Ok((Step::Quorum { phase2, forced: true }, rest)),
                rest => Ok((Step::Quorum { phase2, forced: false }, rest)),
            }
        }
        [word, off, rest @ ..] if is(word, "LEASE") && is(off, "OFF") => Ok((Step::Lease(None), rest)),
        [word, millis, drift, rest @ ..] if is(word, "LEASE") => {
            let lease = Lease { millis: small(millis)?, drift_ppm: small(drift)? };
            if !lease.is_sound() {
                let refusal = quorate_consensus::Refusal::LeaseLimits(lease);
                return Err(Reply::error_text(format!("ERR {refusal}")));
            }
            Ok((Step::Lease(Some(lease)), rest))
        }
        _ => Err(Reply::error(USAGE)),
    }
}

fn quorum(argument: &[u8]) -> Result<u8, Reply> {
    let voters = integer(argument).and_then(|number| u8::try_from(number).ok()).filter(|&number| number > 0);
    voters.ok_or_else(|| {
        Reply::error_text(format!("ERR {:?} is no number of voters, nor MAJORITY", quoted(argument)))
    })
}

fn small(argument: &[u8]) -> Result<u32, Reply> {
    integer(argument).and_then(|number| u32::try_from(number).ok()).ok_or_else(Reply::not_an_integer)
}

/// The options of ADD, in whatever order, each at most once.
fn add(address: quorate_consensus::Address, mut words: &[Bytes]) -> Parsed<'_, Step> {
    let (mut new, mut purpose) = (None, Purpose::Learn);
    loop {
        match words {
            [word, id, rest @ ..] if new.is_none() && is(word, "ID") => {
                new = Some(node(id)?);
                words = rest;
            }
            [word, rest @ ..] if purpose == Purpose::Learn && is(word, "VOTE") => {
                purpose = Purpose::Vote;
                words = rest;
            }
            [word, rest @ ..] if purpose == Purpose::Learn && is(word, "WITNESS") => {
                purpose = Purpose::Witness;
                words = rest;
            }
            [word, place, rest @ ..] if purpose == Purpose::Learn && is(word, "REPLACE") => {
                purpose = Purpose::Replace(node(place)?);
                words = rest;
            }
            rest => return Ok((Step::Add { node: new, address: Some(address), purpose }, rest)),
        }
    }
}

fn node(argument: &[u8]) -> Result<NodeId, Reply> {
    let id = integer(argument).and_then(|id| u64::try_from(id).ok()).filter(|id| (1..=ID_MAX).contains(id));
    let id = id.ok_or_else(|| {
        Reply::error_text(format!("ERR {:?} is no node id; allowed are 1 to {ID_MAX}", quoted(argument)))
    })?;
    Ok(NodeId(id))
}

fn address(argument: &[u8]) -> Result<quorate_consensus::Address, Reply> {
    let text = std::str::from_utf8(argument).unwrap_or_default();
    let address = Address::read(text, &HostPort).filter(|address| address.port > 0);
    let address = address.filter(|address| !address.is_unspecified()).ok_or_else(|| {
        Reply::error_text(format!(
            "ERR {:?} is no address of a peer; allowed is {HostPort}",
            quoted(argument)
        ))
    })?;
    Ok(quorate_consensus::Address(address.to_string().into()))
}

/// Refuses a member on another machine while one of the present members is told to be on the loopback: the new one
/// would look for it on its own machine.
fn check_reachable(status: &NodeStatus, change: Change) -> Result<Change, Reply> {
    let is_local = |text: &str| {
        let host = Address::read(text, &HostPort).map(|address| address.host);
        host.is_some_and(|host| matches!(host.as_str(), LOOPBACK | "localhost" | "::1"))
    };
    let leaves = |id: u64| change.0.contains(&Step::Remove { node: NodeId(id) });
    let comes_from_afar = change
        .0
        .iter()
        .any(|step| matches!(step, Step::Add { address: Some(address), .. } if !is_local(&address.0)));
    let local = status.members.iter().find(|member| is_local(&member.address) && !leaves(member.node_id));
    match local {
        Some(member) if comes_from_afar => Err(Reply::error_text(format!(
            "ERR the members stay as they are: node {} is told to be at {}, where nodes on other machines do not reach \
             it; start it with --peer-advertise HOST:PORT first",
            member.node_id, member.address
        ))),
        Some(_) | None => Ok(change),
    }
}

impl MemberKind {
    /// As people and programs read it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
            Self::Witness => "witness",
            Self::Joining => "joining",
            Self::Leaving => "leaving",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Bytes> {
        line.split(' ').map(|word| Bytes::from(word.to_owned())).collect()
    }

    fn status(addresses: &[&str]) -> NodeStatus {
        let member = |(id, address): (u64, &&str)| Member {
            node_id: id,
            address: (*address).to_owned(),
            ..Member::default()
        };
        NodeStatus { members: (1..).zip(addresses).map(member).collect(), ..NodeStatus::default() }
    }

    fn told(line: &str) -> String {
        match member(&status(&["a:1", "b:1"]), &words(&format!("QUORATE MEMBER {line}"))) {
            Members::Change(change) => change.to_string(),
            Members::Refused(Reply::Error(text)) => String::from_utf8_lossy(&text).into_owned(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn steps_are_spelt_one_after_the_other() {
        assert_eq!(told("ADD c:1"), "add somebody at c:1");
        assert_eq!(told("add c:1 vote id 7"), "add n7 at c:1 to vote");
        assert_eq!(told("ADD c:1 REPLACE 2 REMOVE 1"), "add somebody at c:1 for n2, remove n1");
        assert_eq!(told("lease 200 1000 LEASE OFF"), "lease 200ms/1000ppm, no lease");
        assert_eq!(told("QUORUM 2 REMOVE 3"), "commit by 2, remove n3");
        assert_eq!(told("quorum 1 force QUORUM MAJORITY"), "commit by 1, forced, commit by a majority");
        assert_eq!(
            told("PROMOTE 4 DEMOTE 1 MOVE 2 [::2]:9 REMOVE 3"),
            "promote n4, demote n1, move n2 to [::2]:9, remove n3"
        );
    }

    #[test]
    fn what_is_misspelt_is_refused_with_what_is_allowed() {
        for line in ["", "ADD", "LIST 1", "PROMOTE", "MOVE 1", "PROMOTE 1 2", "ADD c:1 VOTE VOTE"] {
            assert!(told(line).starts_with("ERR what is to change? Allowed is LIST"), "{line}");
        }
        assert_eq!(told("REMOVE 0"), "ERR \"0\" is no node id; allowed are 1 to 65535");
        for number in ["0", "-1", "300", "half"] {
            assert!(told(&format!("QUORUM {number}")).contains("is no number of voters"), "{number}");
        }
        for place in ["c", "c:0", "0.0.0.0:1", "c:x"] {
            assert!(told(&format!("ADD {place}")).contains("is no address of a peer"), "{place}");
        }
        assert!(told("LEASE 0 1000").starts_with("ERR a lease of 0ms/1000ppm; allowed: 1 to 60000 ms"));
        assert!(told(&["REMOVE 1"; STEPS_MAX + 1].join(" ")).starts_with("ERR too many steps"));
    }

    #[test]
    fn nobody_comes_from_afar_to_who_is_said_to_be_on_the_loopback() {
        let outcome = |addresses: &[&str], line: &str| {
            matches!(
                member(&status(addresses), &words(&format!("QUORATE MEMBER {line}"))),
                Members::Change(_)
            )
        };
        assert!(outcome(&["127.0.0.1:1"], "ADD localhost:2"));
        assert!(!outcome(&["127.0.0.1:1"], "ADD b:2"));
        assert!(outcome(&["127.0.0.1:1", "a:1"], "ADD b:2 REMOVE 1"));
        assert!(outcome(&["a:1"], "ADD 127.0.0.1:2"), "that is its own affair");
    }
}
