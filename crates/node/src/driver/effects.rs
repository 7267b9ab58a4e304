//! What the engine wants done.

use std::sync::Arc;

use quorate_consensus::{
    Effects, Engine, Entry, Payload, Persist,
    engine::{Fatal, ProposalOutcome, RoleKind, RoleView},
};
use quorate_log::{HardState, LogEntry, Write};

use crate::{
    driver::{Driver, leading::Leadership},
    input::Now,
    output::{Level, LogTask},
    peer::PeerMessage,
    record,
};

impl<E: Engine> Driver<E> {
    /// Carries out one drained batch. Whether it may have led to more.
    pub(super) fn absorb(&mut self, now: Now, effects: Effects<E::Message>) -> bool {
        let Effects {
            persist,
            send,
            committed,
            proposals,
            reads,
            snapshots,
            role,
            membership,
            removed,
            repaired,
            fatal,
        } = effects;
        self.repaired(repaired);
        let appended = |outcome: &ProposalOutcome| matches!(outcome, ProposalOutcome::Appended { .. });
        let progress = proposals.iter().any(|(_, outcome)| appended(outcome));
        let more = role.is_some() || progress || !committed.is_empty() || !reads.is_empty();
        if let Some(persist) = persist {
            self.persist(persist);
        }
        self.out.send.extend(send.into_iter().map(|(to, message)| (to, PeerMessage::Engine(message))));
        self.backlog_bytes += committed.iter().map(Entry::weight).sum::<usize>();
        self.unapplied.extend(committed);
        for (id, outcome) in proposals {
            match self.changes.take_proposed(id) {
                Some(asker) => self.tell_verdict(now, asker, outcome),
                None => self.leadership.proposed(now.boot, appended(&outcome)),
            }
        }
        for (id, outcome) in reads {
            self.read_outcome(id, outcome);
        }
        for effect in snapshots {
            self.snapshot_effect(effect);
        }
        if let Some(role) = role {
            self.change_role(now, role);
        }
        self.out.members = membership.map(Arc::unwrap_or_clone).or(self.out.members.take());
        if removed {
            self.was_removed();
        }
        if let Some(Fatal::PersistFailed { op }) = fatal {
            self.die(format!("write {op} of the log failed"));
        }
        more
    }

    /// Tells once that this node is no member any more.
    pub(super) fn was_removed(&mut self) {
        if !std::mem::replace(&mut self.is_removed, true) {
            self.out.removed = true;
            self.notice(Level::Warn, "was removed from the cluster: it takes no part any more".into());
        }
    }

    fn persist(&mut self, persist: Persist<E::Message>) {
        let Persist { op, hard_state, truncate_from, entries, after } = persist;
        if let Some((last, _)) = self.unsent.back() {
            assert!(*last < op, "persist operations out of order: {op} after {last}");
        }
        let write = Write {
            hard_state: hard_state.map(|state| HardState {
                term: state.term.0,
                vote: state.vote.map_or(0, |vote| vote.0),
                commit: state.commit.0,
            }),
            truncate_from: truncate_from.map(|index| index.0),
            entries: entries.into_iter().map(log_entry).collect(),
        };
        self.unsent.push_back((op, after));
        self.out.log.push(LogTask::Write { op, write });
    }

    fn change_role(&mut self, now: Now, role: RoleView) {
        let was = std::mem::replace(&mut self.role, role);
        // Followers tell their clients what the leader says of its followers.
        self.next_gossip = now.boot;
        if role.kind == RoleKind::Leader {
            if self.leadership.term() != Some(role.term) {
                self.leadership = Leadership::begin(role.term, &self.config, now.boot);
                self.notice(Level::Info, format!("leads since term {}", role.term));
            }
        } else {
            self.leadership = Leadership::Following;
            self.tell_role(was, role);
        }
        self.follow(role);
        self.changes_lost_leader(role.term);
        self.transfer_if_wanted(now);
        if role.leader.is_some()
            && let Some(id) = self.reads.ask_again(now.boot, self.config.resend_after)
        {
            self.engine.step(now.boot, quorate_consensus::Input::Read { id });
        }
    }

    fn tell_role(&mut self, was: RoleView, is: RoleView) {
        let loss = if self.leaving { Level::Info } else { Level::Warn };
        // A new term begins with an election, also when a leader hands over; only a leader that falls silent is lost.
        let vacancy = if is.term > was.term { Level::Info } else { loss };
        if was.kind == RoleKind::Leader {
            self.notice(loss, format!("leads no more since term {}", is.term));
        }
        match is.leader {
            Some(leader) if was.leader != Some(leader) || was.term != is.term => {
                self.notice(Level::Info, format!("follows {leader} in term {}", is.term));
            }
            None if was.leader.is_some() => {
                self.notice(vacancy, format!("knows no leader in term {}", is.term));
            }
            Some(_) | None => {}
        }
    }
}

fn log_entry(entry: Entry) -> LogEntry {
    let (kind, payload) = match entry.payload {
        Payload::Blank => (record::KIND_BLANK, bytes::Bytes::new()),
        Payload::Command(bytes) => (record::KIND_COMMAND, bytes),
        Payload::Membership(membership) => (record::KIND_MEMBERSHIP, record::encode_membership(&membership)),
    };
    LogEntry { index: entry.index.0, term: entry.term.0, stamp: entry.stamp.millis, kind, payload }
}
