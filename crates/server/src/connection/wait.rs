//! What a connection waits for by looking at the published status: WAIT, WAITAOF, QUORATE TRANSFER.

use std::time::Duration;

use tokio::time::Instant;

use crate::{handle::Reply, status::NodeStatus};

/// A wait for a status in which something holds, or for the time to pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) until: Until,
    /// How long it may last; none for ever.
    pub(super) timeout: Option<Duration>,
    /// When it ends; known once everything before it is answered.
    pub(super) deadline: Option<Instant>,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// So many followers. WAITAOF also tells whether the local disk has everything: it always has.
    Followers { replicas: u64, with_local: bool },
    /// A leader of a later term than `term`: the node `to`, or any if none is named.
    Succession { term: u64, to: Option<u64> },
}

impl Wait {
    /// Starts the clock, if it does not run yet.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.deadline.is_none() {
            self.deadline = self.timeout.and_then(|timeout| now.checked_add(timeout));
        }
    }

    /// Whether it is over as well when the client will send nothing more. A succession was ordered, and comes soon or
    /// not at all: its outcome is told all the same.
    pub(super) fn may_be_given_up(&self) -> bool {
        matches!(self.until, Until::Followers { .. })
    }

    /// The reply, if the wait is over.
    pub(super) fn reply(&self, status: &NodeStatus, now: Instant) -> Option<Reply> {
        let over = self.until.holds(status) || self.deadline.is_some_and(|deadline| now >= deadline);
        over.then(|| self.reply_now(status))
    }

    /// The reply with things as they are.
    pub(super) fn reply_now(&self, status: &NodeStatus) -> Reply {
        match self.until {
            Until::Followers { with_local, .. } => {
                let followers = integer(status.connected_slaves);
                if with_local { Reply::Array(vec![Reply::Integer(1), followers]) } else { followers }
            }
            Until::Succession { .. } if self.until.holds(status) => integer(leader(status).unwrap_or(0)),
            Until::Succession { to, .. } => {
                let successor = to.map_or_else(|| "no other node".to_owned(), |to| format!("node {to}"));
                let verb = if to.is_some() { "has not" } else { "has" };
                let present = leader(status).map_or_else(|| "none".to_owned(), |id| format!("node {id}"));
                let timeout = humantime::format_duration(self.timeout.unwrap_or_default());
                Reply::error_text(format!(
                    "ERR {successor} {verb} taken over within {timeout}; leader now: {present}. Is the other node \
                     up, and does it keep up? `quorate status` tells"
                ))
            }
        }
    }
}

impl Until {
    fn holds(&self, status: &NodeStatus) -> bool {
        match *self {
            Self::Followers { replicas, .. } => status.connected_slaves >= replicas,
            Self::Succession { term, to } => {
                let is_it = |leader| to.is_none_or(|to| leader == to);
                status.term > term && leader(status).is_some_and(is_it)
            }
        }
    }
}

fn leader(status: &NodeStatus) -> Option<u64> {
    status.leader.as_ref().map(|leader| leader.node_id)
}

fn integer(figure: u64) -> Reply {
    Reply::Integer(i64::try_from(figure).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Leader;

    fn led_by(node_id: Option<u64>, term: u64) -> NodeStatus {
        let leader = node_id.map(|node_id| Leader { node_id, ..Leader::default() });
        NodeStatus { leader, term, ..NodeStatus::default() }
    }

    fn succession(to: Option<u64>) -> Wait {
        let timeout = Some(Duration::from_secs(2));
        Wait { until: Until::Succession { term: 5, to }, timeout, deadline: None }
    }

    #[test]
    fn a_succession_ends_with_the_successor_that_was_named_or_with_any_of_a_later_term() {
        let now = Instant::now();
        let cases = [
            (None, Some(1), 5, None),
            (None, None, 6, None),
            (None, Some(2), 5, None),
            (None, Some(2), 6, Some(2)),
            (Some(3), Some(2), 6, None),
            (Some(3), Some(3), 7, Some(3)),
        ];
        for (to, leader, term, answer) in cases {
            let reply = succession(to).reply(&led_by(leader, term), now);
            assert_eq!(reply, answer.map(Reply::Integer), "{to:?} led by {leader:?} in term {term}");
        }
    }

    #[test]
    fn a_succession_that_does_not_come_says_who_leads() {
        let now = Instant::now();
        let mut wait = succession(Some(3));
        wait.begin(now);
        assert_eq!(wait.reply(&led_by(Some(1), 5), now + Duration::from_millis(1_999)), None);
        let reply = wait.reply(&led_by(Some(1), 5), now + Duration::from_secs(2));
        let Some(Reply::Error(text)) = reply else { panic!("{reply:?}") };
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(text.starts_with("ERR node 3 has not taken over within 2s; leader now: node 1."), "{text}");
    }
}
