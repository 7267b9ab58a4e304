//! A machine with one session, and a notation for replies.

use bytes::Bytes;
use quorate_machine::{
    Applied, Batch, ClusterVersion, Group, Limits, Machine, Operation, Outcome, Publication, Reply,
    SessionId, Step,
};

/// Whose commands the tests send.
pub(crate) const SESSION: SessionId = SessionId { node: 1, incarnation: 1 };

/// A machine and what a driver would know of it.
pub(crate) struct Driver {
    pub(crate) machine: Machine,
    /// Cluster time in milliseconds, put on the next entry.
    pub(crate) stamp_ms: u64,
    /// The replies to commands that have waited, with their sequences.
    pub(crate) served: Vec<(u64, Reply)>,
    /// What the last entry has sent to subscribers.
    pub(crate) published: Vec<Publication>,
}

impl Driver {
    /// A born cluster whose calendar shows one second after the first of 2020.
    pub(crate) fn new() -> Self {
        let mut driver = Self {
            machine: Machine::new(Limits::default()),
            stamp_ms: 1000,
            served: Vec::new(),
            published: Vec::new(),
        };
        driver.unnumbered(Operation::Birth {
            cluster_id: 7,
            fence_base: 100,
            calendar_ms: 1_577_836_801_000,
        });
        driver.unnumbered(Operation::OpenSession);
        driver
    }

    pub(crate) fn apply(&mut self, groups: Vec<Group>) -> Vec<Applied> {
        let payload = Batch { version: ClusterVersion::NEWEST, groups }.encode();
        self.apply_payload(Some(&payload))
    }

    /// Applies an entry step by step, as a node does: each tells what it sends.
    fn apply_payload(&mut self, payload: Option<&Bytes>) -> Vec<Applied> {
        let index = self.machine.applied() + 1;
        self.machine.begin(index, self.stamp_ms, payload).expect("the entry is well-formed");
        self.published = self.machine.take_publications();
        let mut all = Vec::new();
        loop {
            match self.machine.apply_next() {
                Step::Applied(applied) => all.push(applied),
                Step::Paused => continue,
                Step::Finished => return all,
            }
            self.published.extend(self.machine.take_publications());
        }
    }

    fn unnumbered(&mut self, operation: Operation) {
        let group =
            Group { session: SESSION, stream: 0, acked: 0, first_sequence: 0, operations: vec![operation] };
        self.apply(vec![group]);
    }

    /// Applies operations of the session under its next numbers. One that waits answers how it is called from now on.
    pub(crate) fn run(&mut self, operations: Vec<Operation>) -> Vec<Reply> {
        let last = self.machine.session(SESSION).expect("the session is open");
        let group = Group { session: SESSION, stream: 0, acked: last, first_sequence: last + 1, operations };
        let mut replies = Vec::new();
        for Applied { sequence, outcome, .. } in self.apply(vec![group]) {
            let reply = match outcome {
                Outcome::Reply(reply) => reply,
                Outcome::Waits => Reply::Status(format!("waits as #{sequence}").into()),
                Outcome::Refused(refusal) => panic!("refused: {refusal:?}"),
            };
            match sequence == last + 1 + replies.len() as u64 {
                true => replies.push(reply),
                false => self.served.push((sequence, reply)),
            }
        }
        replies
    }

    /// Runs a command as a driver does: a read beside the log, anything else through it.
    pub(crate) fn command(&mut self, db: u32, args: &[Bytes]) -> Reply {
        if Machine::is_read(args) {
            return self.machine.read(self.stamp_ms, db, args);
        }
        self.run(vec![Operation::Command { db, user: 0, args: args.to_vec() }]).remove(0)
    }

    /// Lets time pass in the log.
    pub(crate) fn advance(&mut self, ms: u64) {
        self.stamp_ms += ms;
        for Applied { sequence, outcome, .. } in self.apply_payload(None) {
            let Outcome::Reply(reply) = outcome else { panic!("time gives nobody a reason to wait") };
            self.served.push((sequence, reply));
        }
    }
}

/// Words as arguments.
pub(crate) fn args<W: AsRef<[u8]>>(words: &[W]) -> Vec<Bytes> {
    words.iter().map(|word| Bytes::copy_from_slice(word.as_ref())).collect()
}

/// A reply on one line, much as redis-cli shows it.
pub(crate) fn show(reply: &Reply) -> String {
    let list = |replies: &[Reply]| replies.iter().map(show).collect::<Vec<_>>().join(", ");
    // Quotes need no escape where nothing is quoted by them.
    let text = |text: &Bytes| text.escape_ascii().to_string().replace("\\'", "'");
    match reply {
        Reply::Null => "(nil)".to_owned(),
        Reply::NullArray => "(nil array)".to_owned(),
        Reply::Status(status) => text(status),
        Reply::Error(error) => format!("(error) {}", text(error)),
        Reply::Integer(value) => format!("(integer) {value}"),
        Reply::Bulk(bulk) | Reply::BigNumber(bulk) | Reply::Verbatim(bulk) => format!("\"{}\"", text(bulk)),
        Reply::Array(elements) => format!("[{}]", list(elements)),
        Reply::Set(elements) => format!("{{{}}}", list(elements)),
        Reply::Push(elements) => format!(">[{}]", list(elements)),
        Reply::Map(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| format!("{}: {}", show(key), show(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
        }
        Reply::Pairs(pairs) => {
            let pairs = pairs.iter().map(|(first, second)| format!("({}, {})", show(first), show(second)));
            format!("[{}]", pairs.collect::<Vec<_>>().join(", "))
        }
        Reply::Double(value) => format!("(double) {value}"),
        Reply::Boolean(value) => format!("({value})"),
    }
}
