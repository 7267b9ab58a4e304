//! The search, on examples of the literature, and on generated histories beside one that tries every order.

use std::{collections::VecDeque, fmt, time::Duration};

use proptest::prelude::*;
use quorate_sim::linearizability::{
    CONFIGURATIONS_MAX, Judged, Model, Operation, judge,
    keyspace::{Call, Command, Contents, Keyspace, Seen},
};

/// An operation between two instants; without an outcome if the second is 0.
fn operation<A>(client: &str, action: A, invoked: u64, completed: u64) -> Operation<A> {
    let at = Duration::from_millis;
    let completed = (completed != 0).then(|| at(completed));
    Operation { client: client.to_owned(), invoked: at(invoked), completed, action }
}

fn call(words: &str, seen: Option<Seen>) -> Call {
    let words: Vec<&str> = words.split(' ').collect();
    Call { command: Command::parse(&words).expect("a command of the model"), seen }
}

fn text(seen: &str) -> Option<Seen> {
    Some(Seen::Text(seen.to_owned().into()))
}

fn is_linearizable<M: Model>(model: &M, operations: &[Operation<M::Action>]) -> bool {
    match judge(model, operations, CONFIGURATIONS_MAX) {
        Ok(judged) => {
            assert_eq!(judged.undecided, 0);
            true
        }
        Err(_) => false,
    }
}

/// Whether the keyspace may have answered so: a command, its reply, and when.
fn may_be(calls: &[(&str, Option<Seen>, u64, u64)]) -> bool {
    let operation = |(words, seen, invoked, completed): &(&str, Option<Seen>, u64, u64)| {
        operation("c", call(words, seen.clone()), *invoked, *completed)
    };
    is_linearizable(&Keyspace, &calls.iter().map(operation).collect::<Vec<_>>())
}

#[test]
fn a_read_may_see_either_side_of_a_concurrent_write_but_not_what_was_before() {
    for seen in [Some(Seen::Nothing), text("7")] {
        assert!(may_be(&[("SET k 7", text("OK"), 1, 10), ("GET k", seen, 2, 9)]));
    }
    assert!(!may_be(&[("SET k 7", text("OK"), 1, 2), ("GET k", Some(Seen::Nothing), 3, 4)]));
}

#[test]
fn two_reads_of_one_write_do_not_run_backwards() {
    let write = ("SET k 7", text("OK"), 1, 100);
    assert!(!may_be(&[write, ("GET k", text("7"), 2, 3), ("GET k", Some(Seen::Nothing), 4, 5)]));
}

#[test]
fn a_write_of_unknown_outcome_may_show_up_late_but_only_once() {
    let lost = ("SET k 7", None, 1, 0);
    let before = ("GET k", Some(Seen::Nothing), 2, 3);
    assert!(may_be(&[lost.clone(), before, ("GET k", text("7"), 4, 5)]));
    let (seen, other) = (("GET k", text("7"), 2, 3), ("SET k 8", text("OK"), 4, 5));
    assert!(!may_be(&[lost, seen, other, ("GET k", text("7"), 6, 7)]));
}

#[test]
fn two_swaps_do_not_see_the_same_value() {
    let first = ("GETSET k 1", Some(Seen::Nothing), 1, 9);
    assert!(!may_be(&[first.clone(), ("GETSET k 2", Some(Seen::Nothing), 1, 9)]));
    assert!(may_be(&[first, ("GETSET k 2", text("1"), 1, 9)]));
}

/// The first write to be tried is not the first that was seen: the search must go back.
#[test]
fn a_choice_that_turns_out_wrong_is_taken_back() {
    assert!(may_be(&[
        ("SET k 1", text("OK"), 1, 20),
        ("SET k 2", text("OK"), 1, 20),
        ("SET k 3", text("OK"), 1, 20),
        ("GET k", text("2"), 2, 3),
        ("GET k", text("1"), 4, 5),
        ("GET k", text("3"), 6, 7),
        ("GET k", text("3"), 21, 22),
    ]));
}

/// Each key by itself would be in order: only the whole keyspace shows that they were not changed together.
#[test]
fn half_a_transfer_is_noticed() {
    let number = |value| Some(Seen::Number(value));
    let both = |a: &str, b| Some(Seen::List(vec![Seen::Text(a.to_owned().into()), b]));
    let deposit = ("INCRBY a 10", number(10), 1, 2);
    let transfer = ("TRANSFER a b 4", Some(Seen::List(vec![Seen::Number(6), Seen::Number(4)])), 3, 9);
    let whole = [Seen::Nothing, Seen::Text("4".into())];
    for (a, b) in [("10", &whole[0]), ("6", &whole[1])] {
        assert!(may_be(&[deposit.clone(), transfer.clone(), ("MGET a b", both(a, b.clone()), 4, 5)]));
    }
    for (a, b) in [("6", &whole[0]), ("10", &whole[1])] {
        assert!(!may_be(&[deposit.clone(), transfer.clone(), ("MGET a b", both(a, b.clone()), 4, 5)]));
    }
}

#[test]
fn watched_keys_are_what_they_were_or_nothing_happens() {
    let watched = |held: &'static [u8], seen| {
        let set = Command::Set("k".into(), "mine".into());
        let command = Command::Transaction(vec![("k".into(), Some(held.into()))], vec![set]);
        let done = |call, from| operation("c", call, from, from + 1);
        let last = text(if seen == Some(Seen::Nothing) { "1" } else { "mine" });
        let history = [
            done(call("SET k 1", text("OK")), 1),
            done(Call { command, seen }, 3),
            done(call("GET k", last), 5),
        ];
        is_linearizable(&Keyspace, &history)
    };
    let done = Some(Seen::List(vec![Seen::Text("OK".into())]));
    assert!(watched(b"1", done.clone()));
    assert!(!watched(b"0", done));
    assert!(watched(b"0", Some(Seen::Nothing)));
    // It may have changed and come back.
    assert!(watched(b"1", Some(Seen::Nothing)));
}

#[test]
fn counterexample_tells_the_longest_order_and_what_does_not_fit() {
    let history = [
        operation("one", call("SET k 1", text("OK")), 1, 2),
        operation("two", call("GET k", text("1")), 3, 4),
        operation("three", call("GET k", Some(Seen::Nothing)), 5, 6),
    ];
    let counterexample = judge(&Keyspace, &history, CONFIGURATIONS_MAX).unwrap_err();
    let told = "no order of these 3 operations explains what they saw
  the longest that can be explained has 2
    one 0.001000..0.002000 SET k 1 -> OK
    two 0.003000..0.004000 GET k -> 1
  then the state is k=1
  and none of these can be next
    three 0.005000..0.006000 GET k -> nothing";
    assert_eq!(counterexample.to_string(), told);
}

#[test]
fn keys_that_nothing_binds_together_are_judged_apart() {
    let history = [
        operation("c", call("SET a 1", text("OK")), 1, 2),
        operation("c", call("SET b 1", text("OK")), 1, 2),
        operation("c", call("SET c 1", text("OK")), 1, 2),
        operation("c", call("MGET c a", None), 1, 0),
    ];
    let judged = judge(&Keyspace, &history, CONFIGURATIONS_MAX).unwrap();
    assert_eq!(judged, Judged { operations: 4, histories: 2, undecided: 0 });
}

#[test]
fn search_that_is_over_its_bound_is_undecided() {
    let mut history: Vec<_> =
        (1..=20).map(|n| operation("c", call(&format!("SET k {n}"), text("OK")), 1, 100)).collect();
    history.push(operation("c", call("GET k", text("none")), 1, 100));
    assert_eq!(judge(&Keyspace, &history, 1000).map(|judged| judged.undecided), Ok(1));
}

/// The queue of Herlihy and Wing, *Linearizability: a correctness condition for concurrent objects* (1990).
struct Queue;

#[derive(Clone, Copy)]
enum QueueAction {
    Enqueue(char),
    Dequeue(char),
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Queued(VecDeque<char>);

impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|item| write!(f, "{item}"))
    }
}

impl fmt::Display for QueueAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enqueue(item) => write!(f, "E({item})"),
            Self::Dequeue(item) => write!(f, "D() -> {item}"),
        }
    }
}

impl Model for Queue {
    type State = Queued;
    type Action = QueueAction;
    type Part = ();

    fn start(&self) -> Queued {
        Queued(VecDeque::new())
    }

    fn step(&self, state: &Queued, action: &QueueAction) -> Option<Queued> {
        let mut next = state.clone();
        match action {
            QueueAction::Enqueue(item) => next.0.push_back(*item),
            QueueAction::Dequeue(item) if next.0.pop_front() == Some(*item) => {}
            QueueAction::Dequeue(_) => return None,
        }
        Some(next)
    }

    fn is_read(&self, _: &QueueAction) -> bool {
        false
    }

    fn parts(&self, _: &QueueAction) -> Vec<()> {
        vec![()]
    }
}

/// The four histories of a FIFO queue with which the paper begins (its figure 1).
#[test]
fn queues_of_herlihy_and_wing_are_judged_as_they_do() {
    use QueueAction::{Dequeue as D, Enqueue as E};
    let a = [
        operation("A", E('x'), 1, 4),
        operation("B", E('y'), 2, 3),
        operation("B", D('x'), 5, 7),
        operation("A", D('y'), 6, 8),
        operation("A", E('z'), 9, 0),
    ];
    let b = [operation("A", E('x'), 1, 2), operation("B", E('y'), 3, 5), operation("A", D('y'), 4, 6)];
    let c = [operation("A", E('x'), 1, 0), operation("B", D('x'), 2, 3)];
    let d = [
        operation("A", E('x'), 1, 3),
        operation("B", E('y'), 2, 4),
        operation("A", D('y'), 5, 7),
        operation("C", D('y'), 6, 8),
    ];
    assert!(is_linearizable(&Queue, &a));
    assert!(!is_linearizable(&Queue, &b));
    assert!(is_linearizable(&Queue, &c));
    assert!(!is_linearizable(&Queue, &d));
}

/// One generated operation: which command, on which keys, and how long before and after its effect it was under way.
#[derive(Clone, Debug)]
struct Draft {
    words: String,
    before: u64,
    after: u64,
    is_lost: bool,
}

fn draft() -> impl Strategy<Value = Draft> {
    let key = prop::sample::select(vec!["a", "b"]);
    let words = (0..9_u32, key.clone(), key, 0..3_u32).prop_map(|(kind, one, other, value)| match kind {
        0 => format!("GET {one}"),
        1 => format!("MGET {one} {other}"),
        2 => format!("SET {one} {value}"),
        3 => format!("SET {one} {value} NX"),
        4 => format!("GETSET {one} {value}"),
        5 => format!("DEL {one}"),
        6 => format!("INCR {one}"),
        7 => format!("CAS {one} {value} {}", value + 1),
        _ => format!("TRANSFER {one} {other} {value}"),
    });
    (words, 0..30_u64, 0..30_u64, prop::bool::weighted(0.1))
        .prop_map(|(words, before, after, is_lost)| Draft { words, before, after, is_lost })
}

/// A history that is linearizable by construction: the operations one after the other, each with time around it.
fn history(drafts: &[Draft]) -> Vec<Operation<Call>> {
    let mut contents = Contents::default();
    let mut effect_at = 100;
    let mut operations = Vec::new();
    for (at, draft) in drafts.iter().enumerate() {
        effect_at += 10;
        let mut call = call(&draft.words, None);
        let reply = contents.apply(&call.command);
        call.seen = reply.filter(|_| !draft.is_lost);
        let end = if draft.is_lost { 0 } else { effect_at + draft.after };
        operations.push(operation(&at.to_string(), call, effect_at - draft.before, end));
    }
    operations
}

/// The same question, by trying every order.
fn may_follow(state: &Contents, left: &[&Operation<Call>]) -> bool {
    let first_end = left.iter().filter_map(|operation| operation.completed).min();
    let Some(first_end) = first_end else { return true };
    left.iter().enumerate().any(|(at, operation)| {
        let mut rest = left.to_vec();
        rest.remove(at);
        let next = Keyspace.step(state, &operation.action);
        operation.invoked <= first_end && next.is_some_and(|next| may_follow(&next, &rest))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_was_made_from_a_sequential_run_is_linearizable(drafts in prop::collection::vec(draft(), 1..70)) {
        prop_assert!(is_linearizable(&Keyspace, &history(&drafts)));
    }

    #[test]
    fn verdict_is_that_of_trying_every_order(
        drafts in prop::collection::vec(draft(), 2..8),
        (changed, like) in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
    ) {
        let mut operations = history(&drafts);
        let seen = like.get(&operations).action.seen.clone();
        let target = changed.index(operations.len());
        operations[target].action.seen = seen;
        let all: Vec<&Operation<Call>> = operations.iter().collect();
        prop_assert_eq!(is_linearizable(&Keyspace, &operations), may_follow(&Contents::default(), &all));
    }
}
