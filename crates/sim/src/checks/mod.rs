//! What must hold, whatever happens.
//!
//! [`cluster`] looks into the nodes after each of their steps, by a [`mirror`] of each one's log, and [`members`] keeps
//! what it has seen of configurations, [`versions`] what it has seen of the cluster's version. The others judge what
//! clients have seen, without looking into anything: [`sequence`] (appends, counters, tokens), [`calls`] (linearizability), [`holders`] (mutual exclusion), [`forced`] (who has lost a
//! lock by force), [`arrivals`] (fairness), [`refusals`] (all of several locks or none), [`elections`], [`permits`], [`sessions`],
//! [`barriers`] and [`notices`] (what watchers are told); only what an operator was told ([`wishes`]) is compared with what was agreed on.

pub(crate) mod arrivals;
pub(crate) mod barriers;
pub(crate) mod calls;
pub(crate) mod cluster;
pub(crate) mod elections;
pub(crate) mod forced;
pub(crate) mod history;
pub(crate) mod holders;
pub(crate) mod members;
pub(crate) mod mirror;
pub(crate) mod notices;
pub(crate) mod permits;
pub(crate) mod queues;
pub(crate) mod refusals;
pub(crate) mod sequence;
pub(crate) mod sessions;
pub(crate) mod turns;
pub(crate) mod versions;
pub(crate) mod wishes;

use crate::time::SimTime;

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The property, in a few words that stay the same for all violations of it.
    pub(crate) property: &'static str,
    /// What was seen.
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(property: &'static str, detail: impl Into<String>) -> Self {
        Self { property, detail: detail.into() }
    }
}

/// Fails unless `holds`.
pub(crate) fn check(
    holds: bool,
    property: &'static str,
    detail: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(property, detail())) }
}

/// Takes what was given, by when it was asked for: of what was given to those who asked behind an instant, the least.
fn least_behind<T: Ord + Copy>(given: impl Iterator<Item = (SimTime, T)>) -> impl Fn(SimTime) -> Option<T> {
    let mut least: Vec<_> = given.collect();
    least.sort_unstable();
    for at in (1..least.len()).rev() {
        least[at - 1].1 = least[at - 1].1.min(least[at].1);
    }
    move |at| least.get(least.partition_point(|(asked, _)| *asked <= at)).map(|(_, least)| *least)
}

/// When a client sent a request, and when it had the answer. The effect lies in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) invoked: SimTime,
    pub(crate) completed: SimTime,
}
