//! A run as a list of named steps, each timed, with a table at the end.
//!
//! A failed step does not end the run: the next ones often say why, and one run then shows all that is
//! wrong. Only a step that cannot mean anything without an earlier one is skipped, by name.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How a step ended.
enum Verdict {
    Passed,
    Failed(String),
    Skipped(&'static str),
}

struct Step {
    name: &'static str,
    took: Duration,
    verdict: Verdict,
}

/// The steps of one run so far.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<Step>,
}

impl Steps {
    /// Runs a step, remembers how long it took and how it ended, and answers whether it passed.
    pub(crate) fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> bool {
        println!("\n=== {name}");
        let begun = Instant::now();
        let verdict = match step() {
            Ok(()) => Verdict::Passed,
            Err(error) => {
                eprintln!("{name}: {error:#}");
                Verdict::Failed(format!("{error:#}"))
            }
        };
        let passed = matches!(verdict, Verdict::Passed);
        self.done.push(Step { name, took: begun.elapsed(), verdict });
        passed
    }

    /// Notes a step that was not run, and why.
    pub(crate) fn skip(&mut self, name: &'static str, because: &'static str) {
        self.done.push(Step { name, took: Duration::ZERO, verdict: Verdict::Skipped(because) });
    }

    /// Prints the table; an error when a step failed or had to be skipped.
    pub(crate) fn finish(self) -> Result<()> {
        let total: Duration = self.done.iter().map(|step| step.took).sum();
        println!("\n{:<32} {:>10}  outcome", "step", "took");
        for step in &self.done {
            println!("{:<32} {:>10}  {}", step.name, rounded(step.took), step.verdict.describe());
        }
        println!("{:<32} {:>10}", "in all", rounded(total));
        let unmet = self.done.iter().filter(|step| !matches!(step.verdict, Verdict::Passed)).count();
        if unmet > 0 {
            bail!("{unmet} of {} steps did not pass", self.done.len());
        }
        Ok(())
    }
}

impl Verdict {
    fn describe(&self) -> String {
        match self {
            Verdict::Passed => "passed".to_owned(),
            Verdict::Failed(why) => format!("FAILED: {}", why.lines().next().unwrap_or_default()),
            Verdict::Skipped(because) => format!("skipped: {because}"),
        }
    }
}

/// Tenths of a second are as much as anybody reads from such a table.
fn rounded(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
