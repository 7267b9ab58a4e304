//! The replies that a connection owes, in the order of its commands.
//!
//! Some are known at once (PING), most only when the shard answers. Nothing may overtake, so a reply that is
//! known waits behind one that is not. The protocol version and CLIENT REPLY take effect at a place in this
//! order, which is why they stand in the queue as well.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use quorate_machine::ChannelKind;
use tokio::time::Instant;

use super::{
    listening::Wish,
    slow_log::Begun,
    transaction::{Plan, Woven},
    wait::Wait,
};
use crate::{
    handle::Reply,
    resp::{Protocol, encode, encoded_bytes},
    status::NodeStatus,
};

/// One place in the order.
#[derive(Debug)]
pub(super) enum Slot {
    /// Known.
    Known(Reply),
    /// Known: the reply of an EXEC that needed nothing of the shard.
    Executed(Woven),
    /// The shard's next answer, as it is.
    Answer,
    /// The shard's next answer, which says what WATCH saw.
    Watch,
    /// The shard's next answer, into which EXEC weaves the replies of the connection's own commands.
    Transaction(Plan),
    /// The shard's next answer, in whose place the number of this node's subscribers is told.
    Published(ChannelKind, Bytes),
    /// The shard's next answer, which says that this node is as far as any message that was published before: only
    /// then this is listened to.
    Subscribe(Wish),
    /// The shard's next answer, a map to which CONFIG GET adds this node's own settings.
    Settings(Vec<(Reply, Reply)>),
    /// The shard's next answer, which may be long in coming: what follows is held back.
    Blocked,
    /// WAIT or the like, which begins to wait once all before it is answered.
    Wait(Wait),
    /// From here on replies are written in this version.
    Protocol(Protocol),
}

impl Slot {
    /// Whether the commands behind it may depend on its outcome, and so are held back until it is known.
    fn holds(&self) -> bool {
        match self {
            Self::Watch | Self::Transaction(_) | Self::Subscribe(..) | Self::Blocked | Self::Wait(_) => true,
            Self::Known(_)
            | Self::Executed(_)
            | Self::Answer
            | Self::Published(..)
            | Self::Settings(_)
            | Self::Protocol(_) => false,
        }
    }

    /// Whether it takes an answer of the shard.
    fn awaits_answer(&self) -> bool {
        match self {
            Self::Answer
            | Self::Watch
            | Self::Transaction(_)
            | Self::Published(..)
            | Self::Subscribe(..)
            | Self::Blocked
            | Self::Settings(_) => true,
            Self::Known(_) | Self::Executed(_) | Self::Wait(_) | Self::Protocol(_) => false,
        }
    }

    /// Bytes that it holds while it waits.
    fn bytes(&self, protocol: Protocol) -> usize {
        match self {
            Self::Known(reply) => encoded_bytes(reply, protocol),
            Self::Executed(woven) => woven.bytes(),
            Self::Answer
            | Self::Watch
            | Self::Transaction(_)
            | Self::Published(..)
            | Self::Subscribe(..)
            | Self::Blocked
            | Self::Settings(_)
            | Self::Wait(_)
            | Self::Protocol(_) => 0,
        }
    }
}

#[derive(Debug)]
struct Owed {
    slot: Slot,
    /// CLIENT REPLY: the outcome counts, but nobody is told.
    silent: bool,
    /// What the request takes in memory while it is unanswered, or the reply while it waits for those before it.
    bytes: usize,
    /// For a request that is measured.
    begun: Option<Begun>,
}

/// A place whose answer has come.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) slot: Slot,
    pub(super) silent: bool,
    /// If it is measured.
    pub(super) begun: Option<Begun>,
}

/// The queue, and the bytes that are ready to be sent.
#[derive(Debug, Default)]
pub(super) struct Replies {
    owed: VecDeque<Owed>,
    /// How many in the queue hold back what follows.
    holding: usize,
    waiting_bytes: usize,
    protocol: Protocol,
    /// Encoded, to be written to the socket.
    pub(super) output: BytesMut,
}

impl Replies {
    /// Takes the next place in the order.
    pub(super) fn push(&mut self, slot: Slot, silent: bool) {
        let bytes = match self.owed.is_empty() {
            // It does not wait, or holds nothing.
            true => 0,
            false => slot.bytes(self.protocol),
        };
        self.push_request(slot, silent, bytes, None);
    }

    /// Takes the next place in the order for a request of so many bytes, which is perhaps measured.
    pub(super) fn push_request(&mut self, slot: Slot, silent: bool, bytes: usize, begun: Option<Begun>) {
        self.holding += usize::from(slot.holds());
        self.waiting_bytes += bytes;
        self.owed.push_back(Owed { slot, silent, bytes, begun });
        self.settle();
    }

    /// Bytes of the requests that are unanswered, and of the replies that wait behind them.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// How many places wait.
    pub(super) fn len(&self) -> usize {
        self.owed.len()
    }

    /// Whether commands must wait for an outcome.
    pub(super) fn held(&self) -> bool {
        self.holding > 0
    }

    /// The place that the shard's next answer is for; none if nothing was asked.
    pub(super) fn take_answered(&mut self) -> Option<Answered> {
        if !self.owed.front()?.slot.awaits_answer() {
            return None;
        }
        let Owed { slot, silent, bytes, begun } = self.owed.pop_front()?;
        self.holding -= usize::from(slot.holds());
        self.waiting_bytes -= bytes;
        Some(Answered { slot, silent, begun })
    }

    /// The requests that are measured and have no answer. Each is given once.
    pub(super) fn take_unanswered(&mut self) -> Vec<Begun> {
        self.owed.iter_mut().filter_map(|owed| owed.begun.take()).collect()
    }

    /// Encodes the reply of a place that was taken, and what was waiting behind it.
    pub(super) fn deliver(&mut self, reply: &Reply, silent: bool) {
        if !silent {
            encode(reply, self.protocol, &mut self.output);
        }
        self.settle();
    }

    /// The same for the reply of EXEC.
    pub(super) fn deliver_executed(&mut self, woven: &Woven, silent: bool) {
        if !silent {
            woven.encode(&mut self.output);
        }
        self.settle();
    }

    /// Whether a command at the front may be waiting for something to happen.
    pub(super) fn is_blocked(&self) -> bool {
        matches!(self.owed.front(), Some(Owed { slot: Slot::Blocked, .. }))
    }

    /// The wait that is at the front, if one is.
    pub(super) fn waiting(&self) -> Option<&Wait> {
        match &self.owed.front()?.slot {
            Slot::Wait(wait) => Some(wait),
            Slot::Known(_)
            | Slot::Executed(_)
            | Slot::Answer
            | Slot::Watch
            | Slot::Transaction(_)
            | Slot::Published(..)
            | Slot::Subscribe(..)
            | Slot::Blocked
            | Slot::Settings(_)
            | Slot::Protocol(_) => None,
        }
    }

    /// Starts the clock of a wait at the front, and answers it if it is over; `given_up` answers it in any case.
    pub(super) fn poll_wait(&mut self, status: &NodeStatus, now: Instant, given_up: bool) {
        let Some(Owed { slot: Slot::Wait(wait), silent, .. }) = self.owed.front_mut() else { return };
        wait.begin(now);
        let is_over = given_up && wait.may_be_given_up();
        let reply = if is_over { Some(wait.reply_now(status)) } else { wait.reply(status, now) };
        if let Some(reply) = reply {
            let silent = *silent;
            self.owed.pop_front();
            self.holding -= 1;
            self.deliver(&reply, silent);
        }
    }

    /// Encodes one of several replies of a place that was taken, or something that stands outside of the order.
    pub(super) fn interject(&mut self, reply: &Reply) {
        encode(reply, self.protocol, &mut self.output);
    }

    /// Gives up what the shard has not answered: the connection is ending.
    pub(super) fn abandon(&mut self) {
        self.owed.clear();
        self.holding = 0;
        self.waiting_bytes = 0;
    }

    /// Encodes what is known at the front.
    fn settle(&mut self) {
        while let Some(owed) = self.owed.pop_front() {
            self.waiting_bytes -= owed.bytes;
            match owed.slot {
                Slot::Known(_) | Slot::Executed(_) if owed.silent => {}
                Slot::Known(reply) => encode(&reply, self.protocol, &mut self.output),
                Slot::Executed(woven) => woven.encode(&mut self.output),
                Slot::Protocol(protocol) => self.protocol = protocol,
                slot @ (Slot::Answer
                | Slot::Watch
                | Slot::Transaction(_)
                | Slot::Published(..)
                | Slot::Subscribe(..)
                | Slot::Blocked
                | Slot::Settings(_)
                | Slot::Wait(_)) => {
                    self.waiting_bytes += owed.bytes;
                    self.owed.push_front(Owed { slot, ..owed });
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::connection::wait::Until;

    fn followed_by(connected_slaves: u64) -> NodeStatus {
        NodeStatus { connected_slaves, ..NodeStatus::default() }
    }

    fn known(text: &'static str) -> Slot {
        Slot::Known(Reply::status(text))
    }

    fn sent(replies: &mut Replies) -> String {
        replies.output.split().escape_ascii().to_string().replace("\\r\\n", " ")
    }

    #[test]
    fn what_is_known_waits_behind_what_is_not() {
        let mut replies = Replies::default();
        replies.push(known("a"), false);
        replies.push(Slot::Answer, false);
        replies.push(Slot::Protocol(Protocol::Resp3), false);
        replies.push(Slot::Known(Reply::Null), false);
        assert_eq!(sent(&mut replies), "+a ");
        assert!(matches!(
            replies.take_answered(),
            Some(Answered { slot: Slot::Answer, silent: false, begun: None })
        ));
        replies.deliver(&Reply::Null, false);
        assert_eq!(sent(&mut replies), "$-1 _ ");
        assert_eq!(replies.len(), 0);
    }

    #[test]
    fn silence_keeps_the_order() {
        let mut replies = Replies::default();
        replies.push(Slot::Answer, true);
        replies.push(known("b"), false);
        let answered = replies.take_answered().expect("an answer is awaited");
        replies.deliver(&Reply::ok(), answered.silent);
        assert_eq!(sent(&mut replies), "+b ");
    }

    #[test]
    fn a_wait_begins_when_all_before_it_is_answered() {
        let mut replies = Replies::default();
        let timeout = Some(Duration::from_millis(100));
        replies.push(Slot::Answer, false);
        let until = Until::Followers { replicas: 2, with_local: false };
        replies.push(Slot::Wait(Wait { until, timeout, deadline: None }), false);
        let start = Instant::now();
        replies.poll_wait(&followed_by(0), start, false);
        assert!(replies.waiting().is_none() && replies.held());
        replies.take_answered().expect("an answer is awaited");
        replies.deliver(&Reply::ok(), false);
        replies.poll_wait(&followed_by(0), start, false);
        assert_eq!(
            replies.waiting().and_then(|wait| wait.deadline),
            Some(start + Duration::from_millis(100))
        );
        replies.poll_wait(&followed_by(1), start + Duration::from_millis(100), false);
        assert_eq!(sent(&mut replies), "+OK :1 ");
        assert!(!replies.held());
    }

    #[test]
    fn a_wait_that_is_satisfied_takes_no_time() {
        let mut replies = Replies::default();
        let until = Until::Followers { replicas: 2, with_local: true };
        let wait = Wait { until, timeout: None, deadline: None };
        replies.push(Slot::Wait(wait), false);
        replies.poll_wait(&followed_by(2), Instant::now(), false);
        assert_eq!(sent(&mut replies), "*2 :1 :2 ");
    }

    #[test]
    fn an_answer_that_nobody_asked_for_finds_no_place() {
        assert!(Replies::default().take_answered().is_none());
    }
}
