//! How a world is made: what the caller chooses, and what the seed does.
//!
//! *Swarm testing* (Groce et al., ISSTA 2012): a seed turns a random subset of the faults on, and draws the
//! settings of the product from wide ranges, small ones preferred. A run with all faults at once would hardly ever
//! get far enough to meet the rarer combinations.

use std::{collections::BTreeSet, fmt::Write as _, ops::RangeInclusive, time::Duration};

use quorate_bug::Bug;
use quorate_consensus::{self as consensus, Lease, NodeId};
use quorate_machine::ClusterVersion;
use quorate_node as node;

use crate::{
    clock::DRIFT_PPM_MAX,
    engine_kind::EngineKind,
    faults::Fault,
    pace::{Pace, Rhythm},
    random::Random,
    theme::Theme,
};

/// What a run is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What it is about.
    pub theme: Theme,
    /// What the nodes agree by.
    pub engine: EngineKind,
    /// How many nodes the cluster is born with; `None` lets the seed choose 1, 3 or 5, mostly 3.
    pub nodes: Option<u64>,
    /// How much happens; `None` lets the seed choose.
    pub pace: Option<Pace>,
    /// How long faults happen, in simulated time; `None` leaves it to the pace. The liveness phase follows.
    pub duration: Option<Duration>,
    /// The kinds of faults that may happen: those of the theme, or fewer.
    pub faults: BTreeSet<Fault>,
    /// A defect, to see whether the checkers notice.
    pub bug: Option<Bug>,
}

impl Default for Profile {
    fn default() -> Self {
        Self::about(Theme::Default)
    }
}

impl Profile {
    /// All that a theme has.
    #[must_use]
    pub fn about(theme: Theme) -> Self {
        let (nodes, pace) = (theme.nodes(), theme.pace());
        let engine = EngineKind::default();
        Self { theme, engine, nodes, pace, duration: None, faults: theme.faults(), bug: None }
    }

    /// The same without any fault.
    #[must_use]
    pub fn calm() -> Self {
        Self::about(Theme::Calm)
    }

    /// The command that runs `seed` like this: with each option that matters.
    #[must_use]
    pub fn replay(&self, seed: u64) -> String {
        let mut command = format!("quorate sim --seed {seed}");
        let mut option = |name: &str, value: &dyn std::fmt::Display| {
            write!(command, " --{name} {value}").expect("a string grows");
        };
        if self.theme != Theme::Default {
            option("profile", &self.theme.name());
        }
        if self.engine != EngineKind::default() {
            option("engine", &self.engine);
        }
        self.nodes
            .iter()
            .filter(|_| self.nodes != self.theme.nodes())
            .for_each(|nodes| option("nodes", nodes));
        self.pace.iter().filter(|_| self.pace != self.theme.pace()).for_each(|pace| option("pace", pace));
        self.duration.iter().for_each(|duration| option("duration", &duration.as_secs()));
        self.theme.faults().difference(&self.faults).for_each(|fault| option("without", fault));
        self.bug.iter().for_each(|bug| option("bug", &bug.name()));
        command
    }
}

/// What a seed has made of a profile.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The members that the cluster is born with.
    pub(crate) nodes: u64,
    /// Machines that may join it later.
    pub(crate) spares: u64,
    /// Whether the third of three members keeps no data.
    pub(crate) has_witness: bool,
    pub(crate) clients: usize,
    /// Whether somebody reads a node's own data, without asking anybody.
    pub(crate) has_observer: bool,
    /// Whether some clients of each node raise and read one counter in quick succession while something is amiss.
    pub(crate) has_pulse: bool,
    /// How many voters commit, from the cluster's birth on, if not a majority.
    pub(crate) phase2_quorum: Option<u8>,
    /// By which leaders may answer reads at once, from the cluster's birth on.
    pub(crate) lease: Option<Lease>,
    /// How many clients take native locks, besides the others.
    pub(crate) lockers: usize,
    /// How many clients stand for election, besides the others.
    pub(crate) candidates: usize,
    /// How many clients take permits of semaphores, besides the others.
    pub(crate) permits: usize,
    /// How many clients open sessions, besides the others.
    pub(crate) sessions: usize,
    /// How many clients take several locks at once, besides the others.
    pub(crate) several: usize,
    /// How many clients take locks by force from who has them, besides the others.
    pub(crate) wardens: usize,
    /// How many clients meet at barriers, besides the others.
    pub(crate) barriers: usize,
    /// How many clients watch who holds a lock or leads, besides the others.
    pub(crate) watchers: usize,
    /// How many clients move amounts among accounts, besides the others.
    pub(crate) accountants: usize,
    pub(crate) duration: Duration,
    pub(crate) faults: BTreeSet<Fault>,
    /// The mean time between two faults that have an instant.
    pub(crate) fault_interval: Duration,
    /// Of a thousand messages, how many are lost, doubled, delayed; 0 if the fault is off.
    pub(crate) loss_permille: u64,
    pub(crate) duplication_permille: u64,
    pub(crate) reordering_permille: u64,
    /// How long clients think, in thousandths of the usual.
    pub(crate) thinking_permille: u32,
    /// When they are active, if not always.
    pub(crate) rhythm: Option<Rhythm>,
    pub(crate) settings: Settings,
    pub(crate) bug: Option<Bug>,
}

/// The product's settings in this world, the same on all nodes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) engine: EngineKind,
    pub(crate) segment_bytes: u64,
    pub(crate) reserve_bytes: u64,
    pub(crate) batch_bytes: usize,
    pub(crate) message_bytes: usize,
    pub(crate) inflight_messages: usize,
    pub(crate) inflight_bytes: usize,
    pub(crate) uncommitted_bytes: usize,
    pub(crate) chunk_bytes: usize,
    pub(crate) origin_commands: usize,
    pub(crate) origin_bytes: usize,
    pub(crate) snapshot_log_bytes: usize,
    pub(crate) snapshot_keep_entries: usize,
    pub(crate) command_timeout: Duration,
    pub(crate) resend_after: Duration,
    pub(crate) promotion_lag: u64,
}

/// Room for whatever the clients of a calm world send at once.
const ORIGIN_BYTES_CALM: usize = 1 << 20;
/// Who thinks for so short a time writes about as much as the smallest chunks carry of a snapshot: a node that lags would be
/// sent one after another, and never catch up. No node that ships can be set to chunks below 4 KiB.
const BUSY_PERMILLE: u32 = 50;
/// What chunks have there at least.
const CHUNK_BYTES_BUSY: usize = 1 << 10;
/// Of a thousand seeds, how many turn a given fault on.
const FAULT_PERMILLE: u64 = 350;
/// The faults that came later than others, and are drawn after them: so the seeds that once failed stay what they were.
const DRAWN_LATER: [Fault; 13] = [
    Fault::Members,
    Fault::Upgrade,
    Fault::BitRot,
    Fault::LostWrite,
    Fault::MisdirectedWrite,
    Fault::StaleRead,
    Fault::WipedDisk,
    Fault::LateNews,
    Fault::RottedSnapshot,
    Fault::LostSegment,
    Fault::RottedSlot,
    Fault::HalfClose,
    Fault::StoppedReading,
];
/// Of a thousand clusters of three, how many are two nodes and a witness.
const WITNESS_PERMILLE: u64 = 200;
/// Of a thousand clusters, how many somebody observes.
const OBSERVED_PERMILLE: u64 = 350;
/// Of a thousand clusters without late news, how many have a pulse.
const PULSE_PERMILLE: u64 = 100;
/// Of a thousand clusters, how many are born with a lease.
const LEASE_PERMILLE: u64 = 250;
/// Of a thousand clusters, in how many some clients keep accounts.
const ACCOUNTS_PERMILLE: u64 = 350;
/// How many do: enough to get in each other's way.
const ACCOUNTANTS: usize = 3;
/// Of a thousand clusters of five, in how many another number than a majority commits.
const PHASE2_PERMILLE: u64 = 500;
/// Of a thousand clusters, in how many some clients take native locks.
const LOCKERS_PERMILLE: u64 = 400;
/// How many do, or are of another of those groups that meet each other, at most; at least two.
const GROUP_MAX: u64 = 6;
/// Of a thousand clusters, in how many some clients stand for election.
const CANDIDATES_PERMILLE: u64 = 300;
/// Of a thousand clusters, in how many some clients take permits.
const PERMITS_PERMILLE: u64 = 300;
/// Of a thousand clusters, in how many some clients open sessions.
const SESSIONS_PERMILLE: u64 = 350;
/// Of a thousand clusters where clients take locks of any kind, in how many others take them away by force.
const WARDENS_PERMILLE: u64 = 350;
/// How many do, at most: the others are to have their locks for a while.
const WARDENS_MAX: u64 = 2;
/// Of a thousand clusters, in how many some clients take several locks at once.
const SEVERAL_PERMILLE: u64 = 250;
/// Of a thousand clusters, in how many some clients meet at barriers.
const BARRIERS_PERMILLE: u64 = 250;
/// Of a thousand clusters where clients take native locks or stand for election, in how many others watch them.
const WATCHERS_PERMILLE: u64 = 600;
/// How many do, at most.
const WATCHERS_MAX: u64 = 3;
/// How many members those have.
const WITNESSED_NODES: u64 = 3;
/// The most machines that may join: enough to replace each of three members.
const SPARES_MAX: u64 = 4;

impl Plan {
    pub(crate) fn new(profile: &Profile, random: &mut Random) -> Self {
        let nodes = profile.nodes.unwrap_or_else(|| *random.pick(&[1, 3, 3, 3, 3, 5, 5]));
        let clients = random.index(7) + 2;
        let faults = profile.faults.iter().copied().filter(|fault| !DRAWN_LATER.contains(fault));
        let mut faults: BTreeSet<Fault> = faults.filter(|_| random.chance(FAULT_PERMILLE)).collect();
        let mut permille = |fault, most| if faults.contains(&fault) { random.between(1, most) } else { 0 };
        let loss_permille = permille(Fault::Loss, 100);
        let duplication_permille = permille(Fault::Duplication, 100);
        let reordering_permille = permille(Fault::Reordering, 300);
        let fault_interval = random.millis(300, 4000);
        let thinking_permille = *random.pick(&[50, 300, 1000, 1000, 3000]);
        let settings = Settings::draw(profile.engine, random);
        if profile.faults.contains(&Fault::Members) && random.chance(FAULT_PERMILLE) {
            faults.insert(Fault::Members);
        }
        let spares = if faults.contains(&Fault::Members) { random.below(SPARES_MAX + 1) } else { 0 };
        let is_witnessed = random.chance(WITNESS_PERMILLE) || profile.bug == Some(Bug::ForgetfulWitness);
        let has_witness =
            nodes == WITNESSED_NODES && is_witnessed && profile.engine.has_witnesses_and_leases();
        if profile.faults.contains(&Fault::Upgrade) && random.chance(FAULT_PERMILLE) {
            faults.insert(Fault::Upgrade);
        }
        faults.extend(draw_damage(profile, random, faults.contains(&Fault::Members), has_witness));
        let has_observer = random.chance(OBSERVED_PERMILLE);
        if profile.faults.contains(&Fault::LateNews) && random.chance(FAULT_PERMILLE) {
            faults.insert(Fault::LateNews);
        }
        let has_pulse = faults.contains(&Fault::LateNews) || random.chance(PULSE_PERMILLE);
        let lease = random.chance(LEASE_PERMILLE).then(|| draw_lease(random));
        let lease = lease.filter(|_| profile.engine.has_witnesses_and_leases());
        let accountants = if random.chance(ACCOUNTS_PERMILLE) { ACCOUNTANTS } else { 0 };
        let drawn = Pace::draw(random);
        let pace = profile.pace.unwrap_or(drawn);
        for fault in [Fault::RottedSlot, Fault::HalfClose, Fault::StoppedReading] {
            if profile.faults.contains(&fault) && random.chance(FAULT_PERMILLE) {
                faults.insert(fault);
            }
        }
        let phase2_quorum = random.chance(PHASE2_PERMILLE).then(|| *random.pick(&[2, 4]));
        let phase2_quorum = phase2_quorum.filter(|_| nodes == 5 && profile.engine.has_phase2_quorums());
        let lockers = some_clients(random, LOCKERS_PERMILLE, 2..=GROUP_MAX);
        let rhythm = pace.rhythm(random);
        let candidates = some_clients(random, CANDIDATES_PERMILLE, 2..=GROUP_MAX);
        let permits = some_clients(random, PERMITS_PERMILLE, 2..=GROUP_MAX);
        let sessions = some_clients(random, SESSIONS_PERMILLE, 2..=GROUP_MAX);
        let watchers_permille = if lockers + candidates > 0 { WATCHERS_PERMILLE } else { 0 };
        let watchers = some_clients(random, watchers_permille, 1..=WATCHERS_MAX);
        let several = some_clients(random, SEVERAL_PERMILLE, 2..=GROUP_MAX);
        let wardens_permille = if lockers + sessions + several > 0 { WARDENS_PERMILLE } else { 0 };
        let wardens = some_clients(random, wardens_permille, 1..=WARDENS_MAX);
        let barriers = some_clients(random, BARRIERS_PERMILLE, 2..=GROUP_MAX);
        Self {
            nodes,
            spares,
            has_witness,
            clients,
            has_observer,
            has_pulse,
            phase2_quorum,
            lease,
            lockers,
            candidates,
            permits,
            sessions,
            several,
            wardens,
            barriers,
            watchers,
            accountants,
            duration: profile.duration.unwrap_or(pace.duration()),
            fault_interval: fault_interval * pace.stretch(),
            loss_permille,
            duplication_permille,
            reordering_permille,
            thinking_permille,
            rhythm,
            settings: settings.suited(&faults, pace, thinking_permille),
            faults,
            bug: profile.bug,
        }
    }
}

impl Plan {
    /// How many members that the cluster is born with have data.
    pub(crate) fn servers(&self) -> usize {
        usize::try_from(self.nodes).expect("a few nodes") - usize::from(self.has_witness)
    }
}

/// So many clients of a kind, in so many of a thousand clusters.
fn some_clients(random: &mut Random, permille: u64, numbers: RangeInclusive<u64>) -> usize {
    match permille > 0 && random.chance(permille) {
        true => usize::try_from(random.between(*numbers.start(), *numbers.end())).expect("a few"),
        false => 0,
    }
}

/// A lease for reads, shorter or longer than an election time-out. The clocks of two machines may drift apart by twice
/// what one may.
pub(crate) fn draw_lease(random: &mut Random) -> Lease {
    let millis = *random.pick(&[20, 150, 400, 1000]);
    let drift_ppm = 2 * u32::try_from(DRIFT_PPM_MAX).expect("a small number") + LEASE_MARGIN_PPM;
    Lease { millis, drift_ppm }
}

/// That one clock runs slower and the other faster makes a little more of it than their sum.
const LEASE_MARGIN_PPM: u32 = 10;

/// In which ways disks fail for good. What fails is a minority, and who that is must not change meanwhile, but by the
/// operator who replaces it. Beside a witness it may be the only disk.
fn draw_damage(profile: &Profile, random: &mut Random, has_operator: bool, has_witness: bool) -> Vec<Fault> {
    let possible: &[Fault] = match (has_operator, has_witness) {
        (_, true) => &[],
        (false, false) => &DAMAGE,
        (true, false) => &[Fault::WipedDisk],
    };
    const DAMAGE: [Fault; 6] = [
        Fault::BitRot,
        Fault::LostWrite,
        Fault::MisdirectedWrite,
        Fault::StaleRead,
        Fault::RottedSnapshot,
        Fault::LostSegment,
    ];
    // A disk is wiped only while the members do not change and there is a machine to take its place: often it cannot be.
    let permille = if has_operator { 2 * FAULT_PERMILLE } else { FAULT_PERMILLE };
    let mut is_drawn = |fault: &Fault| profile.faults.contains(fault) && random.chance(permille);
    possible.iter().copied().filter(|fault| is_drawn(fault)).collect()
}

impl Settings {
    /// The same, but with room for everybody where nothing is to be refused, with logs that are not replayed for ever
    /// where they are long, and with snapshots that travel faster than clients write.
    fn suited(self, faults: &BTreeSet<Fault>, pace: Pace, thinking_permille: u32) -> Self {
        let origin_bytes = if faults.is_empty() { ORIGIN_BYTES_CALM } else { self.origin_bytes };
        let snapshot_log_bytes = self.snapshot_log_bytes.min(pace.snapshot_log_bytes_max());
        let chunk_bytes =
            self.chunk_bytes.max(if thinking_permille <= BUSY_PERMILLE { CHUNK_BYTES_BUSY } else { 0 });
        Self { origin_bytes, snapshot_log_bytes, chunk_bytes, ..self }
    }

    fn draw(engine: EngineKind, random: &mut Random) -> Self {
        let segment_bytes = *random.pick(&[8 << 10, 16 << 10, 64 << 10]);
        Self {
            engine,
            segment_bytes,
            reserve_bytes: 4 * segment_bytes,
            batch_bytes: *random.pick(&[256, 1 << 10, 4 << 10]),
            message_bytes: *random.pick(&[256, 1 << 10, 64 << 10]),
            inflight_messages: *random.pick(&[1, 2, 8, 256]),
            inflight_bytes: *random.pick(&[1 << 10, 64 << 10]),
            uncommitted_bytes: *random.pick(&[2 << 10, 1 << 20]),
            chunk_bytes: *random.pick(&[256, 1 << 10, 16 << 10]),
            origin_commands: *random.pick(&[1, 4, 64, 4096]),
            origin_bytes: *random.pick(&[1 << 10, 1 << 20]),
            snapshot_log_bytes: *random.pick(&[2 << 10, 16 << 10, 1 << 20]),
            snapshot_keep_entries: *random.pick(&[0, 3, 50, 1000]),
            command_timeout: random.millis(1500, 15_000),
            resend_after: *random.pick(&[Duration::from_millis(100), Duration::from_millis(500)]),
            promotion_lag: *random.pick(&[1, 16, 256]),
        }
    }

    pub(crate) fn for_engine(&self, id: NodeId, seed: u64) -> consensus::Config {
        consensus::Config {
            message_bytes_max: self.message_bytes,
            inflight_messages_max: self.inflight_messages,
            inflight_bytes_max: self.inflight_bytes,
            uncommitted_bytes_max: self.uncommitted_bytes,
            snapshot_chunk_bytes: self.chunk_bytes,
            promotion_lag_max: self.promotion_lag,
            ..consensus::Config::for_node(id, seed)
        }
    }

    pub(crate) fn for_driver(
        &self,
        id: NodeId,
        build: ClusterVersion,
        incarnation: u64,
        cluster_id: u128,
    ) -> node::Config {
        node::Config {
            version: build,
            command_timeout: self.command_timeout,
            resend_after: self.resend_after,
            origin_bytes_max: self.origin_bytes,
            origin_commands_max: self.origin_commands,
            batch_bytes_max: self.batch_bytes,
            snapshot_log_bytes: self.snapshot_log_bytes,
            snapshot_keep_entries: self.snapshot_keep_entries,
            ..node::Config::for_node(id, incarnation, cluster_id)
        }
    }
}
