//! Linearizability of a register, by the algorithm of Wing and Gong with Lowe's memory of configurations.
//!
//! The search asks for an order of all operations that respects real time and in which each read returns what was
//! written last. A configuration is the set of operations that have taken effect and the value that they left; one
//! that was met before leads nowhere new. An operation of unknown outcome may take effect at any time after it was
//! invoked, or never. The problem is NP-complete, so histories are kept short: see [`OPERATIONS_MAX`].

use std::collections::BTreeSet;

use super::{Failure, Span};
use crate::time::SimTime;

/// The most operations on one register: a set of them fits into one word. Then the workload moves on to another.
pub(crate) const OPERATIONS_MAX: usize = 64;
/// How many configurations a search visits before it gives up without a verdict: half a second's worth.
const CONFIGURATIONS_MAX: usize = 1_000_000;

/// A value; 0 is that of a register that was never written.
pub(crate) type Value = u64;

/// What was done, and what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Write(Value),
    Read(Value),
    /// Wrote the first and returned what was there: the second, if that is known.
    Swap(Value, Option<Value>),
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    action: Action,
    invoked: SimTime,
    /// `None` if the outcome is unknown.
    completed: Option<SimTime>,
}

/// The history of one register.
#[derive(Clone, Debug)]
pub(crate) struct Register {
    name: String,
    operations: Vec<Operation>,
}

/// What a search has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    /// The history was too hard.
    Undecided,
}

impl Register {
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), operations: Vec::new() }
    }

    /// Whether so many more operations can be judged.
    pub(crate) fn has_room_for(&self, more: usize) -> bool {
        self.operations.len() + more <= OPERATIONS_MAX
    }

    pub(crate) fn len(&self) -> usize {
        self.operations.len()
    }

    /// An operation with a known outcome.
    pub(crate) fn done(&mut self, action: Action, span: Span) {
        self.operations.push(Operation { action, invoked: span.invoked, completed: Some(span.completed) });
    }

    /// A write or a swap with an unknown outcome.
    pub(crate) fn lost_sight(&mut self, action: Action, invoked: SimTime) {
        self.operations.push(Operation { action, invoked, completed: None });
    }

    /// Judges the history.
    pub(crate) fn verify(&self) -> Result<Verdict, Failure> {
        if self.operations.len() > OPERATIONS_MAX {
            return Ok(Verdict::Undecided);
        }
        let mut operations = self.operations.clone();
        operations.sort_by_key(|operation| operation.invoked);
        let mut visited = BTreeSet::new();
        let mut open = vec![(0_u64, 0)];
        while let Some((taken, value)) = open.pop() {
            if is_complete(&operations, taken) {
                return Ok(Verdict::Linearizable);
            }
            if !visited.insert((taken, value)) {
                continue;
            }
            if visited.len() > CONFIGURATIONS_MAX {
                return Ok(Verdict::Undecided);
            }
            open.extend(successors(&operations, taken, value));
        }
        Err(Failure::new("linearizable", self.to_text(&operations)))
    }

    fn to_text(&self, operations: &[Operation]) -> String {
        let mut text = format!("{}: no order of these operations explains what they saw:", self.name);
        for operation in operations {
            let action = match operation.action {
                Action::Write(value) => format!("write {value}"),
                Action::Read(value) => format!("read {value}"),
                Action::Swap(new, Some(old)) => format!("swap in {new}, saw {old}"),
                Action::Swap(new, None) => format!("swap in {new}"),
            };
            let end = operation.completed.map_or("unknown".to_owned(), |at| at.to_string());
            text.push_str(&format!("\n    {}..{end} {action}", operation.invoked));
        }
        text
    }
}

/// Whether everything with an outcome has taken effect.
fn is_complete(operations: &[Operation], taken: u64) -> bool {
    operations
        .iter()
        .enumerate()
        .all(|(at, operation)| taken & (1 << at) != 0 || operation.completed.is_none())
}

/// What may take effect next: whatever began before anything else that has not taken effect ended.
fn successors(operations: &[Operation], taken: u64, value: Value) -> Vec<(u64, Value)> {
    let left = || operations.iter().enumerate().filter(move |(at, _)| taken & (1 << at) == 0);
    let first_end = left().filter_map(|(_, operation)| operation.completed).min();
    left()
        .filter(|(_, operation)| first_end.is_none_or(|end| operation.invoked <= end))
        .filter_map(|(at, operation)| {
            let next = match operation.action {
                Action::Write(new) => new,
                Action::Read(seen) if seen == value => value,
                Action::Swap(new, seen) if seen.is_none_or(|seen| seen == value) => new,
                Action::Read(_) | Action::Swap(..) => return None,
            };
            Some((taken | (1 << at), next))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(operations: &[(Action, u64, u64)]) -> Register {
        let mut register = Register::new("r");
        for &(action, invoked, completed) in operations {
            let at = |micros| SimTime { micros };
            match completed {
                0 => register.lost_sight(action, at(invoked)),
                _ => register.done(action, Span { invoked: at(invoked), completed: at(completed) }),
            }
        }
        register
    }

    #[test]
    fn a_read_may_see_either_side_of_a_concurrent_write() {
        for seen in [0, 7] {
            let history = register(&[(Action::Write(7), 1, 10), (Action::Read(seen), 2, 9)]);
            assert_eq!(history.verify(), Ok(Verdict::Linearizable));
        }
    }

    #[test]
    fn a_stale_read_is_noticed() {
        let history = register(&[(Action::Write(7), 1, 2), (Action::Read(0), 3, 4)]);
        assert!(history.verify().is_err());
    }

    #[test]
    fn two_reads_of_one_write_do_not_run_backwards() {
        let history =
            register(&[(Action::Write(7), 1, 100), (Action::Read(7), 2, 3), (Action::Read(0), 4, 5)]);
        assert!(history.verify().is_err());
    }

    #[test]
    fn a_write_of_unknown_outcome_may_show_up_late_but_only_once() {
        let late = register(&[(Action::Write(7), 1, 0), (Action::Read(0), 2, 3), (Action::Read(7), 4, 5)]);
        assert_eq!(late.verify(), Ok(Verdict::Linearizable));
        let twice = register(&[
            (Action::Write(7), 1, 0),
            (Action::Read(7), 2, 3),
            (Action::Write(8), 4, 5),
            (Action::Read(7), 6, 7),
        ]);
        assert!(twice.verify().is_err());
    }

    #[test]
    fn two_swaps_do_not_see_the_same_value() {
        let history = register(&[(Action::Swap(1, Some(0)), 1, 9), (Action::Swap(2, Some(0)), 1, 9)]);
        assert!(history.verify().is_err());
        let history = register(&[(Action::Swap(1, Some(2)), 1, 9), (Action::Swap(2, Some(0)), 1, 9)]);
        assert_eq!(history.verify(), Ok(Verdict::Linearizable));
    }

    /// The first write to be tried is not the first that was seen: the search must backtrack.
    #[test]
    fn a_choice_that_turns_out_wrong_is_taken_back() {
        let history = register(&[
            (Action::Write(1), 1, 20),
            (Action::Write(2), 1, 20),
            (Action::Write(3), 1, 20),
            (Action::Read(2), 2, 3),
            (Action::Read(1), 4, 5),
            (Action::Read(3), 6, 7),
            (Action::Read(3), 21, 22),
        ]);
        assert_eq!(history.verify(), Ok(Verdict::Linearizable));
    }
}
