//! What follows from who is a member: for machines that have left, and for clients.

use quorate_consensus::{Engine, NodeId};

use super::{World, clients::Client, stream};
use crate::{
    checks::{Failure, check, cluster::number_of},
    faults::Fault,
    random::Random,
    time::SimTime,
    workload::{
        Workload,
        accounts::Accounts,
        barriers::Barriers,
        candidates::Candidates,
        native_locks::{self, NativeLocks},
        observer::Observer,
        operator::Operator,
        permits::Permits,
        pulse::Pulse,
        sessions::{self, Sessions},
        several_locks::{self, SeveralLocks},
        wardens::Wardens,
        watchers::Watchers,
    },
};

/// What a client of a group does, by its number.
type NewWorkload = Box<dyn Fn(usize, &mut Random) -> Box<dyn Workload>>;

impl<E: Engine> World<E> {
    /// Lets somebody change the members, if the seed wants it.
    pub(super) fn hire_operator(&mut self, seed: u64) {
        if self.plan.faults.contains(&Fault::Members) {
            let random = Random::new(seed, stream::OPERATOR);
            self.operator = Some(self.clients.len());
            self.clients.push(Client::with(Box::<Operator>::default(), 0, random));
        }
    }

    /// Lets somebody look at a node's own data, if the seed wants it.
    pub(super) fn add_observer(&mut self, seed: u64) {
        if self.plan.has_observer {
            let random = Random::new(seed, stream::OBSERVER);
            self.clients.push(Client::with(Box::<Observer>::default(), 0, random));
        }
    }

    /// Lets some clients of each founder look closely, if the seed wants it.
    pub(super) fn add_pulse(&mut self, seed: u64) {
        if !self.plan.has_pulse {
            return;
        }
        let mut random = Random::new(seed, stream::PULSE);
        for node in 0..self.plan.servers() {
            for part in Pulse::PARTS {
                let random = Random::new(random.number(), 0);
                self.clients.push(Client::with(Box::new(Pulse::new(part)), node, random));
            }
        }
    }

    /// Lets some clients keep accounts together, if the seed wants it.
    pub(super) fn add_accounts(&mut self, seed: u64) {
        for number in 0..self.plan.accountants {
            let random = Random::new(seed, stream::ACCOUNTS + number as u64);
            let workload = Box::new(Accounts::new(self.clients.len()));
            self.clients.push(Client::with(workload, 0, random));
        }
    }

    /// Lets groups of clients do what each of them is there for, each client at its own node at first, if the seed wants it.
    pub(super) fn add_groups(&mut self, seed: u64) {
        let plan = &self.plan;
        let parties = plan.barriers;
        let locks = native_locks::locks().filter(|_| plan.lockers > 0);
        let locks = locks.chain(sessions::locks().filter(|_| plan.sessions > 0));
        let locks: Vec<String> = locks.chain(several_locks::locks().filter(|_| plan.several > 0)).collect();
        let (has_locks, has_elections) = (plan.lockers > 0, plan.candidates > 0);
        let groups: [(u64, usize, NewWorkload); 8] = [
            (
                stream::LOCKERS,
                plan.lockers,
                Box::new(|client, random| Box::new(NativeLocks::new(client, random))),
            ),
            (stream::CANDIDATES, plan.candidates, Box::new(|client, _| Box::new(Candidates::new(client)))),
            (stream::PERMITS, plan.permits, Box::new(|client, _| Box::new(Permits::new(client)))),
            (stream::SESSIONS, plan.sessions, Box::new(|client, _| Box::new(Sessions::new(client)))),
            (stream::SEVERAL, plan.several, Box::new(|client, _| Box::new(SeveralLocks::new(client)))),
            (
                stream::WARDENS,
                plan.wardens,
                Box::new(move |client, _| Box::new(Wardens::new(client, locks.clone()))),
            ),
            (stream::BARRIERS, parties, Box::new(move |client, _| Box::new(Barriers::new(client, parties)))),
            (
                stream::WATCHERS,
                plan.watchers,
                Box::new(move |_, _| Box::new(Watchers::new(has_locks, has_elections))),
            ),
        ];
        for (stream, count, workload) in groups {
            for number in 0..count {
                let mut random = Random::new(seed, stream + number as u64);
                let workload = workload(self.clients.len(), &mut random);
                self.clients.push(Client::with(workload, number % self.plan.servers(), random));
            }
        }
    }

    /// Whether a client is the operator, which is about to do something: it knows who the members are, and asks any of
    /// them.
    pub(super) fn brief_operator(&mut self, client: usize) {
        if self.operator != Some(client) {
            return;
        }
        let wiped = self.wiped_members().next();
        let members = self.cluster.members();
        let view = &mut self.history.wishes.view;
        view.present.clone_from(members.present());
        view.machines = self.nodes.len() as u64;
        view.committed = self.cluster.committed();
        view.written = members.written();
        view.wiped = wiped;
        view.has_phase2_quorums = self.plan.settings.engine.has_phase2_quorums();
        if self.clients[client].is_thinking() {
            self.clients[client].node = self.some_server();
        }
    }

    fn is_member(&self, node: usize) -> bool {
        !self.nodes[node].removed && self.cluster.members().present().contains(self.nodes[node].id)
    }

    /// Those that are members by what is agreed on, and have not been told otherwise.
    pub(super) fn members(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|&node| self.is_member(node))
    }

    /// Whether clients have something to ask it: it is a member, is not gone for good, and is no witness.
    fn serves(&self, node: usize) -> bool {
        let may_serve = self.is_member(node) && !self.nodes[node].is_wiped;
        may_serve && !self.cluster.members().present().is_witness(self.nodes[node].id)
    }

    /// Those members that are gone for good, and to be replaced.
    pub(super) fn wiped_members(&self) -> impl Iterator<Item = NodeId> {
        self.members().filter(|&node| self.nodes[node].is_wiped).map(|node| self.nodes[node].id)
    }

    /// Those members that have the data.
    pub(super) fn servers(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&node| self.serves(node)).collect()
    }

    fn some_server(&mut self) -> usize {
        let servers: Vec<usize> =
            self.servers().into_iter().filter(|node| !self.dead.contains(node)).collect();
        if servers.is_empty() { self.some_node() } else { *self.random.pick(&servers) }
    }

    /// A node has ended since it is no member any more. It never starts again.
    pub(super) fn retire(&mut self, at: SimTime, node: usize) -> Result<(), Failure> {
        self.kill(at, node, "ends, since it was removed");
        self.nodes[node].removed = true;
        self.cluster.removed(node)?;
        self.move_clients(at);
        Ok(())
    }

    /// Has clients of machines that are no members any more, or have no data, use others.
    pub(super) fn move_clients(&mut self, at: SimTime) {
        for number in 0..self.clients.len() {
            let node = self.clients[number].node;
            if !self.serves(node) && self.operator != Some(number) {
                self.move_client(at, number);
            }
        }
    }

    pub(super) fn move_client(&mut self, at: SimTime, number: usize) {
        self.reset_client(at, number);
        let node = self.some_server();
        self.trace.tell(at, || format!("c{number} goes to n{}", node + 1));
        self.clients[number].node = node;
    }

    /// Whether a machine may run: it was born with the cluster, or its addition is agreed on. Before that it has no id, and
    /// another machine may yet get the one that an addition would have given it, if that is taken back.
    pub(super) fn knows_its_id(&self, node: usize) -> bool {
        self.nodes[node].id.0 <= self.ids_welcomed
    }

    /// New members start, and get a client each, so that it shows what they answer.
    pub(super) fn welcome(&mut self, at: SimTime) {
        let present = self.cluster.members().present();
        if present.ids_used <= self.ids_welcomed {
            return;
        }
        let newcomers: Vec<NodeId> =
            present.members().filter(|member| member.0 > self.ids_welcomed).collect();
        self.ids_welcomed = present.ids_used;
        for node in newcomers.into_iter().map(number_of) {
            self.plan_boot(at, node);
            let number = self.random.index(self.clients.len());
            if self.operator != Some(number) {
                self.reset_client(at, number);
                self.clients[number].node = node;
            }
        }
    }

    /// Whether all changes have ended, and all who were removed and can know it do.
    pub(super) fn has_settled(&self) -> bool {
        self.cluster.is_settled() && (0..self.nodes.len()).all(|node| !self.owes_farewell(node))
    }

    /// Whether a machine was removed, does not know it yet, and knows a member that would tell it. Who knows only such as
    /// have left, too, asks in vain for ever.
    fn owes_farewell(&self, node: usize) -> bool {
        let present = self.cluster.members().present();
        let knows_member = || {
            let known = self.cluster.members_of(node);
            known.is_some_and(|known| known.electorate().any(|voter| present.contains(voter)))
        };
        !self.nodes[node].has_left() && present.excludes(self.nodes[node].id) && knows_member()
    }

    /// Nobody was told that it was removed but those that were.
    pub(super) fn judge_removals(&self) -> Result<(), Failure> {
        let told = (0..self.nodes.len()).filter(|&node| self.nodes[node].removed);
        self.cluster.verify_removed(told)?;
        let leader = self.members().filter_map(|node| self.leader_by(node)).next();
        check(
            leader.is_none_or(|leader| self.cluster.members().present().voters.contains(&leader)),
            LEADER,
            || format!("{leader:?} leads"),
        )
    }

    fn leader_by(&self, node: usize) -> Option<NodeId> {
        let process = self.nodes[node].process.as_ref()?;
        process.driver.status(self.nodes[node].now(self.now())).engine.role.leader
    }
}

const LEADER: &str = "a voter leads in the end";
