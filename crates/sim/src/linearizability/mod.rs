//! Whether a history is linearizable, for any sequential model: the search of Wing and Gong with Lowe's memory.
//!
//! # How it works
//!
//! A history is linearizable if its operations can be put in an order that respects real time, and in which a
//! sequential model answers each as it was answered. The search tries such orders depth first. At each step only an
//! operation may come next that began before anything else that is left has ended. What was taken so far and the
//! state that it left are a *configuration*: one that was met before leads nowhere new (Lowe, *Testing for
//! linearizability*, 2017, section 3; Wing and Gong, *Testing and verifying concurrent objects*, 1993).
//!
//! # Rules
//!
//! * An operation of unknown outcome takes effect at some time after it began, or never. Such operations are tried
//!   last: most of them are not needed to explain the others.
//! * A read that fits is taken at once, and no other way is tried from there: in each order in which it comes later it
//!   could as well have come here.
//! * Linearizability is local (Herlihy and Wing, 1990, theorem 1): operations that share no part of the state, not
//!   through others either, are judged apart.
//! * The problem is NP-complete. A search that has remembered as many configurations as it may ends *undecided*,
//!   which is neither a violation nor a proof.
//! * There are no clocks and no threads: the same history has the same verdict, each time.

mod history;
pub mod keyspace;
mod search;
mod taken;

use std::{fmt, hash::Hash};

pub use history::Operation;

/// How many configurations a search remembers before it gives up: half a second's worth, and some hundred bytes each.
pub const CONFIGURATIONS_MAX: usize = 1_000_000;

/// What a thing does when one operation follows the other.
pub trait Model {
    /// All that later operations can tell apart. It is shown where a history does not fit.
    type State: Clone + Eq + Hash + fmt::Display;
    /// An operation and what was seen of it.
    type Action: fmt::Display;
    /// A part of the state, such as a key.
    type Part: Ord;

    /// The state before anything happened.
    fn start(&self) -> Self::State;

    /// The state after an action; `None` if it cannot have been answered so in this state.
    fn step(&self, state: &Self::State, action: &Self::Action) -> Option<Self::State>;

    /// Whether an action never changes the state, whatever it is and whatever is seen.
    fn is_read(&self, action: &Self::Action) -> bool;

    /// The parts of the state that an action sees or changes.
    fn parts(&self, action: &Self::Action) -> Vec<Self::Part>;
}

/// What was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Operations of histories that are linearizable.
    pub operations: usize,
    /// Histories, one for parts of the state that have to do with each other, that are linearizable.
    pub histories: usize,
    /// Histories that were too hard.
    pub undecided: usize,
}

/// Judges a history; the operations may stand in any order. Each history within it may cost `configurations_max`.
///
/// # Errors
/// It is not linearizable, and this is where it goes wrong.
pub fn judge<M: Model>(
    model: &M,
    operations: &[Operation<M::Action>],
    configurations_max: usize,
) -> Result<Judged, Box<Counterexample>> {
    let mut judged = Judged::default();
    for history in history::apart(model, operations) {
        let count = history.len();
        match search::Search::new(model, history).run(configurations_max) {
            search::Verdict::Linearizable => {
                judged.operations += count;
                judged.histories += 1;
            }
            search::Verdict::Undecided => judged.undecided += 1,
            search::Verdict::Refused(counterexample) => return Err(counterexample),
        }
    }
    Ok(judged)
}

/// Why a history is not linearizable: how far an order can be made at most, and what cannot follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample {
    /// How many operations with an outcome the history has.
    pub operations: usize,
    /// The longest order that explains what its operations saw.
    pub longest: Vec<String>,
    /// The state that it leaves.
    pub state: String,
    /// What would have to come next, and none of it can.
    pub stuck: Vec<String>,
}

/// How many of the last operations of the longest order are shown.
const SHOWN: usize = 12;

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left_out = self.longest.len().saturating_sub(SHOWN);
        write!(f, "no order of these {} operations explains what they saw", self.operations)?;
        write!(f, "\n  the longest that can be explained has {}", self.longest.len())?;
        if left_out > 0 {
            write!(f, ", of which these are the last")?;
        }
        for operation in &self.longest[left_out..] {
            write!(f, "\n    {operation}")?;
        }
        write!(f, "\n  then the state is {}\n  and none of these can be next", self.state)?;
        self.stuck.iter().try_for_each(|operation| write!(f, "\n    {operation}"))
    }
}
