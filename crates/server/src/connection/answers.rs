//! The shard's answers to one connection, between their arrival and their encoding.
//!
//! A reply is cheap while it is the machine's: its strings are shared with the data. Encoding copies them, so
//! answers are encoded only as fast as the client reads, and are held here meanwhile. Their sizes on the wire are
//! known and count towards the same bounds as encoded output, since data that is overwritten stays for their sake.
//!
//! A reply that alone exceeds the bound is given up at once: in its place stands the closing of the connection,
//! so that the client still gets all before it, and nobody ever allocates its encoding.

use std::collections::VecDeque;

use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};

use crate::{
    handle::Answer,
    resp::{Protocol, encoded_bytes},
};

/// Answers that are taken from the channel at once.
const ANSWERS_AT_ONCE: usize = 256;

/// An answer that waits to be encoded.
#[derive(Debug)]
struct Held {
    answer: Answer,
    /// What it will take once it is encoded.
    bytes: usize,
    arrived: Instant,
}

/// Answers that wait to be encoded, and the channel that brings more.
#[derive(Debug)]
pub(super) struct Answers {
    arriving: UnboundedReceiver<Answer>,
    /// Just arrived; empty but until they are sorted in.
    fresh: Vec<Answer>,
    held: VecDeque<Held>,
    held_bytes: usize,
    /// Nothing arrives any more.
    ended: bool,
    reply_bytes_max: usize,
}

impl Answers {
    /// Answers from `arriving`, none of which may be larger than `reply_bytes_max` once encoded.
    pub(super) fn new(arriving: UnboundedReceiver<Answer>, reply_bytes_max: usize) -> Self {
        let (fresh, held) = (Vec::new(), VecDeque::new());
        Self { arriving, fresh, held, held_bytes: 0, ended: false, reply_bytes_max }
    }

    /// Resolves when answers have arrived, or when it has become clear that none will any more. Then they are to be
    /// sorted in. Loses nothing if it is dropped before.
    pub(super) async fn arrive(&mut self) {
        if self.ended {
            std::future::pending().await
        }
        self.ended = self.arriving.recv_many(&mut self.fresh, ANSWERS_AT_ONCE).await == 0;
    }

    /// Takes what has arrived, at `now`.
    pub(super) fn sort_in(&mut self, now: Instant) {
        for answer in self.fresh.drain(..) {
            // The version may change before it is encoded, which makes a difference of a few bytes.
            let bytes = match &answer {
                Answer::Reply(reply) => encoded_bytes(reply, Protocol::Resp2),
                Answer::Watched(_) | Answer::View(_) | Answer::Close(_) => 0,
            };
            let (answer, bytes) = match bytes > self.reply_bytes_max {
                true => (Answer::Close("a reply exceeds max-output-bytes"), 0),
                false => (answer, bytes),
            };
            self.held_bytes += bytes;
            self.held.push_back(Held { answer, bytes, arrived: now });
        }
    }

    /// The next answer, in the order of the requests, and when it arrived.
    pub(super) fn next(&mut self) -> Option<(Answer, Instant)> {
        let Held { answer, bytes, arrived } = self.held.pop_front()?;
        self.held_bytes -= bytes;
        Some((answer, arrived))
    }

    /// What the answers that are held will take once they are encoded.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether some have arrived and were not taken.
    pub(super) fn has_some(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether all that will ever arrive has been taken.
    pub(super) fn is_over(&self) -> bool {
        self.ended && self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::handle::Reply;

    #[tokio::test]
    async fn a_reply_that_is_too_large_is_given_up_and_those_before_it_are_not() {
        let (sender, receiver) = unbounded_channel();
        let mut answers = Answers::new(receiver, 10);
        for text in ["abcd", "abcde"] {
            sender.send(Answer::Reply(Reply::bulk(text))).expect("the receiver is there");
        }
        drop(sender);
        answers.arrive().await;
        let now = Instant::now();
        answers.sort_in(now);
        assert_eq!(answers.held_bytes(), 10);
        assert_eq!(answers.next(), Some((Answer::Reply(Reply::bulk("abcd")), now)));
        assert!(matches!(answers.next(), Some((Answer::Close(_), _))));
        assert_eq!((answers.held_bytes(), answers.is_over()), (0, false));
        answers.arrive().await;
        assert!(answers.is_over());
    }
}
