//! What must hold inside of the cluster, checked after each step of each node.
//!
//! The checker mirrors each node's log from the writes that the driver hands out, and what of it is durable from
//! the writes that its disk has finished. It knows nothing of elections or replication: only what an observer may
//! demand of any consensus.
//!
//! Quorums are counted by the configuration of the node that commits: the newest in its log, as its mirror has it.

use std::collections::{BTreeMap, BTreeSet};

use quorate_consensus::{Membership, NodeId, engine::RoleKind, engine::Status};
use quorate_log::{HardState, LogEntry, SnapshotHeader, Write};

use super::{
    Failure, check,
    members::Members,
    mirror::{Mirror, Slot, members_in, members_of},
    versions::Versions,
};

/// What is known of the whole cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<View>,
    /// Who has led each term.
    leaders: BTreeMap<u64, NodeId>,
    /// Each entry that was ever written, by index and term.
    written: BTreeMap<(u64, u64), u64>,
    /// The committed entries from index 1 on, each with the term in which it was committed.
    committed: Vec<(Slot, u64)>,
    /// The hash of the machine at an applied index, and who told it first.
    machines: BTreeMap<u64, (u64, usize)>,
    /// How often one was compared with that of another node.
    compared: u64,
    members: Members,
    /// What is known of its versions.
    pub(crate) versions: Versions,
}

/// What is known of one node.
#[derive(Debug, Default)]
struct View {
    /// What it has been told to write.
    written: Mirror,
    /// What its disk has made durable.
    durable: Mirror,
    /// The same of its term and vote.
    promised: HardState,
    commit: u64,
    applied: u64,
    term: u64,
    /// Where the configuration stands that was in force after its last step.
    in_force: u64,
    /// What its disk held in its earlier lives, while it is under repair: it has acknowledged that, and so it counts.
    lost: Vec<Mirror>,
}

impl View {
    /// Whether it has the entry on its disk, or had it there when it acknowledged it.
    fn counts_for(&self, index: u64, slot: Slot) -> bool {
        self.durable.holds(index, slot) || self.lost.iter().any(|lost| lost.holds(index, slot))
    }
}

impl Cluster {
    /// A cluster that is born with these members, and may have all of `machines` one day.
    pub(crate) fn new(birth: Membership, machines: usize) -> Self {
        Self {
            nodes: (0..machines).map(|_| View::default()).collect(),
            members: Members::new(birth),
            versions: Versions::default(),
            leaders: BTreeMap::new(),
            written: BTreeMap::new(),
            committed: Vec::new(),
            machines: BTreeMap::new(),
            compared: 0,
        }
    }

    /// How many entries were committed.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.len() as u64
    }

    /// How many terms had a leader.
    pub(crate) fn elections(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// How often two nodes' machines were compared.
    pub(crate) fn compared(&self) -> u64 {
        self.compared
    }

    /// What is known of its configurations.
    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    /// Whether the members agree on who they are, and nothing is to follow: no member has another configuration in its
    /// log.
    pub(crate) fn is_settled(&self) -> bool {
        let (present, index) = (self.members.present(), self.members.present_index());
        let agrees = |node: usize| {
            let newest = self.nodes[node].written.members();
            newest.is_none_or(|(from, members)| *from <= index || members == present)
        };
        !present.is_joint() && present.promotions.is_empty() && present.members().map(number_of).all(agrees)
    }

    /// The configuration that a node goes by: the newest in its log; `None` before its first start.
    pub(crate) fn members_of(&self, node: usize) -> Option<&Membership> {
        self.nodes[node].written.members().map(|(_, members)| members)
    }

    /// A node has started, with what its disk held: all of that is durable. `members` is in force at `snapshot`. If it is
    /// under repair, that is less than it once was, but for its term and vote.
    pub(crate) fn restarted(
        &mut self,
        node: usize,
        (snapshot, members): (u64, Membership),
        entries: &[LogEntry],
        promised: HardState,
        under_repair: bool,
    ) -> Result<(), Failure> {
        let mirror = Mirror::new(snapshot, members, entries);
        let view = &mut self.nodes[node];
        let mut lost = Vec::new();
        if under_repair {
            lost = std::mem::take(&mut view.lost);
            lost.push(std::mem::take(&mut view.durable));
        }
        check_recovered(node, &mirror, &view.durable, &self.committed)?;
        check_promised(node, promised, view.promised)?;
        let (in_force, term) = (mirror.in_force(), promised.term);
        *view = View {
            written: mirror.clone(),
            durable: mirror,
            promised,
            term,
            in_force,
            lost,
            ..View::default()
        };
        Ok(())
    }

    /// A node has got back what its disk had lost: all that was committed of it.
    pub(crate) fn repaired(&mut self, node: usize) -> Result<(), Failure> {
        let lost = std::mem::take(&mut self.nodes[node].lost);
        lost.iter()
            .try_for_each(|lost| check_recovered(node, &self.nodes[node].durable, lost, &self.committed))
    }

    /// A node's driver hands out a write.
    pub(crate) fn will_write(&mut self, node: usize, write: &Write) -> Result<(), Failure> {
        let view = &mut self.nodes[node];
        if let Some(from) = write.truncate_from {
            check(from > view.commit, "nothing committed is truncated", || {
                format!("n{} truncates from {from}, and has committed {}", node + 1, view.commit)
            })?;
        }
        view.written.write(write)?;
        for entry in &write.entries {
            let hash = Slot::of(entry).hash;
            if let Some(members) = members_in(entry) {
                self.members.will_write(entry.index, entry.term, &members);
            }
            let known = *self.written.entry((entry.index, entry.term)).or_insert(hash);
            check(known == hash, "logs match", || {
                format!("n{} has another entry {}@{} than somebody else", node + 1, entry.index, entry.term)
            })?;
        }
        Ok(())
    }

    /// A node's disk has made writes durable.
    pub(crate) fn has_written(&mut self, node: usize, writes: &[Write]) -> Result<(), Failure> {
        let view = &mut self.nodes[node];
        view.promised =
            writes.iter().filter_map(|write| write.hard_state).next_back().unwrap_or(view.promised);
        writes.iter().try_for_each(|write| view.durable.write(write))
    }

    /// A snapshot takes the place of a node's log.
    pub(crate) fn will_replace(&mut self, node: usize, header: &SnapshotHeader) -> Result<(), Failure> {
        let (members, agreed) = (members_of(header), self.members.at(header.index));
        // What a witness is told, is decided, though nobody may have committed it yet.
        let is_decided = header.bytes == 0 && self.members.was_written(header.index, header.term, &members);
        check(members == *agreed || is_decided, "committed configurations are the same everywhere", || {
            format!("n{} installs snapshot {} with {members}, and not {agreed}", node + 1, header.index)
        })?;
        let committed = self.committed.get(position(header.index)).map(|(slot, _)| slot.term);
        check(committed == Some(header.term) || is_decided, "snapshots hold what is committed", || {
            let (index, term) = (header.index, header.term);
            format!("n{} installs snapshot {index}@{term}, and committed there is @{committed:?}", node + 1)
        })?;
        self.nodes[node].written.replace(header);
        Ok(())
    }

    /// It has done so, durably.
    pub(crate) fn has_replaced(&mut self, node: usize, header: &SnapshotHeader) {
        self.nodes[node].durable.replace(header);
    }

    /// A node has finished a step, after its writes were told.
    pub(crate) fn stepped(&mut self, node: usize, status: &Status, applied: u64) -> Result<(), Failure> {
        self.check_members(node, status)?;
        let view = &mut self.nodes[node];
        let (term, commit, commit_before) = (status.role.term.0, status.commit.0, view.commit);
        let went_back = |what, before: u64, now: u64| {
            check(before <= now, "term, commit and applied never go back", || {
                format!("the {what} of n{} went from {before} to {now}", node + 1)
            })
        };
        went_back("term", view.term, term)?;
        went_back("commit index", view.commit, commit)?;
        went_back("applied index", view.applied, applied)?;
        (view.term, view.applied) = (term, applied);
        let last = view.written.last();
        check(commit <= last, "what a node commits it has", || {
            format!("n{} has committed {commit}, and its log ends with {last}", node + 1)
        })?;
        let first_new = view.commit + 1;
        view.commit = commit;
        for index in first_new..=commit {
            self.check_committed(node, index)?;
        }
        if commit > commit_before {
            self.check_own_term(node, status)?;
        }
        // By an installed snapshot the machine is ahead of its own engine for a moment, but of nobody else.
        check(applied <= self.committed(), "only what is committed is applied", || {
            format!("n{} has applied {applied}, and {} is committed", node + 1, self.committed())
        })?;
        if status.role.kind == RoleKind::Leader && !self.leaders.contains_key(&term) {
            self.check_leader_complete(node, term)?;
            self.check_leader_is_member(node, term, commit_before)?;
        }
        if let Some(leader) = status.role.leader {
            let known = *self.leaders.entry(term).or_insert(leader);
            check(known == leader, "one leader a term", || {
                format!("{known} leads term {term}, and n{} says it is {leader}", node + 1)
            })?;
        }
        let view = &mut self.nodes[node];
        view.in_force = view.written.in_force();
        Ok(())
    }

    /// A leader that goes on leading has committed something: it ends in an entry of its term (section 5.4.2; hazard 1).
    fn check_own_term(&self, node: usize, status: &Status) -> Result<(), Failure> {
        let (term, commit) = (status.role.term.0, status.commit.0);
        let went_on_leading =
            status.role.kind == RoleKind::Leader && self.leaders.get(&term) == Some(&id_of(node));
        let of_term = self.nodes[node].written.get(commit).map(|slot| slot.term);
        let is_own = !went_on_leading || of_term.is_none_or(|of_term| of_term == term);
        check(is_own, "a leader counts for entries of its own term alone", || {
            format!("n{} leads term {term}, and commits up to {commit}@{of_term:?}", node + 1)
        })
    }

    /// A node goes by the newest configuration in its log.
    fn check_members(&self, node: usize, status: &Status) -> Result<(), Failure> {
        let log = &self.nodes[node].written;
        // A snapshot is told here when its node begins to put it in the place of its log.
        let is_installing = status.first_index.0 <= log.before();
        let Some((index, members)) = log.members().filter(|_| !is_installing) else { return Ok(()) };
        check(status.membership == *members, "the newest configuration in the log is in force", || {
            format!(
                "n{} goes by {}, and entry {index} of its log says {members}",
                node + 1,
                status.membership
            )
        })
    }

    /// Who knew that it was removed does not stand. Who only has it in its log may: it can be the only one in reach that
    /// has it.
    fn check_leader_is_member(&self, node: usize, term: u64, commit_before: u64) -> Result<(), Failure> {
        let id = id_of(node);
        let known = self.nodes[node].written.members_at(commit_before);
        let was_out = known.is_some_and(|members| members.excludes(id));
        check(!was_out, "who was removed never leads again", || {
            format!("{id} leads term {term}, and knew that it was no member")
        })
    }

    /// A node says that it was removed.
    pub(crate) fn removed(&self, node: usize) -> Result<(), Failure> {
        // Who told it may have died before anybody saw that it was agreed on. That is judged at the end.
        let is_true = self.members.may_be_removed(id_of(node));
        check(is_true, REMOVED, || format!("n{} says so, and was always a member", node + 1))
    }

    /// Judges what these nodes have said, that they were removed, by what was agreed on in the end.
    pub(crate) fn verify_removed(&self, nodes: impl Iterator<Item = usize>) -> Result<(), Failure> {
        let present = self.members.present();
        for id in nodes.map(id_of) {
            check(present.excludes(id), REMOVED, || {
                format!("{id} has said so, and the cluster is {present}")
            })?;
        }
        Ok(())
    }

    fn check_committed(&mut self, node: usize, index: u64) -> Result<(), Failure> {
        let Some(slot) = self.nodes[node].written.get(index) else { return Ok(()) };
        if let Some(&(known, _)) = self.committed.get(position(index)) {
            return check(known == slot, "committed entries are the same everywhere", || {
                format!(
                    "n{} has committed another entry {index}@{} than @{}",
                    node + 1,
                    slot.term,
                    known.term
                )
            });
        }
        check(index == self.committed() + 1, "logs have no gaps", || {
            format!("n{} commits entry {index}, the last known is {}", node + 1, self.committed())
        })?;
        check(self.is_on_quorum(node, index, slot), "what is committed is on a quorum's disks", || {
            let holders: Vec<NodeId> = self.holders(index, slot).collect();
            let members = self.members_of(node).cloned().unwrap_or_default();
            format!(
                "n{} commits entry {index}@{}, which is on {holders:?}, by {members}",
                node + 1,
                slot.term
            )
        })?;
        self.members.commit(index, slot.term)?;
        self.committed.push((slot, self.nodes[node].term));
        Ok(())
    }

    fn holders(&self, index: u64, slot: Slot) -> impl Iterator<Item = NodeId> {
        let holds = move |&(_, view): &(usize, &View)| view.counts_for(index, slot);
        self.nodes.iter().enumerate().filter(holds).map(|(node, _)| id_of(node))
    }

    /// Whether an entry that a node commits is on the disks of a quorum, by a configuration that was in force within
    /// its step. Who follows may know an older one than its leader, which died before anybody saw that it commits.
    fn is_on_quorum(&self, node: usize, index: u64, slot: Slot) -> bool {
        let holders: BTreeSet<NodeId> = self.holders(index, slot).collect();
        let view = &self.nodes[node];
        let told =
            self.members.of_term(view.term).filter(|_| self.leaders.get(&view.term) != Some(&id_of(node)));
        // Beside a witness the configuration before the present one may count still.
        let agreed = Some(self.members.at(index - 1));
        let agreed = agreed.filter(|_| self.members_of(node).is_some_and(Membership::has_witness));
        let mut counted = view.written.members_since(view.in_force).chain(told).chain(agreed);
        counted.any(|members| is_enough(members, &holders))
    }

    fn check_leader_complete(&self, node: usize, term: u64) -> Result<(), Failure> {
        let log = &self.nodes[node].written;
        for (index, &(slot, committed_in)) in (1..).zip(&self.committed) {
            // Who was elected may learn of it when a later leader has gone on already.
            let is_owed = committed_in < term;
            check(!is_owed || log.holds(index, slot), "leaders have all that is committed", || {
                format!("n{} leads term {term} without entry {index}@{}", node + 1, slot.term)
            })?;
        }
        Ok(())
    }

    /// A node's machine has this hash at this index.
    pub(crate) fn machine(&mut self, node: usize, applied: u64, hash: u64) -> Result<(), Failure> {
        let (known, by) = *self.machines.entry(applied).or_insert((hash, node));
        self.compared += u64::from(by != node);
        check(known == hash, "equal machines at equal indexes", || {
            format!("at {applied} the machine of n{} differs from that of n{}", node + 1, by + 1)
        })
    }
}

/// Whether the disks of these are enough: of all holders beside a witness, otherwise of a quorum.
fn is_enough(members: &Membership, disks: &BTreeSet<NodeId>) -> bool {
    match members.has_witness() {
        true => members.holders().all(|holder| disks.contains(&holder)),
        false => members.has_commit_quorum(|voter| disks.contains(&voter)),
    }
}

/// Of what a node had on its disk, all that was committed must be there again.
fn check_recovered(
    node: usize,
    now: &Mirror,
    before: &Mirror,
    committed: &[(Slot, u64)],
) -> Result<(), Failure> {
    for index in now.before() + 1..=before.last() {
        if let (Some(slot), Some(&(committed, _))) = (before.get(index), committed.get(position(index)))
            && slot == committed
        {
            check(now.get(index) == Some(slot), RECOVERED, || {
                format!("n{} has lost entry {index}", node + 1)
            })?;
        }
    }
    Ok(())
}

/// A node has not forgotten whom it voted for.
fn check_promised(node: usize, now: HardState, before: HardState) -> Result<(), Failure> {
    let is_kept =
        now.term > before.term || (now.term == before.term && (before.vote == 0 || now.vote == before.vote));
    check(is_kept, RECOVERED, || {
        let told = |state: HardState| format!("term {} with a vote for {}", state.term, state.vote);
        format!("n{} had {}, and has {}", node + 1, told(before), told(now))
    })
}

const RECOVERED: &str = "what was durable is recovered";
const REMOVED: &str = "only who was removed is told so";

/// Nodes are numbered from 0 on, and their ids from 1.
fn id_of(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

/// The number of the machine with this id.
pub(crate) fn number_of(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).expect("a few machines")
}

fn position(index: u64) -> usize {
    usize::try_from(index - 1).expect("a simulated log fits into memory")
}
