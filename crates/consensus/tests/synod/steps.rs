//! Single steps of the protocol, as the papers have them.

use std::time::Duration;

use bytes::Bytes;
use quorate_consensus::{
    BootTime, Membership, NodeId,
    paxos::{
        Ballot,
        synod::{Acceptance, Acceptor, Learner, Message, Proposer, acceptor::Memory},
    },
};

const ACCEPTORS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];
const BEGIN: BootTime = BootTime { micros: 0 };

fn ballot(round: u64, node: u64) -> Ballot {
    Ballot { round, node: NodeId(node) }
}

fn acceptance(round: u64, node: u64, value: &'static str) -> Acceptance {
    Acceptance { ballot: ballot(round, node), value: Bytes::from_static(value.as_bytes()) }
}

fn proposer(node: u64, round: u64) -> Proposer {
    Proposer::new(NodeId(node), Membership::of_voters(ACCEPTORS), Bytes::from_static(b"own"), round, 7)
}

/// The messages in compact notation.
fn said(messages: &[(NodeId, Message)]) -> Vec<String> {
    messages.iter().map(|(to, message)| format!("->{to} {message}")).collect()
}

/// Gives the proposer the promise of a node.
fn promise(proposer: &mut Proposer, from: u64, accepted: Option<Acceptance>) -> Vec<String> {
    let ballot = proposer.ballot();
    let effects = proposer.receive(BEGIN, NodeId(from), Message::Promise { ballot, accepted });
    assert_eq!(effects.write, None);
    said(&effects.messages)
}

/// Paxos Made Simple 2.2, P2c: the value of the highest-numbered proposal among those that were accepted.
#[test]
fn a_proposer_adopts_the_value_of_the_highest_accepted_ballot_hazard_19() {
    let mut late = proposer(4, 8);
    late.wake(BEGIN);
    assert_eq!(promise(&mut late, 1, Some(acceptance(5, 5, "newer"))), [""; 0]);
    let asked = promise(&mut late, 2, Some(acceptance(3, 6, "older")));
    assert_eq!(asked, ["->n1 Accept 9.n4=newer", "->n2 Accept 9.n4=newer", "->n3 Accept 9.n4=newer"]);
    assert_eq!(promise(&mut late, 3, None), [""; 0], "the value stands");
}

#[test]
fn a_proposer_is_free_only_if_a_quorum_of_distinct_acceptors_has_accepted_nothing() {
    let mut first = proposer(4, 0);
    let effects = first.wake(BEGIN);
    assert_eq!(
        (effects.write, effects.messages.len()),
        (Some(1), 3),
        "the round is written down before it is said"
    );
    assert_eq!(promise(&mut first, 1, None), [""; 0]);
    assert_eq!(promise(&mut first, 1, None), [""; 0], "once more the same acceptor");
    assert_eq!(promise(&mut first, 2, None)[0], "->n1 Accept 1.n4=own");
}

/// Hazard 19: the outcome of an accept that was not answered is not known, so its ballot is never used again.
#[test]
fn a_ballot_is_burnt_by_a_time_out_a_refusal_and_a_restart_hazard_19() {
    let mut one = proposer(4, 0);
    one.wake(BEGIN);
    promise(&mut one, 1, None);
    promise(&mut one, 2, None);
    one.wake(one.deadline());
    let effects = one.wake(one.deadline());
    assert_eq!((effects.write, one.ballot()), (Some(2), ballot(2, 4)));

    one.receive(BEGIN, NodeId(1), Message::Refused { ballot: ballot(2, 4), promised: ballot(7, 5) });
    assert_eq!(one.wake(one.deadline()).write, Some(8), "above what it was refused by");

    let mut restarted = proposer(4, 8);
    assert_eq!(restarted.wake(BEGIN).write, Some(9));
}

#[test]
fn answers_to_earlier_ballots_count_for_nothing() {
    let mut one = proposer(4, 0);
    one.wake(BEGIN);
    promise(&mut one, 1, None);
    one.wake(one.deadline());
    one.wake(one.deadline());
    let late = Message::Promise { ballot: ballot(1, 4), accepted: None };
    assert!(one.receive(BEGIN, NodeId(2), late).messages.is_empty());
    let refused = Message::Refused { ballot: ballot(1, 4), promised: ballot(9, 5) };
    let deadline = one.deadline();
    one.receive(BEGIN, NodeId(2), refused);
    assert_eq!((one.deadline(), one.ballot()), (deadline, ballot(2, 4)));
    assert_eq!(promise(&mut one, 3, None), [""; 0]);
    assert_eq!(promise(&mut one, 2, None).len(), 3);
}

#[test]
fn an_acceptor_keeps_its_promise_and_tells_nothing_that_is_not_written() {
    let mut acceptor = Acceptor::new(Memory::NEW, [NodeId(4)]);
    let effects = acceptor.receive(NodeId(5), Message::Prepare { ballot: ballot(2, 5) });
    assert_eq!(effects.write.map(|memory| memory.promised), Some(ballot(2, 5)));
    assert_eq!(said(&effects.messages), ["->n5 Promise 2.n5"]);

    let refused = acceptor.receive(NodeId(4), Message::Accept(acceptance(1, 4, "a")));
    assert_eq!(refused.write, None);
    assert_eq!(said(&refused.messages), ["->n4 Refused 1.n4 promised 2.n5"]);

    let accepted = acceptor.receive(NodeId(5), Message::Accept(acceptance(2, 5, "b")));
    assert_eq!(accepted.write.and_then(|memory| memory.accepted), Some(acceptance(2, 5, "b")));
    assert_eq!(said(&accepted.messages), ["->n4 Accepted 2.n5=b"]);

    let again = Acceptor::new(acceptor.memory().clone(), [NodeId(4)])
        .receive(NodeId(4), Message::Prepare { ballot: ballot(3, 4) });
    assert_eq!(said(&again.messages), ["->n4 Promise 3.n4 accepted 2.n5=b"], "after a restart, too");
}

/// An acceptor may accept a ballot that it has never promised: promises only say what it will not take part in.
#[test]
fn an_acceptor_accepts_what_it_was_not_asked_to_promise() {
    let mut acceptor = Acceptor::new(Memory::NEW, [NodeId(4)]);
    acceptor.receive(NodeId(5), Message::Accept(acceptance(2, 5, "b")));
    assert_eq!(acceptor.memory().promised, ballot(2, 5));
}

#[test]
fn a_learner_counts_a_quorum_for_one_ballot_and_each_acceptor_once() {
    let mut learner = Learner::new(Membership::of_voters(ACCEPTORS));
    let mut tell = |from, acceptance: &Acceptance| {
        learner.receive(NodeId(from), Message::Accepted(acceptance.clone()));
        learner.learned().cloned()
    };
    let (low, high) = (acceptance(1, 4, "a"), acceptance(2, 5, "b"));
    assert_eq!(tell(1, &low), None);
    assert_eq!(tell(1, &low), None, "the same acceptor");
    assert_eq!(tell(9, &low), None, "no acceptor");
    assert_eq!(tell(2, &high), None, "another ballot");
    assert_eq!(tell(3, &high), Some(high.value.clone()));
    assert_eq!(tell(2, &low), Some(high.value.clone()), "late news change nothing");
}

#[test]
fn waits_after_failures_are_random_and_grow_up_to_a_bound() {
    let waits = |seed| {
        let mut one = Proposer::new(NodeId(4), Membership::of_voters(ACCEPTORS), Bytes::new(), 0, seed);
        let wait = |_| {
            one.wake(one.deadline());
            let given_up = one.deadline();
            one.wake(given_up);
            one.deadline().since(given_up)
        };
        (0..40).map(wait).collect::<Vec<Duration>>()
    };
    let (some, others) = (waits(1), waits(2));
    assert_ne!(some, others);
    assert!(some[0] < Duration::from_millis(100));
    assert!(some.iter().all(|wait| *wait < Duration::from_millis(6400)));
    assert!(some[6..].iter().any(|wait| *wait > Duration::from_secs(2)));
}
