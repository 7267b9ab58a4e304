//! The search for an order that explains a history.

use std::{collections::HashSet, time::Duration};

use super::{Counterexample, Model, Operation, taken::Taken};

/// What a search has found.
pub(super) enum Verdict {
    Linearizable,
    Undecided,
    Refused(Box<Counterexample>),
}

/// One history, and how far an order of it has come.
pub(super) struct Search<'a, M: Model> {
    model: &'a M,
    /// Those with an outcome first; both kinds by when they began.
    operations: Vec<&'a Operation<M::Action>>,
    /// How many of them have an outcome.
    known: usize,
    taken: Taken,
    /// How many of those with an outcome have been taken.
    known_taken: usize,
    path: Vec<Place<M::State>>,
    dead_end: Option<DeadEnd>,
}

/// A place on the way of the search.
struct Place<S> {
    /// What was taken to come here; `None` at the start.
    by: Option<usize>,
    state: S,
    /// What else may be taken from here; the last is tried first.
    untried: Vec<usize>,
}

/// The end of the longest way so far that leads no further.
struct DeadEnd {
    known_taken: usize,
    counterexample: Box<Counterexample>,
}

impl<'a, M: Model> Search<'a, M> {
    pub(super) fn new(model: &'a M, mut operations: Vec<&'a Operation<M::Action>>) -> Self {
        operations.sort_by_key(|operation| (operation.completed.is_none(), operation.invoked));
        let known = operations.partition_point(|operation| operation.completed.is_some());
        let taken = Taken::none_of(operations.len());
        Self { model, operations, known, taken, known_taken: 0, path: Vec::new(), dead_end: None }
    }

    pub(super) fn run(mut self, configurations_max: usize) -> Verdict {
        let mut met = HashSet::new();
        let untried = self.candidates();
        self.path.push(Place { by: None, state: self.model.start(), untried });
        while let Some(place) = self.path.last_mut() {
            if self.known_taken == self.known {
                return Verdict::Linearizable;
            }
            let Some(next) = place.untried.pop() else {
                self.go_back();
                continue;
            };
            let action = &self.operations[next].action;
            let Some(state) = self.model.step(&place.state, action) else { continue };
            if self.model.is_read(action) {
                place.untried.clear();
            }
            self.take(next);
            if !met.insert((self.taken.clone(), state.clone())) {
                self.put_back(next);
                continue;
            }
            if met.len() > configurations_max {
                return Verdict::Undecided;
            }
            let untried = self.candidates();
            self.path.push(Place { by: Some(next), state, untried });
        }
        let dead_end = self.dead_end.expect("a search that found nothing has met its end");
        Verdict::Refused(dead_end.counterexample)
    }

    /// What may take effect next: whatever began before anything else that is left has ended.
    fn candidates(&self) -> Vec<usize> {
        let mut first_end = Duration::MAX;
        let mut known = Vec::new();
        for at in self.taken.first_absent()..self.known {
            let operation = self.operations[at];
            if operation.invoked > first_end {
                break;
            }
            if !self.taken.contains(at) {
                first_end = first_end.min(operation.completed.unwrap_or(Duration::MAX));
                known.push(at);
            }
        }
        let unknown = (self.known..self.operations.len())
            .take_while(|&at| self.operations[at].invoked <= first_end)
            .filter(|&at| !self.taken.contains(at));
        unknown.chain(known.into_iter().rev()).collect()
    }

    fn take(&mut self, at: usize) {
        self.taken.insert(at);
        self.known_taken += usize::from(at < self.known);
    }

    fn put_back(&mut self, at: usize) {
        self.taken.remove(at);
        self.known_taken -= usize::from(at < self.known);
    }

    /// Nothing can follow the last place.
    fn go_back(&mut self) {
        if self.dead_end.as_ref().is_none_or(|longest| longest.known_taken < self.known_taken) {
            let counterexample = Box::new(self.counterexample());
            self.dead_end = Some(DeadEnd { known_taken: self.known_taken, counterexample });
        }
        if let Some(Place { by: Some(at), .. }) = self.path.pop() {
            self.put_back(at);
        }
    }

    fn counterexample(&self) -> Counterexample {
        let text = |at: usize| self.operations[at].to_string();
        let stuck = self.candidates().into_iter().rev().filter(|at| *at < self.known);
        Counterexample {
            operations: self.known,
            longest: self.path.iter().filter_map(|place| place.by).map(text).collect(),
            state: self.path.last().map(|place| place.state.to_string()).unwrap_or_default(),
            stuck: stuck.map(text).collect(),
        }
    }
}
