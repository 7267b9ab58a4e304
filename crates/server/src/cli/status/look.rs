//! What one look at the nodes has shown, and what two of them tell together: rates, and how long things took in between.

use std::time::{Duration, Instant};

use super::{Answer, Report};
use crate::status::{Durations, NodeStatus, Role};

/// All answers at one instant.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) report: Report,
}

/// What a node did between two looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Pace {
    /// Commands of its clients in a second.
    pub(super) commands: f64,
    /// Entries that it has applied in a second.
    pub(super) entries: f64,
    /// How long entries took, if it leads.
    pub(super) commits: Durations,
    /// How long fdatasync took.
    pub(super) log_syncs: Durations,
    /// How often it stood for election.
    pub(super) elections: u64,
}

impl Look {
    /// What the answers so far amount to, seen now.
    pub(super) fn now(answers: Vec<Answer>) -> Self {
        Self { at: Instant::now(), report: Report::new(answers) }
    }

    pub(super) fn statuses(&self) -> impl Iterator<Item = &NodeStatus> {
        self.report.nodes.iter().filter_map(Answer::status)
    }

    pub(super) fn leader(&self) -> Option<&NodeStatus> {
        let leader = self.report.leader?;
        self.statuses().find(|status| status.node_id == leader && status.role == Role::Leader)
    }

    /// The greatest commit index that any node knows.
    pub(super) fn committed(&self) -> u64 {
        self.statuses().map(|status| status.log.committed).max().unwrap_or(0)
    }

    /// What a node has done since `before`; none if it was not seen then, or was started anew.
    pub(super) fn pace(&self, status: &NodeStatus, before: Option<&Self>) -> Option<Pace> {
        let before = before?;
        let then =
            before.statuses().find(|then| then.node_id == status.node_id && then.run_id == status.run_id)?;
        let elapsed = self.at.saturating_duration_since(before.at);
        Some(Pace {
            commands: per_second(status.activity.commands, then.activity.commands, elapsed),
            entries: per_second(status.log.applied, then.log.applied, elapsed),
            commits: status.activity.commits.since(&then.activity.commits),
            log_syncs: status.activity.log_syncs.since(&then.activity.log_syncs),
            elections: status.activity.elections.saturating_sub(then.activity.elections),
        })
    }

    /// What somebody should look at, the most urgent first.
    pub(super) fn warnings(&self, before: Option<&Self>) -> Vec<String> {
        let mut warnings = self.report.problems.clone();
        if let Some(leader) = self.leader() {
            let voters = leader.voters().count();
            let reached = leader.voters().filter(|id| leader.reaches(*id)).count();
            if reached < voters {
                let more = if reached <= leader.quorums().to_commit() {
                    ": the next loss stops the cluster"
                } else if reached <= leader.quorums().to_lead() {
                    ": the loss of the leader stops the cluster"
                } else {
                    ""
                };
                warnings.push(format!("the leader reaches {reached} of {voters} voters{more}"));
            }
            if leader.memory_bytes_max > 0 && leader.memory_bytes / 9 >= leader.memory_bytes_max / 10 {
                warnings.push("the data take nine tenths of maxmemory".to_owned());
            }
        }
        for status in self.statuses() {
            let elections = self.pace(status, before).map_or(0, |pace| pace.elections);
            if elections > 0 {
                warnings.push(format!("node {}: stood for election", status.node_id));
            }
        }
        warnings
    }

    /// The look as one line, for those who keep a log of it.
    pub(super) fn line(&self, before: Option<&Self>) -> String {
        let leader = self.report.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
        let answering = self.statuses().count();
        let paces: Vec<Pace> = self.statuses().filter_map(|status| self.pace(status, before)).collect();
        // The sum of nothing would be a negative zero.
        let commands = paces.iter().map(|pace| pace.commands).fold(0.0, |sum, one| sum + one);
        let leading = self.leader().and_then(|leader| self.pace(leader, before)).unwrap_or_default();
        let warnings = self.warnings(before);
        let warned = if warnings.is_empty() { String::new() } else { format!(" ! {}", warnings.join("; ")) };
        format!(
            "leader={leader} term={} nodes={answering}/{} commands/s={commands:.0} entries/s={:.0} commit_p99={}{warned}",
            self.report.term,
            self.report.nodes.len(),
            leading.entries,
            duration(leading.commits.per_mille_us(990)),
        )
    }
}

fn per_second(now: u64, then: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { now.saturating_sub(then) as f64 / seconds } else { 0.0 }
}

/// Microseconds for people: `250us`, `2.5ms`, `1s`; `-` for none.
pub(super) fn duration(micros: Option<u64>) -> String {
    match micros {
        None => "-".to_owned(),
        Some(micros @ 0..1_000) => format!("{micros}us"),
        Some(micros @ 1_000..1_000_000) => format!("{}ms", micros as f64 / 1e3),
        Some(micros) => format!("{}s", micros as f64 / 1e6),
    }
}

/// Bytes for people, in units of 1024.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = bytes.checked_ilog2().map_or(0, |log| (log / 10) as usize).min(UNITS.len() - 1);
    let scaled = bytes as f64 / (1_u64 << (10 * power)) as f64;
    if power == 0 { format!("{bytes} B") } else { format!("{scaled:.1} {}", UNITS[power]) }
}
