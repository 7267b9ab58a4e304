//! The order of one client's commands.
//!
//! A client may send many commands before it reads the first answer, and they take effect in the order sent.
//! Writes go through the log, which keeps their order. Reads take the shorter way of a read index when nothing
//! of their connection is in the log; otherwise they travel in the log at their place. So a connection either
//! *reads* or *logs*, and what does not fit waits:
//!
//! | in flight | next is a read | next is a write | next is a WATCH or a view |
//! |---|---|---|---|
//! | nothing | read index | log | read index |
//! | reads | read index | wait | read index |
//! | logged commands | log | log | wait |
//! | last of them one that may wait | wait | wait | wait |
//!
//! A stale read asks nobody, and begins when nothing is in flight, or travels in the log behind writes.
//! A change of members is neither: it begins alone, and all that follows waits for its answer.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_consensus::Change;
use quorate_machine::Operation;

use crate::input::{Action, ConnId, Request};

/// One client's connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    in_flight: InFlight,
    requests: VecDeque<Request>,
    /// The number of its command that waits in the machine, if one does.
    pub(crate) parked: Option<u64>,
    /// Whether its client waits for nothing any more.
    pub(crate) gives_up: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum InFlight {
    #[default]
    Nothing,
    Reads(usize),
    Logged(usize),
    /// The last of so many logged commands may wait, or a change of members is under way: until it is answered, nothing
    /// more is begun.
    Waiting(usize),
    /// The client was told that an outcome is unknown: it gets no further answer, and what it still sends is not
    /// begun.
    Closed,
}

/// What becomes of a connection's next request.
#[derive(Debug)]
pub(crate) enum Next {
    /// It takes the way of the read index.
    Read(ReadRequest),
    /// It is served from this node's data as they are.
    Stale { db: u32, args: Vec<Bytes> },
    /// It travels in the log, where it counts for so many bytes.
    Log(Operation, usize),
    /// It travels in the log, once it is known which command of this connection it is about.
    Unblock { target: ConnId, with_error: bool, bytes: usize },
    /// The leader is to change the members.
    Reconfigure(Change),
    /// It was taken away, and this is its answer.
    Refused(Refusal),
    /// There is none, or it must wait.
    Wait,
}

/// Why a request is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This node's disk has no room.
    NoRoom,
    /// The leader's disk has no room.
    NoRoomAtLeader,
    /// So many disks have no room that nothing could be committed.
    NoRoomAtQuorum,
    /// Too many bytes of this node's clients are under way.
    TooMuchWaits,
    /// It is larger than an entry of the log may be.
    TooLarge,
    /// This node keeps no data.
    Witness,
}

/// A request on the way of the read index.
#[derive(Debug)]
pub(crate) enum ReadRequest {
    Command { db: u32, args: Vec<Bytes> },
    Watch { db: u32, keys: Vec<Bytes> },
    View,
}

impl Connection {
    /// Adds requests that arrived together.
    pub(crate) fn extend(&mut self, requests: Vec<Request>) {
        match self.in_flight {
            InFlight::Closed => {}
            InFlight::Nothing | InFlight::Reads(_) | InFlight::Logged(_) | InFlight::Waiting(_) => {
                self.requests.extend(requests);
            }
        }
    }

    /// Takes the next request, if it may begin, and counts it as in flight. One that would go to the log is weighed
    /// by `weigh`, or refused for the reason that this gives, but only on a quiet connection: an answer must not
    /// overtake an earlier one.
    pub(crate) fn next(&mut self, weigh: impl FnOnce(&Action) -> Result<usize, Refusal>) -> Next {
        let Some(next) = self.requests.front() else { return Next::Wait };
        let may_wait = matches!(next.action, Action::Wait(_) | Action::Reconfigure(_));
        let to_log = match (self.in_flight, &next.action) {
            (InFlight::Nothing | InFlight::Reads(_), Action::Read(_) | Action::Watch(_) | Action::View)
            | (InFlight::Nothing, Action::StaleRead(_) | Action::Reconfigure(_)) => false,
            (
                InFlight::Nothing,
                Action::Write(_) | Action::Wait(_) | Action::Transaction { .. } | Action::Unblock { .. },
            ) => true,
            (
                InFlight::Logged(_),
                Action::Read(_)
                | Action::StaleRead(_)
                | Action::Write(_)
                | Action::Wait(_)
                | Action::Transaction { .. }
                | Action::Unblock { .. },
            ) => true,
            (
                InFlight::Reads(_),
                Action::StaleRead(_)
                | Action::Write(_)
                | Action::Wait(_)
                | Action::Transaction { .. }
                | Action::Unblock { .. },
            )
            | (InFlight::Logged(_), Action::Watch(_) | Action::View)
            | (InFlight::Reads(_) | InFlight::Logged(_), Action::Reconfigure(_))
            | (InFlight::Waiting(_) | InFlight::Closed, _) => return Next::Wait,
        };
        let bytes = match (if to_log { weigh(&next.action) } else { Ok(0) }, self.in_flight) {
            (Ok(bytes), _) => bytes,
            (Err(refusal), InFlight::Nothing) => {
                self.requests.pop_front();
                return Next::Refused(refusal);
            }
            (Err(_), InFlight::Reads(_) | InFlight::Logged(_) | InFlight::Waiting(_) | InFlight::Closed) => {
                return Next::Wait;
            }
        };
        let Some(request) = self.requests.pop_front() else { return Next::Wait };
        self.in_flight = match self.in_flight {
            InFlight::Nothing if may_wait => InFlight::Waiting(1),
            InFlight::Nothing if to_log => InFlight::Logged(1),
            InFlight::Nothing => InFlight::Reads(1),
            InFlight::Reads(count) => InFlight::Reads(count + 1),
            InFlight::Logged(count) if may_wait => InFlight::Waiting(count + 1),
            InFlight::Logged(count) => InFlight::Logged(count + 1),
            InFlight::Waiting(_) | InFlight::Closed => self.in_flight,
        };
        match request.action {
            Action::Unblock { target, with_error } => Next::Unblock { target, with_error, bytes },
            Action::Reconfigure(change) => Next::Reconfigure(change),
            _ if to_log => Next::Log(operation(request), bytes),
            Action::StaleRead(args) => Next::Stale { db: request.db, args },
            _ => Next::Read(read_request(request)),
        }
    }

    /// Takes the next request away, to be refused, if nothing is in flight that is to be answered before. Whether there was
    /// one.
    pub(crate) fn refuse(&mut self) -> bool {
        self.is_quiet() && self.requests.pop_front().is_some()
    }

    /// Counts one answer. Whether the client is still to get it.
    pub(crate) fn answered(&mut self) -> bool {
        self.in_flight = match self.in_flight {
            InFlight::Reads(1) | InFlight::Logged(1) | InFlight::Waiting(1) => InFlight::Nothing,
            InFlight::Reads(count) => InFlight::Reads(count - 1),
            InFlight::Logged(count) => InFlight::Logged(count - 1),
            InFlight::Waiting(count) => InFlight::Waiting(count - 1),
            InFlight::Closed => return false,
            InFlight::Nothing => panic!("an answer to a request that is not in flight"),
        };
        true
    }

    /// Whether no answer is owed, so that anything may begin.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.in_flight, InFlight::Nothing)
    }

    /// Whether the client gets no further answer.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.in_flight, InFlight::Closed)
    }

    /// Whether the last command that was begun may wait.
    pub(crate) fn may_wait(&self) -> bool {
        matches!(self.in_flight, InFlight::Waiting(_))
    }

    /// The client gets no further answer. Whether it is told so now, for the first time.
    pub(crate) fn close(&mut self) -> bool {
        self.requests.clear();
        self.parked = None;
        !matches!(std::mem::replace(&mut self.in_flight, InFlight::Closed), InFlight::Closed)
    }
}

fn operation(request: Request) -> Operation {
    match request.action {
        Action::Read(args) | Action::StaleRead(args) | Action::Write(args) | Action::Wait(args) => {
            Operation::Command { db: request.db, user: DEFAULT_USER, args }
        }
        Action::Transaction { watched, commands } => Operation::Transaction { watched, commands },
        Action::Watch(_) | Action::View | Action::Reconfigure(_) | Action::Unblock { .. } => {
            unreachable!("none of them is logged, and what is unblocked was not looked up")
        }
    }
}

fn read_request(request: Request) -> ReadRequest {
    match request.action {
        Action::Read(args) => ReadRequest::Command { db: request.db, args },
        Action::Watch(keys) => ReadRequest::Watch { db: request.db, keys },
        Action::View => ReadRequest::View,
        Action::StaleRead(_)
        | Action::Write(_)
        | Action::Wait(_)
        | Action::Transaction { .. }
        | Action::Reconfigure(_)
        | Action::Unblock { .. } => {
            unreachable!("neither takes the way of the read index")
        }
    }
}

/// The only user until there are access control lists.
const DEFAULT_USER: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    fn read() -> Request {
        Request { db: 0, action: Action::Read(vec![Bytes::from_static(b"get")]) }
    }

    fn write() -> Request {
        Request { db: 0, action: Action::Write(vec![Bytes::from_static(b"set")]) }
    }

    fn watch() -> Request {
        Request { db: 0, action: Action::Watch(vec![Bytes::from_static(b"k")]) }
    }

    fn connection(requests: Vec<Request>) -> Connection {
        let mut connection = Connection::default();
        connection.extend(requests);
        connection
    }

    fn next(connection: &mut Connection) -> Next {
        connection.next(|_| Ok(0))
    }

    #[test]
    fn reads_alone_take_the_read_index_together() {
        let mut connection = connection(vec![read(), watch(), read()]);
        for _ in 0..3 {
            assert!(matches!(next(&mut connection), Next::Read(_)));
        }
        assert!(matches!(next(&mut connection), Next::Wait));
    }

    #[test]
    fn write_behind_a_read_waits_until_it_is_served() {
        let mut connection = connection(vec![read(), write()]);
        assert!(matches!(next(&mut connection), Next::Read(_)));
        assert!(matches!(next(&mut connection), Next::Wait));
        assert!(connection.answered());
        assert!(matches!(next(&mut connection), Next::Log(..)));
    }

    #[test]
    fn read_behind_a_write_travels_in_the_log() {
        let mut connection = connection(vec![write(), read(), write()]);
        for _ in 0..3 {
            assert!(matches!(next(&mut connection), Next::Log(..)));
        }
    }

    #[test]
    fn watch_behind_a_write_waits_until_it_is_applied() {
        let mut connection = connection(vec![write(), watch()]);
        assert!(matches!(next(&mut connection), Next::Log(..)));
        assert!(matches!(next(&mut connection), Next::Wait));
        assert!(connection.answered());
        assert!(matches!(next(&mut connection), Next::Read(_)));
    }

    #[test]
    fn nothing_is_begun_behind_a_command_that_may_wait() {
        let wait = Request { db: 0, action: Action::Wait(vec![Bytes::from_static(b"blpop")]) };
        let mut connection = connection(vec![write(), wait, write(), read()]);
        assert!(matches!(next(&mut connection), Next::Log(..)));
        assert!(matches!(next(&mut connection), Next::Log(..)));
        assert!(matches!(next(&mut connection), Next::Wait));
        assert!(connection.answered());
        assert!(matches!(next(&mut connection), Next::Wait));
        assert!(connection.answered() && connection.is_quiet());
        assert!(matches!(next(&mut connection), Next::Log(..)));
        assert!(matches!(next(&mut connection), Next::Log(..)));
    }

    #[test]
    fn stale_read_begins_when_nothing_is_in_flight_or_behind_a_write_in_the_log() {
        let stale = || Request { db: 3, action: Action::StaleRead(vec![Bytes::from_static(b"get")]) };
        let mut connection = connection(vec![read(), stale(), write(), stale()]);
        assert!(matches!(next(&mut connection), Next::Read(_)));
        assert!(matches!(next(&mut connection), Next::Wait), "an answer must not overtake an earlier one");
        assert!(connection.answered());
        assert!(matches!(next(&mut connection), Next::Stale { db: 3, .. }));
        assert!(connection.answered());
        assert!(matches!(next(&mut connection), Next::Log(..)));
        assert!(matches!(next(&mut connection), Next::Log(..)), "it sees what its connection wrote");
    }

    #[test]
    fn change_of_members_begins_alone_and_holds_up_what_follows() {
        let change = Request { db: 0, action: Action::Reconfigure(Change::default()) };
        let mut connection = connection(vec![read(), change, read()]);
        assert!(matches!(next(&mut connection), Next::Read(_)));
        assert!(matches!(next(&mut connection), Next::Wait));
        assert!(connection.answered());
        assert!(matches!(next(&mut connection), Next::Reconfigure(_)));
        assert!(matches!(next(&mut connection), Next::Wait));
        assert!(connection.answered());
        assert!(matches!(next(&mut connection), Next::Read(_)));
    }

    #[test]
    fn refusal_waits_for_earlier_answers_and_does_not_concern_reads() {
        let refuse = |_: &Action| Err(Refusal::NoRoom);
        let mut connection = connection(vec![read(), write(), read()]);
        assert!(matches!(connection.next(refuse), Next::Read(_)));
        assert!(matches!(connection.next(refuse), Next::Wait));
        assert!(connection.answered());
        assert!(matches!(connection.next(refuse), Next::Refused(Refusal::NoRoom)));
        assert!(matches!(connection.next(refuse), Next::Read(_)));
    }

    #[test]
    fn closed_connection_begins_and_answers_nothing() {
        let mut connection = connection(vec![write(), write()]);
        assert!(matches!(next(&mut connection), Next::Log(..)));
        assert!(connection.close());
        assert!(!connection.close());
        connection.extend(vec![write()]);
        assert!(matches!(next(&mut connection), Next::Wait));
        assert!(!connection.answered());
    }
}
