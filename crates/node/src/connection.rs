//! The order of one client's commands.
//!
//! A client may send many commands before it reads the first answer, and they take effect in the order sent.
//! Writes go through the log, which keeps their order. Reads take the shorter way of a read index when nothing
//! of their connection is in the log; otherwise they travel in the log at their place. So a connection either
//! *reads* or *logs*, and what does not fit waits:
//!
//! | in flight | next is a read | next is a write | next is a WATCH |
//! |---|---|---|---|
//! | nothing | read index | log | read index |
//! | reads | read index | wait | read index |
//! | logged commands | log | log | wait |

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_machine::Operation;

use crate::input::{Action, Request};

/// One client's connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    in_flight: InFlight,
    waiting: VecDeque<Request>,
}

#[derive(Debug, Default, Clone, Copy)]
enum InFlight {
    #[default]
    Nothing,
    Reads(usize),
    Logged(usize),
}

/// A request that may begin now.
#[derive(Debug)]
pub(crate) enum Begin {
    Read(ReadRequest),
    Log(Operation),
}

/// A request on the way of the read index.
#[derive(Debug)]
pub(crate) enum ReadRequest {
    Command { db: u32, args: Vec<Bytes> },
    Watch { db: u32, keys: Vec<Bytes> },
}

impl Connection {
    /// Adds requests that arrived together.
    pub(crate) fn extend(&mut self, requests: Vec<Request>) {
        self.waiting.extend(requests);
    }

    /// Whether no answer is owed.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(self.in_flight, InFlight::Nothing)
    }

    /// The next request, if it may begin, and counts it as in flight. With `log_has_room` false nothing new is
    /// begun in the log.
    pub(crate) fn begin_next(&mut self, log_has_room: bool) -> Option<Begin> {
        let next = self.waiting.front()?;
        let to_log = match (self.in_flight, &next.action) {
            (InFlight::Nothing | InFlight::Reads(_), Action::Read(_) | Action::Watch(_)) => false,
            (InFlight::Nothing, Action::Write(_) | Action::Transaction { .. }) => true,
            (InFlight::Logged(_), Action::Read(_) | Action::Write(_) | Action::Transaction { .. }) => true,
            (InFlight::Reads(_), Action::Write(_) | Action::Transaction { .. })
            | (InFlight::Logged(_), Action::Watch(_)) => return None,
        };
        if to_log && !log_has_room {
            return None;
        }
        let request = self.waiting.pop_front()?;
        self.in_flight = match self.in_flight {
            InFlight::Nothing if to_log => InFlight::Logged(1),
            InFlight::Nothing => InFlight::Reads(1),
            InFlight::Reads(count) => InFlight::Reads(count + 1),
            InFlight::Logged(count) => InFlight::Logged(count + 1),
        };
        Some(if to_log { Begin::Log(operation(request)) } else { Begin::Read(read_request(request)) })
    }

    /// Takes the next request away without beginning it, so that it can be refused. Only a quiet connection
    /// may: an answer must not overtake an earlier one.
    pub(crate) fn refuse_next(&mut self) -> Option<Request> {
        assert!(self.is_quiet(), "a refusal would overtake an answer");
        self.waiting.pop_front()
    }

    /// Counts one answer.
    pub(crate) fn answered(&mut self) {
        self.in_flight = match self.in_flight {
            InFlight::Reads(1) | InFlight::Logged(1) => InFlight::Nothing,
            InFlight::Reads(count) => InFlight::Reads(count - 1),
            InFlight::Logged(count) => InFlight::Logged(count - 1),
            InFlight::Nothing => panic!("an answer to a request that is not in flight"),
        };
    }
}

fn operation(request: Request) -> Operation {
    match request.action {
        Action::Read(args) | Action::Write(args) => {
            Operation::Command { db: request.db, user: DEFAULT_USER, args }
        }
        Action::Transaction { watched, commands } => Operation::Transaction { watched, commands },
        Action::Watch(_) => unreachable!("WATCH is never logged"),
    }
}

fn read_request(request: Request) -> ReadRequest {
    match request.action {
        Action::Read(args) => ReadRequest::Command { db: request.db, args },
        Action::Watch(keys) => ReadRequest::Watch { db: request.db, keys },
        Action::Write(_) | Action::Transaction { .. } => unreachable!("a write is never read"),
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

    #[test]
    fn reads_alone_take_the_read_index_together() {
        let mut connection = connection(vec![read(), watch(), read()]);
        for _ in 0..3 {
            assert!(matches!(connection.begin_next(true), Some(Begin::Read(_))));
        }
        assert!(connection.begin_next(true).is_none());
    }

    #[test]
    fn write_behind_a_read_waits_until_it_is_served() {
        let mut connection = connection(vec![read(), write()]);
        assert!(matches!(connection.begin_next(true), Some(Begin::Read(_))));
        assert!(connection.begin_next(true).is_none());
        connection.answered();
        assert!(matches!(connection.begin_next(true), Some(Begin::Log(_))));
    }

    #[test]
    fn read_behind_a_write_travels_in_the_log() {
        let mut connection = connection(vec![write(), read(), write()]);
        for _ in 0..3 {
            assert!(matches!(connection.begin_next(true), Some(Begin::Log(_))));
        }
    }

    #[test]
    fn watch_behind_a_write_waits_until_it_is_applied() {
        let mut connection = connection(vec![write(), watch()]);
        assert!(matches!(connection.begin_next(true), Some(Begin::Log(_))));
        assert!(connection.begin_next(true).is_none());
        connection.answered();
        assert!(matches!(connection.begin_next(true), Some(Begin::Read(_))));
    }

    #[test]
    fn full_log_holds_writes_back_and_lets_reads_pass() {
        let mut connection = connection(vec![read(), write()]);
        assert!(matches!(connection.begin_next(false), Some(Begin::Read(_))));
        connection.answered();
        assert!(connection.begin_next(false).is_none());
        assert!(connection.refuse_next().is_some());
    }
}
