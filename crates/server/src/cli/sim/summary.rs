//! What a run over many seeds amounts to, for people and for programs.

use std::{ops::Range, time::Duration};

use quorate_sim::{EngineKind, Profile, Report, Violation};
use serde_json::{Map, Value, json};

/// All seeds of a run. But for `wall`, it is the same each time that the same seeds are run.
pub(super) struct Summary {
    profile: &'static str,
    engine: EngineKind,
    /// How many seeds were run.
    pub(super) seeds: u64,
    /// Those that came from a range; others were listed.
    pub(super) range: Range<u64>,
    total: Report,
    /// The hash of what happened in each of the first seeds.
    traces: Vec<(u64, u64)>,
    pub(super) violations: Vec<Violation>,
    /// How long it took on a real clock.
    pub(super) wall: Duration,
}

/// How many seeds have their own trace hash told, the first ones: the sum has those of all.
const TRACES_MAX: usize = 100;

impl Summary {
    pub(super) fn new(profile: &Profile, first: u64) -> Self {
        Self {
            profile: profile.theme.name(),
            engine: profile.engine,
            seeds: 0,
            range: first..first,
            total: Report::default(),
            traces: Vec::new(),
            violations: Vec::new(),
            wall: Duration::ZERO,
        }
    }

    pub(super) fn add(&mut self, seed: u64, result: Result<Report, Box<Violation>>) {
        self.seeds += 1;
        match result {
            Ok(report) => {
                if self.traces.len() < TRACES_MAX {
                    self.traces.push((seed, report.trace_hash));
                }
                self.total.merge(&report);
            }
            Err(violation) => self.violations.push(*violation),
        }
    }

    /// Simulated time over real time.
    fn speed_up(&self) -> f64 {
        self.total.simulated.as_secs_f64() / self.wall.as_secs_f64().max(0.001)
    }

    /// What stands beside a bar.
    pub(super) fn brief(&self) -> String {
        let (seeds, speed_up, violations) = (self.seeds, self.speed_up(), self.violations.len());
        format!("{seeds} seeds, {speed_up:.0} times real time, {violations} violations")
    }

    pub(super) fn text(&self) -> String {
        let Range { start, end } = self.range;
        let listed = self.seeds - (end - start);
        let seeds = match (listed, end - start) {
            (listed, 0) => format!("{listed}"),
            (0, ranged) => format!("{ranged}: {start}..{end}"),
            (listed, ranged) => format!("{}: {listed} that once failed, and {start}..{end}", listed + ranged),
        };
        let (total, wall) = (&self.total, self.wall.as_secs_f64());
        format!(
            "seeds      {seeds}, engine {}, profile {}\n{total}took       {wall:.1} s, {:.0} times real time\n\
             violations {}\n",
            self.engine,
            self.profile,
            self.speed_up(),
            self.violations.len()
        )
    }

    pub(super) fn json(&self) -> Value {
        let total = &self.total;
        let faults: Map<String, Value> =
            total.faults.iter().map(|(fault, count)| (fault.name().to_owned(), count.into())).collect();
        let members = total.members;
        let trace =
            |&(seed, hash): &(u64, u64)| json!({ "seed": seed, "trace_hash": format!("{hash:016x}") });
        json!({
            "engine": self.engine.name(),
            "profile": self.profile,
            "seeds": self.seeds,
            "first_seed": self.range.start,
            "end_seed": self.range.end,
            "simulated_seconds": total.simulated.as_secs_f64(),
            "cluster_years": total.cluster_years(),
            "steps": total.steps,
            "client_operations": total.answered + total.unknown,
            "refused_operations": total.refused,
            "unknown_operations": total.unknown,
            "judged_operations": total.judged,
            "undecided_histories": total.undecided,
            "committed_entries": total.committed,
            "machines_compared": total.compared,
            "elections": total.elections,
            "member_changes": {
                "added": members.added,
                "promoted": members.promoted,
                "replaced": members.replaced,
                "demoted": members.demoted,
                "removed": members.removed,
                "refused": members.refused,
                "unknown": members.unknown,
            },
            "snapshots_made": total.snapshots.0,
            "snapshots_installed": total.snapshots.1,
            "repairs": total.repairs,
            "faults": faults,
            "trace_hash": format!("{:016x}", total.trace_hash),
            "traces": self.traces.iter().map(trace).collect::<Vec<_>>(),
            "violations": self.violations.iter().map(violation_json).collect::<Vec<_>>(),
            "wall_seconds": self.wall.as_secs_f64(),
            "wall_speed_up": self.speed_up(),
        })
    }
}

fn violation_json(violation: &Violation) -> Value {
    json!({
        "property": violation.property,
        "detail": violation.detail,
        "seed": violation.seed,
        "at_seconds": Duration::from_micros(violation.at.micros).as_secs_f64(),
        "replay": violation.replay,
        "trace": violation.trace,
    })
}
