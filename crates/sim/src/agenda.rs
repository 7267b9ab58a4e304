//! What is going to happen, in the order of time; at equal times, in the order in which it was decided.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::time::SimTime;

/// A queue of future events.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    /// When each event happens, its number, and its place in `events`: so that little moves when the order is kept.
    order: BinaryHeap<Reverse<(SimTime, u64, usize)>>,
    events: Vec<Option<E>>,
    /// The empty places among them.
    free: Vec<usize>,
    next: u64,
    now: SimTime,
}

impl<E> Agenda<E> {
    pub(crate) fn new() -> Self {
        Self {
            order: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
            next: 0,
            now: SimTime::default(),
        }
    }

    /// The time of the last event that was taken.
    pub(crate) fn now(&self) -> SimTime {
        self.now
    }

    /// Lets `event` happen at `at`, or now if that has passed.
    pub(crate) fn add(&mut self, at: SimTime, event: E) {
        let place = self.free.pop().unwrap_or(self.events.len());
        if place == self.events.len() {
            self.events.push(None);
        }
        self.events[place] = Some(event);
        self.order.push(Reverse((at.max(self.now), self.next, place)));
        self.next += 1;
    }

    /// The next event. Time moves on to it.
    pub(crate) fn take(&mut self) -> Option<(SimTime, E)> {
        let Reverse((at, _, place)) = self.order.pop()?;
        self.now = at;
        let event = self.events[place].take().expect("each place in the order has an event");
        self.free.push(place);
        Some((at, event))
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
        let taken: String = std::iter::from_fn(|| agenda.take()).map(|(_, event)| event).collect();
        assert_eq!(taken, "abc");
        assert_eq!(agenda.now(), at(5));
    }
}
