//! Operations, and which of them have to do with each other.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::Model;

/// What a client did, when, and what it saw.
#[derive(Clone, Debug)]
pub struct Operation<A> {
    /// Who did it: for the reader only.
    pub client: String,
    /// When it began, on the clock that all operations share.
    pub invoked: Duration,
    /// When its outcome was known; `None` if nobody knows whether it took effect.
    pub completed: Option<Duration>,
    /// What was done, and seen.
    pub action: A,
}

impl<A: fmt::Display> fmt::Display for Operation<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:.6}..", self.client, self.invoked.as_secs_f64())?;
        match self.completed {
            Some(at) => write!(f, "{:.6}", at.as_secs_f64())?,
            None => write!(f, "?")?,
        }
        write!(f, " {}", self.action)
    }
}

/// Divides a history: operations that share a part of the state, be it through others, stay together.
pub(super) fn apart<'a, M: Model>(
    model: &M,
    operations: &'a [Operation<M::Action>],
) -> Vec<Vec<&'a Operation<M::Action>>> {
    let mut groups = Groups((0..operations.len()).collect());
    let mut first_with = BTreeMap::new();
    for (at, operation) in operations.iter().enumerate() {
        for part in model.parts(&operation.action) {
            let first = *first_with.entry(part).or_insert(at);
            groups.unite(first, at);
        }
    }
    let mut histories: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for (at, operation) in operations.iter().enumerate() {
        histories.entry(groups.of(at)).or_default().push(operation);
    }
    histories.into_values().collect()
}

/// Disjoint groups of operations: each names another one of its group, and one of them itself.
struct Groups(Vec<usize>);

impl Groups {
    fn of(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    fn unite(&mut self, one: usize, other: usize) {
        let (one, other) = (self.of(one), self.of(other));
        self.0[one.max(other)] = one.min(other);
    }
}
