//! A shard without a cluster: a thread that applies each request to a real machine at once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
};

use bytes::Bytes;
use crossbeam_channel::{Receiver, unbounded};
use quorate::{
    handle::{Action, Answer, ConnId, Request, ShardHandle, ShardInput},
    status::NodeStatus,
    subscriptions::Subscriptions,
};
use quorate_machine::{Batch, ClusterVersion, Group, Limits, Machine, Operation, Outcome, Reply, SessionId};
use tokio::sync::{mpsc::UnboundedSender, watch};

/// A read of this key is answered by closing the connection, as the driver does with a command whose outcome
/// it cannot learn.
pub(crate) const CLOSING_KEY: &[u8] = b"close-me";
/// A read of this key stops the shard.
pub(crate) const STOPPING_KEY: &[u8] = b"stop-the-shard";

const SESSION: SessionId = SessionId { node: 1, incarnation: 1 };

/// The test's side of the shard.
pub(crate) struct FakeShard {
    pub(crate) handle: ShardHandle,
    pub(crate) status: watch::Sender<Arc<NodeStatus>>,
    /// While a test holds this, the shard handles nothing.
    pub(crate) gate: Arc<Mutex<()>>,
    /// The most requests that one connection ever submitted at once.
    pub(crate) largest_batch: Arc<Mutex<usize>>,
}

impl FakeShard {
    pub(crate) fn start() -> Self {
        let (inputs, received) = unbounded();
        let (status, watched) = watch::channel(Arc::new(NodeStatus::default()));
        let gate = Arc::new(Mutex::new(()));
        let largest_batch = Arc::new(Mutex::new(0));
        let worker = Worker {
            machine: Machine::new(Limits::default()),
            sequence: 0,
            clients: BTreeMap::new(),
            largest_batch: largest_batch.clone(),
        };
        let held = gate.clone();
        thread::spawn(move || worker.run(&received, &held));
        Self {
            handle: ShardHandle::new(inputs, watched, Subscriptions::new().0),
            status,
            gate,
            largest_batch,
        }
    }
}

struct Worker {
    machine: Machine,
    sequence: u64,
    clients: BTreeMap<ConnId, UnboundedSender<Answer>>,
    largest_batch: Arc<Mutex<usize>>,
}

impl Worker {
    /// Runs until the last handle is gone, or a test stops it.
    fn run(mut self, inputs: &Receiver<ShardInput>, gate: &Mutex<()>) {
        self.apply(0, Operation::OpenSession);
        for input in inputs {
            drop(gate.lock().unwrap());
            match input {
                ShardInput::Connected { conn, answers } => {
                    self.clients.insert(conn, answers);
                }
                ShardInput::Requests { conn, requests } => {
                    let mut largest = self.largest_batch.lock().unwrap();
                    *largest = requests.len().max(*largest);
                    drop(largest);
                    for request in requests {
                        if names(&request, STOPPING_KEY) {
                            return;
                        }
                        let answer = self.answer(request);
                        // A client that has gone has no use for it.
                        let _ = self.clients[&conn].send(answer);
                    }
                }
                ShardInput::GivesUp { .. } | ShardInput::Transfer { .. } => {}
                ShardInput::Disconnected { conn } => {
                    self.clients.remove(&conn);
                }
            }
        }
    }

    fn answer(&mut self, request: Request) -> Answer {
        let db = request.db;
        if names(&request, CLOSING_KEY) {
            return Answer::Close("the test asked for it");
        }
        match request.action {
            Action::Read(args) | Action::StaleRead(args) => Answer::Reply(self.machine.read(0, db, &args)),
            Action::Write(args) | Action::Wait(args) => {
                Answer::Reply(self.write(Operation::Command { db, user: 0, args }))
            }
            Action::Transaction { watched, commands } => {
                Answer::Reply(self.write(Operation::Transaction { watched, commands }))
            }
            Action::Reconfigure(_) | Action::Unblock { .. } => Answer::Reply(Reply::Integer(0)),
            Action::View => Answer::Close("no client asks for a view here"),
            Action::Watch(keys) => Answer::Watched(self.machine.versions(db, &keys)),
        }
    }

    fn write(&mut self, operation: Operation) -> Reply {
        self.sequence += 1;
        self.apply(self.sequence, operation)
    }

    fn apply(&mut self, first_sequence: u64, operation: Operation) -> Reply {
        let acked = first_sequence.saturating_sub(1);
        let group = Group { session: SESSION, stream: 0, acked, first_sequence, operations: vec![operation] };
        let payload: Bytes = Batch { version: ClusterVersion::NEWEST, groups: vec![group] }.encode();
        let index = self.machine.applied() + 1;
        let mut applied = self.machine.apply(index, 0, Some(&payload)).unwrap();
        match applied.remove(0).outcome {
            Outcome::Reply(reply) => reply,
            Outcome::Waits => panic!("no test of these doors waits"),
            Outcome::Refused(refusal) => panic!("the machine refused: {refusal:?}"),
        }
    }
}

fn names(request: &Request, key: &[u8]) -> bool {
    matches!(&request.action, Action::Read(args) if args.get(1).is_some_and(|name| name == key))
}
