//! Partial partitions (hazard 18), many times over, with a network that reorders and duplicates: how long a cluster cannot
//! commit, in election time-outs, and whether its leaders flap.

use std::time::Duration;

use quorate_consensus::{NodeId, engine::RoleKind, paxos::Paxos, raft::Raft};
use rand_pcg::{Pcg32, rand_core::Rng as _};

use crate::cluster::{ClusterOf, Subject};

const TRIALS: u64 = 30;

/// No recovery takes longer, or it is none.
const TIMEOUTS_MAX: u32 = 40;

/// For so long a recovered cluster is watched.
const WATCHED_TIMEOUTS: u32 = 40;

/// Every message comes twice with a chance of one in so many.
const DUPLICATED: u32 = 8;

/// Who cannot hear whom.
#[derive(Clone, Copy, Debug)]
enum Topology {
    /// Of five nodes only n3 reaches all; n1 led.
    QuorumLoss,
    /// The same, n1 reaches nobody, and n3 lacks an entry.
    Constrained,
    /// Of three nodes, n1, which leads, and n3 do not hear each other.
    Chained,
    /// The leader hears nobody.
    DeafLeader,
    /// Nobody hears the leader.
    MuteLeader,
    /// Five nodes, each with two neighbours.
    Ring,
    /// The same, and the leader dies.
    BrokenRing,
}

impl Topology {
    const ALL: [Self; 7] = [
        Self::QuorumLoss,
        Self::Constrained,
        Self::Chained,
        Self::DeafLeader,
        Self::MuteLeader,
        Self::Ring,
        Self::BrokenRing,
    ];

    fn nodes(self) -> u64 {
        match self {
            Self::Chained | Self::DeafLeader | Self::MuteLeader => 3,
            Self::QuorumLoss | Self::Constrained | Self::Ring | Self::BrokenRing => 5,
        }
    }

    fn hears(self, receiver: u64, sender: u64) -> bool {
        let (low, high) = (receiver.min(sender), receiver.max(sender));
        match self {
            Self::QuorumLoss => low == 3 || high == 3,
            Self::Constrained => low != 1 && (low == 3 || high == 3),
            Self::Chained => (low, high) != (1, 3),
            Self::DeafLeader => receiver != 1,
            Self::MuteLeader => sender != 1,
            Self::Ring | Self::BrokenRing => high - low == 1 || (low, high) == (1, 5),
        }
    }
}

/// One cluster, and its network.
struct Trial<E: Subject> {
    cluster: ClusterOf<E>,
    random: Pcg32,
}

impl<E: Subject> Trial<E> {
    fn new(topology: Topology, seed: u64) -> Self {
        let cluster = ClusterOf::with(topology.nodes(), 0, |config| config.seed = seed);
        let mut trial = Self { cluster, random: Pcg32::new(seed, 18) };
        trial.cluster.elect(1);
        trial.run(Duration::from_millis(500));
        trial
    }

    fn below(&mut self, limit: usize) -> usize {
        self.random.next_u32() as usize % limit
    }

    /// Delivers in any order, some of it twice, and writes, until nothing is left to do at this instant.
    fn settle(&mut self) {
        loop {
            while !self.cluster.network.is_empty() {
                let place = self.below(self.cluster.network.len());
                let envelope = self.cluster.network.remove(place).expect("within the queue");
                if self.random.next_u32().is_multiple_of(DUPLICATED) {
                    self.cluster.network.push_back(envelope.clone());
                }
                self.cluster.deliver(envelope);
            }
            let ids = self.cluster.ids();
            if ids.into_iter().filter(|&id| self.cluster.persist(id)).count() == 0 {
                return;
            }
        }
    }

    /// Lets time pass, a millisecond at a time.
    fn run(&mut self, duration: Duration) {
        for _ in 0..duration.as_millis() {
            self.settle();
            self.cluster.now = self.cluster.now.after(Duration::from_millis(1));
            self.cluster.wake();
        }
        self.settle();
        self.cluster.trace.clear();
    }

    /// Whoever believes to lead gets a proposal.
    fn propose(&mut self) {
        for id in self.cluster.ids() {
            if self.cluster.is_up(id) && self.cluster.status(id.0).role.kind == RoleKind::Leader {
                self.cluster.propose(id.0, "again");
            }
        }
    }

    fn cut(&mut self, topology: Topology) {
        for receiver in self.cluster.ids() {
            for sender in self.cluster.ids() {
                if receiver != sender && !topology.hears(receiver.0, sender.0) {
                    self.cluster.cut.insert((sender, receiver));
                }
            }
        }
        let cut = self.cluster.cut.clone();
        self.cluster.network.retain(|envelope| !cut.contains(&(envelope.from, envelope.to)));
    }

    fn begin(&mut self, topology: Topology) {
        match topology {
            Topology::Constrained => {
                self.cluster.partition(&[3]);
                self.cluster.propose(1, "missed");
                self.run(Duration::from_millis(10));
                self.cluster.cut.clear();
            }
            Topology::BrokenRing => self.cluster.crash(NodeId(1), 0, 0),
            Topology::QuorumLoss
            | Topology::Chained
            | Topology::DeafLeader
            | Topology::MuteLeader
            | Topology::Ring => {}
        }
        self.cut(topology);
    }

    /// How many milliseconds it takes until something is committed, if it ever is.
    fn recovery(&mut self, timeout: Duration) -> Option<u128> {
        let before = self.cluster.committed();
        let began = self.cluster.now;
        while self.cluster.now.since(began) < timeout * TIMEOUTS_MAX {
            self.propose();
            self.run(Duration::from_millis(5));
            // What a leader adopted counts only with something new.
            let new = self.cluster.history.range(before.next()..);
            if new.filter(|(_, entry)| self.cluster.leaders.contains_key(&entry.term)).count() > 0 {
                return Some(self.cluster.now.since(began).as_millis());
            }
        }
        None
    }
}

/// What became of the trials of a topology: the median and the greatest of the recoveries in milliseconds, how many there
/// were, and how many leaders there were afterwards.
struct Outcome {
    median: u128,
    longest: u128,
    recovered: u64,
    changes: usize,
}

fn outcome<E: Subject>(topology: Topology) -> Outcome {
    let (mut recoveries, mut changes) = (Vec::new(), 0);
    for seed in 1..=TRIALS {
        let mut trial = Trial::<E>::new(topology, seed);
        let timeout = trial.cluster.config.election_timeout;
        trial.begin(topology);
        let Some(recovery) = trial.recovery(timeout) else { continue };
        recoveries.push(recovery);
        trial.run(timeout * 4);
        let leaders = trial.cluster.leaders.len();
        trial.run(timeout * WATCHED_TIMEOUTS);
        changes += trial.cluster.leaders.len() - leaders;
    }
    recoveries.sort_unstable();
    let median = recoveries.get(recoveries.len() / 2).copied().unwrap_or_default();
    let longest = recoveries.last().copied().unwrap_or_default();
    Outcome { median, longest, recovered: recoveries.len() as u64, changes }
}

/// All topologies; of those in `fatal`, none recovers.
fn check<E: Subject>(name: &str, fatal: &[&str]) {
    let timeout = 300;
    for topology in Topology::ALL {
        let Outcome { median, longest, recovered, changes } = outcome::<E>(topology);
        println!("{name} {topology:?}: {recovered} of {TRIALS}, median {median} ms, longest {longest} ms");
        if fatal.contains(&format!("{topology:?}").as_str()) {
            assert_eq!(recovered, 0, "{name} recovers from {topology:?}, contrary to what is told of it");
            continue;
        }
        assert_eq!(recovered, TRIALS, "{name} does not always recover from {topology:?}");
        assert!(median <= 4 * timeout, "{name} needs {median} ms to recover from {topology:?}");
        assert_eq!(changes, 0, "leaders of {name} flap in {topology:?}");
    }
}

/// hazard 18: Paxos recovers from each of them, within four election time-outs at the median, and its leaders stay.
#[test]
fn paxos_recovers_from_every_partial_partition() {
    check::<Paxos>("paxos", &[]);
}

/// hazard 18: Raft does so, but where the only node that reaches a quorum lacks an entry, which may be so in a broken ring.
#[test]
fn raft_recovers_from_every_partial_partition_but_constrained() {
    check::<Raft>("raft", &["Constrained"]);
}
