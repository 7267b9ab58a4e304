//! What is going to happen, in the order of time; at equal times, in the order in which it was decided.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use crate::time::SimTime;

/// A queue of future events.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    order: BinaryHeap<Reverse<(SimTime, u64)>>,
    events: BTreeMap<u64, E>,
    next: u64,
    now: SimTime,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self { order: BinaryHeap::new(), events: BTreeMap::new(), next: 0, now: SimTime::default() }
    }

    /// The time of the last event that was taken.
    pub(crate) fn now(&self) -> SimTime {
        self.now
    }

    /// Lets `event` happen at `at`, or now if that has passed.
    pub(crate) fn add(&mut self, at: SimTime, event: E) {
        self.order.push(Reverse((at.max(self.now), self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    /// The next event, with its number. Time moves on to it.
    pub(crate) fn take(&mut self) -> Option<(SimTime, u64, E)> {
        let Reverse((at, number)) = self.order.pop()?;
        self.now = at;
        let event = self.events.remove(&number).expect("each number in the order has an event");
        Some((at, number, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simultaneous_events_come_in_the_order_of_their_making() {
        let mut agenda = Agenda::new();
        let at = |micros| SimTime { micros };
        agenda.add(at(5), 'b');
        agenda.add(at(5), 'c');
        agenda.add(at(1), 'a');
        let taken: String = std::iter::from_fn(|| agenda.take()).map(|(_, _, event)| event).collect();
        assert_eq!(taken, "abc");
        assert_eq!(agenda.now(), at(5));
    }
}
