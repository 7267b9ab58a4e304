//! The links between nodes, one in each direction.
//!
//! Like the connections of the real transport a link keeps its order, unless reordering is on, and loses what is
//! under way when it is reset. Cut links lose everything; a congested one delivers ever later, and then takes nothing.

use std::time::Duration;

use crate::{random::Random, time::SimTime};

/// All links.
#[derive(Debug)]
pub(super) struct Network {
    nodes: usize,
    links: Vec<Link>,
    odds: Odds,
    random: Random,
}

/// How often, of a thousand messages, something happens to one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Odds {
    pub(super) loss: u64,
    pub(super) duplication: u64,
    pub(super) reordering: u64,
}

#[derive(Clone, Debug, Default)]
struct Link {
    cut_until: SimTime,
    slow_until: SimTime,
    slowness: Duration,
    /// Counts the connections: what was sent over an earlier one is lost.
    connection: u64,
    last_arrival: SimTime,
    congestion: Option<Congestion>,
}

/// A queue that fills: what is sent is later the longer it has been filling, and what finds it full is lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    pub(super) since: SimTime,
    /// How much later a message is for each unit of time since then.
    pub(super) growth: u32,
    pub(super) full_from: SimTime,
    pub(super) until: SimTime,
}

impl Congestion {
    fn is_full(&self, now: SimTime) -> bool {
        self.full_from <= now && now < self.until
    }

    fn delay(&self, now: SimTime) -> Duration {
        if now < self.full_from { now.since(self.since) * self.growth } else { Duration::ZERO }
    }
}

/// One copy of a message, under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) arrival: SimTime,
    pub(super) connection: u64,
}

/// What a network has done to one message.
#[derive(Debug, Default)]
pub(super) struct Passages {
    pub(super) copies: Vec<Passage>,
    pub(super) lost: bool,
    pub(super) reordered: bool,
}

impl Network {
    pub(super) fn new(nodes: usize, odds: Odds, random: Random) -> Self {
        Self { nodes, links: vec![Link::default(); nodes * nodes], odds, random }
    }

    /// Sends a message from `from` to `to`.
    pub(super) fn send(&mut self, now: SimTime, from: usize, to: usize) -> Passages {
        let mut passages = Passages::default();
        let congestion = self.links[from * self.nodes + to].congestion;
        if self.is_cut(now, from, to) || congestion.is_some_and(|congestion| congestion.is_full(now)) {
            return passages;
        }
        if self.random.chance(self.odds.loss) {
            passages.lost = true;
            return passages;
        }
        let copies = if self.random.chance(self.odds.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let overtakes = self.random.chance(self.odds.reordering);
            passages.reordered |= overtakes;
            passages.copies.push(self.pass(now, from, to, overtakes));
        }
        passages
    }

    fn pass(&mut self, now: SimTime, from: usize, to: usize, overtakes: bool) -> Passage {
        let mut delay = self.random.duration(DELAY_MIN, DELAY_MAX);
        let late = self.random.duration(Duration::ZERO, REORDERING_MAX);
        let link = &mut self.links[from * self.nodes + to];
        if now < link.slow_until {
            delay += link.slowness;
        }
        delay += link.congestion.map_or(Duration::ZERO, |congestion| congestion.delay(now));
        let connection = link.connection;
        if overtakes {
            return Passage { arrival: now + delay + late, connection };
        }
        link.last_arrival = link.last_arrival.max(now + delay);
        Passage { arrival: link.last_arrival, connection }
    }

    /// Whether what was sent over `connection` arrives at this moment.
    pub(super) fn arrives(&self, now: SimTime, from: usize, to: usize, connection: u64) -> bool {
        !self.is_cut(now, from, to) && self.links[from * self.nodes + to].connection == connection
    }

    /// Whether nothing gets from `from` to `to`.
    pub(super) fn is_cut(&self, now: SimTime, from: usize, to: usize) -> bool {
        now < self.links[from * self.nodes + to].cut_until
    }

    /// Cuts one direction.
    pub(super) fn cut(&mut self, from: usize, to: usize, until: SimTime) {
        let link = &mut self.links[from * self.nodes + to];
        link.cut_until = link.cut_until.max(until);
    }

    /// Makes one direction slow.
    pub(super) fn slow_down(&mut self, from: usize, to: usize, by: Duration, until: SimTime) {
        let link = &mut self.links[from * self.nodes + to];
        (link.slowness, link.slow_until) = (by, until);
    }

    /// Congests one direction.
    pub(super) fn congest(&mut self, from: usize, to: usize, congestion: Congestion) {
        self.links[from * self.nodes + to].congestion = Some(congestion);
    }

    /// Resets the connections of two nodes.
    pub(super) fn reset(&mut self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            self.links[from * self.nodes + to].connection += 1;
        }
    }

    /// Ends all faults. What is under way stays so.
    pub(super) fn heal(&mut self) {
        self.odds = Odds::default();
        for link in &mut self.links {
            (link.cut_until, link.slow_until) = (SimTime::default(), SimTime::default());
            link.congestion = None;
        }
    }
}

/// Within a data centre.
const DELAY_MIN: Duration = Duration::from_micros(50);
const DELAY_MAX: Duration = Duration::from_micros(1500);
/// How late a message may be that others overtake: longer than an election time-out.
const REORDERING_MAX: Duration = Duration::from_millis(800);

#[cfg(test)]
mod tests {
    use super::*;

    const ODDS: Odds = Odds { loss: 0, duplication: 0, reordering: 0 };

    fn at(millis: u64) -> SimTime {
        SimTime { micros: millis * 1000 }
    }

    #[test]
    fn a_link_keeps_its_order() {
        let mut network = Network::new(2, ODDS, Random::new(1, 1));
        let mut last = SimTime::default();
        for millis in 0..100 {
            let arrival = network.send(at(millis / 10), 0, 1).copies[0].arrival;
            assert!(arrival >= last);
            last = arrival;
        }
    }

    #[test]
    fn a_cut_has_one_direction_and_an_end() {
        let mut network = Network::new(2, ODDS, Random::new(1, 1));
        network.cut(0, 1, at(10));
        assert!(network.send(at(9), 0, 1).copies.is_empty());
        assert_eq!(network.send(at(9), 1, 0).copies.len(), 1);
        assert_eq!(network.send(at(10), 0, 1).copies.len(), 1);
    }

    #[test]
    fn a_congested_link_delivers_ever_later_and_then_nothing() {
        let mut network = Network::new(2, ODDS, Random::new(1, 1));
        let congestion = Congestion { since: at(100), growth: 3, full_from: at(200), until: at(300) };
        network.congest(0, 1, congestion);
        let arrival = |network: &mut Network, millis| {
            network.send(at(millis), 0, 1).copies.first().map(|copy| copy.arrival)
        };
        assert!(arrival(&mut network, 110) < Some(at(145)));
        assert!(arrival(&mut network, 190) > Some(at(460)));
        assert_eq!(arrival(&mut network, 200), None);
        assert!(arrival(&mut network, 300) > Some(at(460)), "what was sent before comes first");
        assert!(arrival(&mut network, 500) < Some(at(505)));
    }

    #[test]
    fn a_reset_loses_what_is_under_way() {
        let mut network = Network::new(2, ODDS, Random::new(1, 1));
        let before = network.send(at(1), 0, 1).copies[0];
        network.reset(1, 0);
        assert!(!network.arrives(before.arrival, 0, 1, before.connection));
        let after = network.send(at(1), 0, 1).copies[0];
        assert!(network.arrives(after.arrival, 0, 1, after.connection));
    }
}
