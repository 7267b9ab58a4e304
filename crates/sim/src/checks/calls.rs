//! Calls whose replies must be those of one sequential keyspace: registers, and accounts that are changed together.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;

use super::{Failure, Span};
use crate::{
    linearizability::{
        CONFIGURATIONS_MAX, Judged, Model as _, Operation, judge,
        keyspace::{Call, Command, Keyspace, Seen},
    },
    time::SimTime,
};

/// How many calls share keys before clients move on to fresh ones: what few clients do is judged in milliseconds.
const CALLS_MAX: usize = 64;
/// How many calls may be added to keys after they were last chosen: all clients' pipelines.
const IN_FLIGHT_MAX: usize = 32;

/// What all clients have called, and the keys that they use.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    operations: Vec<Operation<Call>>,
    /// How many of them there are for the keys of each group.
    counts: BTreeMap<String, usize>,
    /// How many groups of keys each name has used up.
    generations: BTreeMap<String, u64>,
}

impl Calls {
    /// The group of keys that stands for `name` at the moment: a beginning for their names.
    pub(crate) fn group(&mut self, name: &str) -> String {
        let generation = self.generations.entry(name.to_owned()).or_default();
        let group = format!("{name}:{generation}");
        if self.counts.get(&group).is_none_or(|count| count + IN_FLIGHT_MAX <= CALLS_MAX) {
            return group;
        }
        *generation += 1;
        format!("{name}:{generation}")
    }

    /// A client was answered.
    pub(crate) fn answered(&mut self, client: usize, group: &str, call: (Command, Seen), span: Span) {
        let (command, seen) = call;
        let call = Call { command, seen: Some(seen) };
        self.add(client, group, call, span.invoked, Some(span.completed));
    }

    /// Nobody knows whether a call took effect.
    pub(crate) fn lost_sight(&mut self, client: usize, group: &str, command: Command, invoked: SimTime) {
        // A read changes nothing that others could see.
        if command.is_write() {
            self.add(client, group, Call { command, seen: None }, invoked, None);
        }
    }

    /// The keys that were used.
    pub(crate) fn keys(&self) -> BTreeSet<Bytes> {
        self.operations.iter().flat_map(|operation| Keyspace.parts(&operation.action)).collect()
    }

    fn add(&mut self, client: usize, group: &str, call: Call, invoked: SimTime, completed: Option<SimTime>) {
        *self.counts.entry(group.to_owned()).or_default() += 1;
        let of = |at: SimTime| Duration::from_micros(at.micros);
        self.operations.push(Operation {
            client: format!("c{client}"),
            invoked: of(invoked),
            completed: completed.map(of),
            action: call,
        });
    }

    pub(crate) fn verify(&self) -> Result<Judged, Failure> {
        judge(&Keyspace, &self.operations, CONFIGURATIONS_MAX)
            .map_err(|counterexample| Failure::new("linearizable", counterexample.to_string()))
    }
}
