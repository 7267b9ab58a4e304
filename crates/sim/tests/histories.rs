//! Published histories, judged as those who published them did; `histories/README.md` says where they are from.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use quorate_sim::linearizability::{
    CONFIGURATIONS_MAX, Counterexample, Judged, Operation, judge,
    keyspace::{Call, Command, Keyspace, Seen},
};

/// A history as it is read, event by event.
#[derive(Default)]
struct Recording {
    operations: Vec<Operation<Call>>,
    /// What each process is about.
    under_way: BTreeMap<String, usize>,
    events: u64,
}

impl Recording {
    fn now(&mut self) -> Duration {
        self.events += 1;
        Duration::from_millis(self.events)
    }

    fn asks(&mut self, process: &str, words: &[&str]) {
        let command = Command::parse(words).expect("a command of the model");
        let invoked = self.now();
        let (client, action) = (process.to_owned(), Call { command, seen: None });
        let before = self.under_way.insert(process.to_owned(), self.operations.len());
        assert!(before.is_none(), "process {process} has two requests under way");
        self.operations.push(Operation { client, invoked, completed: None, action });
    }

    /// `None`: it is not said what.
    fn is_told(&mut self, process: &str, seen: Option<Seen>) {
        let completed = self.now();
        let operation = &mut self.operations[self.under_way.remove(process).expect("a request")];
        (operation.completed, operation.action.seen) = (Some(completed), seen);
    }

    fn judge(&self) -> Result<Judged, Box<Counterexample>> {
        judge(&Keyspace, &self.operations, CONFIGURATIONS_MAX)
    }
}

fn text(seen: &str) -> Option<Seen> {
    Some(Seen::Text(Bytes::copy_from_slice(seen.as_bytes())))
}

/// An event of the register of etcd, such as `3c2>0`.
fn etcd_event(recording: &mut Recording, event: &str) {
    let sign = event.find(['r', 'w', 'c', '=']).expect("an event");
    let (process, (kind, rest)) = (&event[..sign], event[sign..].split_at(1));
    match (kind, rest) {
        ("r", "") => recording.asks(process, &["GET", "register"]),
        ("w", value) => recording.asks(process, &["SET", "register", value]),
        ("c", values) => {
            let (old, new) = values.split_once('>').expect("two values");
            recording.asks(process, &["CAS", "register", old, new]);
        }
        ("=", "?") => recording.is_told(process, None),
        ("=", told) => {
            let asked = recording.under_way.get(process).expect("a request");
            let is_swap = matches!(recording.operations[*asked].action.command, Command::CompareAndSet(..));
            let seen = match told {
                "nil" => Some(Seen::Nothing),
                "no" => Some(Seen::Number(0)),
                "ok" if is_swap => Some(Seen::Number(1)),
                "ok" => text("OK"),
                value => text(value),
            };
            recording.is_told(process, seen);
        }
        _ => panic!("no event: {event}"),
    }
}

#[test]
fn histories_of_etcd_are_judged_as_published() {
    let (mut linearizable, mut refused) = (0, 0);
    for line in include_str!("histories/etcd.txt").lines() {
        let [number, verdict, events] = line.splitn(3, ' ').collect::<Vec<_>>()[..] else {
            panic!("no history: {line}");
        };
        let mut recording = Recording::default();
        events.split(' ').for_each(|event| etcd_event(&mut recording, event));
        match recording.judge() {
            Ok(judged) => {
                assert_eq!((verdict, judged.undecided), ("linearizable", 0), "history {number}");
                linearizable += 1;
            }
            Err(counterexample) => {
                assert_eq!(verdict, "refused", "history {number}: {counterexample}");
                refused += 1;
            }
        }
    }
    assert_eq!((linearizable, refused), (23, 79));
}

/// A history of a key-value store, whose keys hold nothing at first.
fn keys(text_of_events: &str) -> Recording {
    let mut recording = Recording::default();
    for line in text_of_events.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            [process, "get", key] => recording.asks(process, &["GET", key]),
            [process, "put", key, value] => recording.asks(process, &["SET", key, value]),
            [process, "append", key, value] => recording.asks(process, &["APPEND", key, value]),
            [process, "ok", ""] => recording.is_told(process, Some(Seen::Nothing)),
            [process, "ok", value] => recording.is_told(process, text(value)),
            [process, "ok"] => recording.is_told(process, None),
            _ => panic!("no event: {line}"),
        }
    }
    recording
}

#[test]
fn histories_of_keys_and_values_are_judged_as_published() {
    let good = keys(include_str!("histories/kv-10-clients-ok.txt"));
    let judged = good.judge().expect("a history that was published as linearizable");
    assert_eq!((judged.histories, judged.undecided), (10, 0));
    let bad = keys(include_str!("histories/kv-10-clients-bad.txt"));
    assert!(bad.judge().is_err(), "a history that was published as wrong");
}
