//! Changes of members: what clients wish, what the leader makes of it, and who is told.
//!
//! A wish goes to whoever leads, which answers with the place of the entry in its log, or with a refusal. From there on
//! the node that was asked needs nobody: it applies the log like everybody else, and sees whether this very entry was
//! committed, and when the configuration is not joint any more. A question or an answer may get lost, and a wish is
//! never sent twice, since it might be granted twice: then its client is told that the outcome is unknown, and where to
//! look.
//!
//! A leader also keeps members' addresses as these tell them themselves ([`crate::Input::Located`]), so that a machine
//! that has moved is found again by nodes that do not know it yet.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_consensus::{
    Address, BootTime, Change, Engine, Entry, Index, Input as EngineInput, Membership, NodeId, ProposalId,
    Refusal, Step, Term,
    engine::{ProposalOutcome, RoleKind},
};
use quorate_machine::Reply;

use crate::{
    driver::{
        Driver,
        clients::{NO_LEADER, error},
    },
    input::{ConnId, Now},
    output::{Answer, Level},
    peer::{PeerMessage, Verdict},
};

/// What a driver knows of changes that are wished for.
#[derive(Debug, Default)]
pub(super) struct Changes {
    wishes: BTreeMap<u64, Wish>,
    wishes_taken: u64,
    /// Proposed to this node's engine, which has not answered yet; nobody asked for those that keep addresses.
    proposed: BTreeMap<ProposalId, Option<Asker>>,
    /// The configurations that were applied last, each with the one that it has replaced.
    applied: VecDeque<(Index, Term, Membership)>,
    /// Where members say that they are reached.
    located: BTreeMap<NodeId, Address>,
}

/// How many applied configurations are remembered: an answer is late by one or two at most.
const APPLIED_MAX: usize = 8;

/// Who is to hear what becomes of a wish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    pub(super) node: NodeId,
    pub(super) ticket: u64,
}

/// A wish of a client of this node.
#[derive(Debug)]
struct Wish {
    conn: ConnId,
    change: Change,
    expires: BootTime,
    stage: Stage,
}

/// How far a wish has come.
#[derive(Debug)]
enum Stage {
    /// No leader that could grant it is known; the next is asked, from then on.
    Waits { from: BootTime },
    /// The leader of this term was asked.
    Asked { term: Term },
    /// Granted, if this entry is committed.
    Appended { index: Index, term: Term },
    /// Committed, and done when the configuration is joint no more.
    Committed { added: Vec<NodeId> },
}

impl Changes {
    /// Who asked for what the engine has answered; `None` if the proposal was no change.
    #[expect(clippy::option_option, reason = "no change, and a change that nobody asked for, are two things")]
    pub(super) fn take_proposed(&mut self, id: ProposalId) -> Option<Option<Asker>> {
        self.proposed.remove(&id)
    }

    /// When a wish is to be passed on, if there is a leader, or its time is up.
    pub(super) fn deadline(&self, has_leader: bool) -> Option<BootTime> {
        let due = |wish: &Wish| match wish.stage {
            Stage::Waits { from } if has_leader => from.min(wish.expires),
            Stage::Waits { .. } | Stage::Asked { .. } | Stage::Appended { .. } | Stage::Committed { .. } => {
                wish.expires
            }
        };
        self.wishes.values().map(due).min()
    }

    /// What an entry has added for a wish, if it was applied lately.
    fn committed(&self, at: Index, by: Term, change: &Change) -> Option<Stage> {
        let (_, _, before) = self.applied.iter().find(|&&(index, term, _)| (index, term) == (at, by))?;
        Some(Stage::Committed { added: added(before, change) })
    }

    /// What a member told of its place counts no more, once the configuration says otherwise: until it tells it anew.
    fn moved_by_order(&mut self, before: &Membership, after: &Membership) {
        self.located.retain(|node, told| {
            let (was, is) = (before.addresses.get(node), after.addresses.get(node));
            after.contains(*node) && (was == is || is == Some(told))
        });
    }

    fn find(&self, fits: impl Fn(&Wish) -> bool) -> Vec<u64> {
        self.wishes.iter().filter(|(_, wish)| fits(wish)).map(|(&ticket, _)| ticket).collect()
    }
}

/// The side of the node that a client has asked.
impl<E: Engine> Driver<E> {
    pub(super) fn wish(&mut self, now: Now, conn: ConnId, change: Change) {
        self.changes.wishes_taken += 1;
        // No ticket of an earlier life is taken for one of this: so many wishes a life does not have.
        let ticket = (self.config.incarnation << 32) + self.changes.wishes_taken;
        let expires = now.boot.after(self.config.command_timeout);
        let stage = Stage::Waits { from: now.boot };
        self.changes.wishes.insert(ticket, Wish { conn, change, expires, stage });
        self.ask_leader(now);
    }

    /// Passes on the wishes that wait, if there is a leader.
    fn ask_leader(&mut self, now: Now) {
        let Some(leader) = self.role.leader else { return };
        let due = |wish: &Wish| matches!(wish.stage, Stage::Waits { from } if from <= now.boot);
        for ticket in self.changes.find(due) {
            let Some(wish) = self.changes.wishes.get_mut(&ticket) else { continue };
            wish.stage = Stage::Asked { term: self.role.term };
            let change = wish.change.clone();
            if leader == self.config.node {
                self.reconfigure(now, Asker { node: leader, ticket }, change);
            } else {
                self.out.send.push((leader, PeerMessage::Reconfigure { ticket, change }));
            }
        }
    }

    /// Hears what became of a wish where it was sent.
    pub(super) fn verdict(&mut self, now: Now, ticket: u64, verdict: Verdict) {
        let applied = self.applied();
        let Some(wish) = self.changes.wishes.get_mut(&ticket) else { return };
        match (&wish.stage, verdict) {
            (Stage::Asked { .. }, Verdict::Later) => {
                wish.stage = Stage::Waits { from: now.boot.after(self.config.gossip_interval) };
            }
            (Stage::Asked { .. }, Verdict::Refused(reason)) => {
                self.grant(
                    ticket,
                    Reply::Error(format!("ERR the members stay as they are: {reason}").into()),
                );
            }
            (Stage::Asked { .. }, Verdict::Appended { index, term }) if index > applied => {
                wish.stage = Stage::Appended { index, term };
            }
            // The entry has come here before this answer, which may have taken another way.
            (Stage::Asked { .. }, Verdict::Appended { index, term }) => {
                let change = std::mem::take(&mut wish.change);
                match self.changes.committed(index, term, &change) {
                    Some(stage) => self.changes.wishes.entry(ticket).and_modify(|wish| wish.stage = stage),
                    None => return self.grant(ticket, error(UNKNOWN)),
                };
                self.grant_done();
            }
            (Stage::Waits { .. } | Stage::Appended { .. } | Stage::Committed { .. }, _) => {}
        }
    }

    /// An entry is applied. `before` is the configuration that it has replaced, if it brought one.
    pub(super) fn changes_applied(&mut self, entry: &Entry, before: Option<Membership>) {
        if let Some(before) = before {
            self.tell_set_aside(&before);
            self.changes.moved_by_order(&before, &self.membership);
            self.changes.applied.truncate(APPLIED_MAX - 1);
            self.changes.applied.push_front((entry.index, entry.term, before));
        }
        if self.changes.wishes.is_empty() {
            return;
        }
        let due = |wish: &Wish| matches!(wish.stage, Stage::Appended { index, .. } if index <= entry.index);
        for ticket in self.changes.find(due) {
            let Some(wish) = self.changes.wishes.get(&ticket) else { continue };
            let Stage::Appended { index, term } = wish.stage else { continue };
            match self.changes.committed(index, term, &wish.change) {
                Some(stage) => {
                    self.changes.wishes.entry(ticket).and_modify(|wish| wish.stage = stage);
                }
                None => self.grant(ticket, error(OVERTAKEN)),
            }
        }
        self.grant_done();
    }

    /// Tells the operator how many disks hold the data, if that has changed.
    pub(super) fn tell_set_aside(&mut self, before: &Membership) {
        let of = |membership: &Membership| membership.set_aside().collect::<BTreeSet<_>>();
        let (was, is) = (of(before), of(&self.membership));
        let holders: BTreeSet<NodeId> = self.membership.holders().collect();
        let silent = is.difference(&was).map(|node| {
            let holders: Vec<String> = holders.iter().map(ToString::to_string).collect();
            let text = format!(
                "{node} is silent, or its disk hangs, and is set aside: what is written from now on is on the disk of {} \
                 alone",
                holders.join(" and ")
            );
            (Level::Warn, text)
        });
        // Who has left is not back.
        let back = was.difference(&is).filter(|node| holders.contains(node)).map(|node| {
            (Level::Info, format!("{node} is set aside no more: what is committed is on its disk, too"))
        });
        for (level, text) in silent.chain(back).collect::<Vec<_>>() {
            self.notice(level, text);
        }
    }

    /// Answers the wishes that have come true.
    fn grant_done(&mut self) {
        if self.membership.is_joint() {
            return;
        }
        for ticket in self.changes.find(|wish| matches!(wish.stage, Stage::Committed { .. })) {
            let Some(Stage::Committed { added }) = self.changes.wishes.get(&ticket).map(|wish| &wish.stage)
            else {
                continue;
            };
            let ids: Vec<Reply> = added.iter().map(|node| Reply::Integer(node.0.cast_signed())).collect();
            let reply = match <[Reply; 1]>::try_from(ids) {
                Ok([id]) => id,
                Err(none) if none.is_empty() => Reply::Status("OK".into()),
                Err(several) => Reply::Array(several),
            };
            self.grant(ticket, reply);
        }
    }

    /// The machine has jumped over entries by a snapshot, up to `index`.
    pub(super) fn changes_jumped(&mut self, index: Index) {
        let passed = |wish: &Wish| matches!(wish.stage, Stage::Appended { index: at, .. } if at <= index);
        for ticket in self.changes.find(passed) {
            self.grant(ticket, error(UNKNOWN));
        }
        self.grant_done();
    }

    /// Another term has begun: the leader that was asked may have answered, or not.
    pub(super) fn changes_lost_leader(&mut self, term: Term) {
        for ticket in
            self.changes.find(|wish| matches!(wish.stage, Stage::Asked { term: asked } if asked != term))
        {
            self.grant(ticket, error(UNKNOWN));
        }
    }

    /// Tells clients whose time is up what is known, and asks for those that have waited.
    pub(super) fn expire_changes(&mut self, now: Now) {
        if self.changes.wishes.is_empty() {
            return;
        }
        let has_leader = self.role.leader.is_some();
        for ticket in self.changes.find(|wish| wish.expires <= now.boot) {
            let text = match self.changes.wishes[&ticket].stage {
                Stage::Waits { .. } if has_leader => BUSY,
                Stage::Waits { .. } => NO_LEADER,
                Stage::Asked { .. } | Stage::Appended { .. } | Stage::Committed { .. } => UNKNOWN,
            };
            self.grant(ticket, error(text));
        }
        self.ask_leader(now);
    }

    fn grant(&mut self, ticket: u64, reply: Reply) {
        if let Some(wish) = self.changes.wishes.remove(&ticket) {
            self.answer(wish.conn, Answer::Reply(reply));
        }
    }
}

/// The leader's side.
impl<E: Engine> Driver<E> {
    /// Asks this node's engine for a change.
    pub(super) fn reconfigure(&mut self, now: Now, asker: Asker, change: Change) {
        self.propose_change(now, Some(asker), change);
    }

    fn propose_change(&mut self, now: Now, asker: Option<Asker>, change: Change) {
        let id = self.next_proposal();
        self.changes.proposed.insert(id, asker);
        self.engine.step(now.boot, EngineInput::Reconfigure { id, change });
    }

    /// The engine has answered.
    pub(super) fn tell_verdict(&mut self, now: Now, asker: Option<Asker>, outcome: ProposalOutcome) {
        let Some(Asker { node, ticket }) = asker else { return };
        let verdict = match outcome {
            ProposalOutcome::Appended { index, term } => Verdict::Appended { index, term },
            ProposalOutcome::NotLeader
            | ProposalOutcome::Overloaded
            | ProposalOutcome::Refused(Refusal::TermUncommitted { .. } | Refusal::UnderWay) => Verdict::Later,
            ProposalOutcome::Refused(refusal) => Verdict::Refused(refusal.to_string()),
        };
        if node == self.config.node {
            self.verdict(now, ticket, verdict);
        } else {
            self.out.send.push((node, PeerMessage::Reconfigured { ticket, verdict }));
        }
    }

    /// A member says where it is reached.
    pub(super) fn located(&mut self, peer: NodeId, address: Address) {
        if !self.membership.excludes(peer) {
            self.changes.located.insert(peer, address);
        }
    }

    /// Puts down where members are reached now, if this node leads and that is not in the configuration yet.
    pub(super) fn keep_addresses(&mut self, now: Now) {
        if self.role.kind != RoleKind::Leader || self.membership.is_joint() {
            return;
        }
        let own = self.config.address.iter().map(|address| (self.config.node, address));
        let told = self.changes.located.iter().map(|(&node, address)| (node, address));
        let moved = told.chain(own).filter(|&(node, address)| {
            self.membership.contains(node) && self.membership.addresses.get(&node) != Some(address)
        });
        // The own address counts in the place of one that was told of this node.
        let moved: BTreeMap<NodeId, Address> = moved.map(|(node, address)| (node, address.clone())).collect();
        let taken: BTreeSet<&Address> = self.membership.addresses.values().collect();
        // Of two that tell the same place, one is there.
        let mut told = BTreeSet::new();
        let steps =
            moved.into_iter().filter(|(_, address)| !taken.contains(address) && told.insert(address.clone()));
        let change = Change(steps.map(|(node, address)| Step::Move { node, address }).collect());
        if !change.0.is_empty() {
            self.propose_change(now, None, change);
        }
    }
}

/// The ids of the members that a change adds to `before`, in its order.
fn added(before: &Membership, change: &Change) -> Vec<NodeId> {
    let mut ids_used = before.ids_used;
    let id = |step: &Step| match *step {
        Step::Add { node, .. } => {
            ids_used = node.map_or(ids_used + 1, |node| node.0.max(ids_used));
            Some(node.unwrap_or(NodeId(ids_used)))
        }
        Step::Promote { .. }
        | Step::Demote { .. }
        | Step::Move { .. }
        | Step::Remove { .. }
        | Step::Lease(_)
        | Step::Quorum { .. } => None,
    };
    change.0.iter().filter_map(id).collect()
}

const OVERTAKEN: &str =
    "TRYAGAIN the members stay as they are: another leader took over before the change was agreed on";
const BUSY: &str =
    "TRYAGAIN the members stay as they are: another change was under way for all of the command's time-out";
const UNKNOWN: &str = "ERR it is not known whether the members have changed: the leader was lost meanwhile. QUORATE MEMBER LIST tells";
