//! Breakers of several processes that share their evidence. Each breaker here stands for a process.

use std::{sync::Arc, time::Duration};

use quorate_client::{
    Client, Error, Fleet,
    resilience::{CircuitBreaker, State, clock::ManualClock},
};

use super::{node, support::eventually};

/// A process that calls a service.
struct Host {
    breaker: CircuitBreaker,
    fleet: Fleet,
}

impl Host {
    async fn join(client: &Client, clock: &Arc<ManualClock>) -> Self {
        let breaker = CircuitBreaker::builder().failure_threshold(1).success_threshold(1);
        let breaker = breaker.clock(Arc::clone(clock)).build().expect("valid settings");
        let fleet =
            client.fleet("payments").every(Duration::from_millis(50)).join(&breaker).await.expect("a place");
        Self { breaker, fleet }
    }

    fn calls(&self, result: Result<(), &str>) {
        let _ = self.breaker.call_blocking(|| result);
    }

    /// Waits until the fleet has told it of so many.
    fn hears_of(&self, failing: u32, reporters: u32) {
        eventually(&format!("{failing} of {reporters} are failing"), || {
            self.fleet.view().filter(|view| (view.failing, view.reporters) == (failing, reporters))
        });
    }

    fn opens(&self) {
        eventually("the circuit opens", || (self.breaker.state() == State::Open).then_some(()));
    }
}

async fn hosts<const N: usize>(client: &Client, clock: &Arc<ManualClock>) -> [Host; N] {
    let mut hosts = Vec::new();
    for _ in 0..N {
        hosts.push(Host::join(client, clock).await);
    }
    hosts.try_into().ok().expect("so many were made")
}

#[tokio::test(flavor = "multi_thread")]
async fn circuit_opens_for_all_when_most_have_seen_failures_and_not_for_one_bad_host() {
    let ((_node, _, _folder, client), clock) = (node().await, Arc::new(ManualClock::new()));
    let [a, b, c] = hosts(&client, &clock).await;
    a.calls(Err("refused"));
    for host in [&a, &b, &c] {
        host.hears_of(1, 3);
    }
    assert_eq!([&a, &b, &c].map(|host| host.breaker.state()), [State::Open, State::Closed, State::Closed]);

    b.calls(Err("refused"));
    c.opens();
    assert!(c.breaker.snapshot().tripped, "its own calls have seen nothing");
    // What the fleet has opened is no evidence for the fleet.
    c.hears_of(2, 3);

    // Nobody knows now; each finds out by its own probes, which the fleet leaves alone.
    clock.advance(Duration::from_secs(60));
    for host in [&a, &b, &c] {
        host.hears_of(0, 3);
    }
    for host in [&a, &b, &c] {
        host.calls(Ok(()));
    }
    assert_eq!([&a, &b, &c].map(|host| host.breaker.state()), [State::Closed; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_or_is_set_by_hand_counts_no_more() {
    let ((_node, _, _folder, client), clock) = (node().await, Arc::new(ManualClock::new()));
    let [a, b, c, d] = hosts(&client, &clock).await;
    a.calls(Err("refused"));
    b.calls(Err("refused"));
    c.hears_of(2, 4);
    assert_eq!(c.breaker.state(), State::Closed, "two of four are no majority");
    d.breaker.force_closed();
    c.opens();
    c.hears_of(2, 3);
    assert_eq!(d.breaker.state(), State::ForcedClosed);
    drop(a);
    client.settled().await;
    c.hears_of(1, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn breaker_goes_on_alone_when_quorate_is_gone() {
    let ((mut node, _, _folder, client), clock) = (node().await, Arc::new(ManualClock::new()));
    let host = Host::join(&client, &clock).await;
    host.hears_of(0, 1);
    node.signal(rustix::process::Signal::KILL);
    node.end();
    eventually("it is alone", || host.fleet.view().is_none().then_some(()));
    assert_eq!(host.breaker.state(), State::Closed);
    host.calls(Err("refused"));
    assert_eq!(host.breaker.state(), State::Open);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_that_would_come_too_fast_are_refused() {
    let (_node, _, _folder, client) = node().await;
    let joined = client.fleet("payments").every(Duration::from_millis(1)).join(&CircuitBreaker::new()).await;
    assert!(matches!(joined, Err(Error::Invalid { what: "every", .. })));
}
