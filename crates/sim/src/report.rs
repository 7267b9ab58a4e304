//! What a run has to tell.

use std::{fmt, time::Duration};

use crate::{checks::wishes::MemberCounts, faults::FaultCounts, time::SimTime};

/// A run in which everything held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Simulated time.
    pub simulated: Duration,
    /// Events.
    pub steps: u64,
    /// Requests of clients that were answered.
    pub answered: u64,
    /// Those among them that were refused, with the promise that they were not applied.
    pub refused: u64,
    /// Requests whose outcome a client never learned.
    pub unknown: u64,
    /// Operations that the checkers of client histories have judged.
    pub judged: u64,
    /// Client histories that were too hard to judge.
    pub undecided: u64,
    /// Entries that were committed.
    pub committed: u64,
    /// How often two nodes' machines were compared, in the midst of it.
    pub compared: u64,
    /// Changes of leader.
    pub elections: u64,
    /// How the members changed.
    pub members: MemberCounts,
    /// Snapshots made, and snapshots installed from a leader.
    pub snapshots: (u64, u64),
    /// Nodes that got back what their disks had lost.
    pub repairs: u64,
    /// Power cuts that lost unsynced writes, syncs that failed, and writes refused by a full disk.
    pub disks: (u64, u64, u64),
    /// Faults of each kind.
    pub faults: FaultCounts,
    /// A hash of everything that happened: equal for equal seeds.
    pub trace_hash: u64,
}

/// A year, in seconds.
const YEAR_SECONDS: f64 = 365.25 * 24.0 * 3600.0;

impl Report {
    /// For how many years one cluster would have to run for the same time.
    #[must_use]
    pub fn cluster_years(&self) -> f64 {
        self.simulated.as_secs_f64() / YEAR_SECONDS
    }

    /// Adds another run to this summary.
    pub fn merge(&mut self, other: &Self) {
        self.simulated += other.simulated;
        self.steps += other.steps;
        self.answered += other.answered;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.judged += other.judged;
        self.undecided += other.undecided;
        self.committed += other.committed;
        self.compared += other.compared;
        self.elections += other.elections;
        self.members.merge(other.members);
        self.snapshots.0 += other.snapshots.0;
        self.snapshots.1 += other.snapshots.1;
        self.repairs += other.repairs;
        self.disks.0 += other.disks.0;
        self.disks.1 += other.disks.1;
        self.disks.2 += other.disks.2;
        self.faults.merge(&other.faults);
        self.trace_hash ^= other.trace_hash;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (made, installed) = self.snapshots;
        writeln!(
            f,
            "simulated  {:.1} s in {} steps: {:.6} years of a cluster",
            self.simulated.as_secs_f64(),
            self.steps,
            self.cluster_years()
        )?;
        writeln!(
            f,
            "clients    {} answers ({} refusals), {} unknown",
            self.answered, self.refused, self.unknown
        )?;
        writeln!(f, "judged     {} operations, {} histories undecided", self.judged, self.undecided)?;
        let (committed, compared) = (self.committed, self.compared);
        writeln!(
            f,
            "cluster    {committed} entries, {} elections, machines compared {compared} times",
            self.elections
        )?;
        let MemberCounts { added, promoted, replaced, demoted, removed, refused, unknown } = self.members;
        writeln!(
            f,
            "members    {added} added, {promoted} promoted ({replaced} in another's place), {demoted} demoted, \
             {removed} removed, {refused} wishes refused, {unknown} unknown"
        )?;
        writeln!(f, "snapshots  {made} made, {installed} installed")?;
        writeln!(f, "repairs    {} nodes whole again", self.repairs)?;
        let (lossy, failed, full) = self.disks;
        writeln!(
            f,
            "disks      {lossy} power cuts with losses, {failed} failed syncs, {full} writes without room"
        )?;
        write!(f, "faults    ")?;
        for (fault, count) in self.faults.iter() {
            write!(f, " {fault}={count}")?;
        }
        writeln!(f, "\ntrace      {:016x}", self.trace_hash)
    }
}

/// A run in which a property did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The property.
    pub property: String,
    /// What was seen.
    pub detail: String,
    /// The seed of the run.
    pub seed: u64,
    /// When it was noticed.
    pub at: SimTime,
    /// The command that replays it.
    pub replay: String,
    /// The last steps, in compact notation.
    pub trace: Vec<String>,
}

impl Violation {
    /// Whether a second run of the seed has found the same.
    pub(crate) fn is_like(&self, first: &Self) -> bool {
        (&self.property, &self.detail, self.at) == (&first.property, &first.detail, first.at)
    }

    /// What it means that a second run of the seed has ended otherwise: replicas may differ, too.
    pub(crate) fn followed_by(self, otherwise: &dyn fmt::Display) -> Self {
        let detail = format!("first {}: {}; in a second run {otherwise}", self.property, self.detail);
        Self { property: "equal seeds run equally".to_owned(), detail, ..self }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        writeln!(f, "violated: {}", self.property)?;
        writeln!(f, "  {}", self.detail)?;
        write!(f, "at {} of seed {}; replay it by: {}", self.at, self.seed, self.replay)
    }
}

impl std::error::Error for Violation {}
