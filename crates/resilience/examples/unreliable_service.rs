//! An unreliable service, called through retry and breaker; prints the breaker's state as it changes.
//!
//! `cargo run -p quorate-resilience --example unreliable_service`: six seconds of a service's bad day. It is
//! healthy, fails, hangs, and recovers; meanwhile eight clients call it.

use std::time::Duration;

use quorate_resilience::breaker::Event;
use quorate_resilience::retry::RetryBudget;
use quorate_resilience::{Backoff, CircuitBreaker, Error, Retry, timeout};
use tokio::time::{Instant, sleep};

/// What the service does, and until when it does so, in milliseconds.
const BAD_DAY: [(u64, Mood); 4] =
    [(1_000, Mood::Healthy), (2_000, Mood::Failing), (3_500, Mood::Hanging), (6_000, Mood::Healthy)];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Healthy,
    Failing,
    Hanging,
}

async fn service(begun: Instant) -> Result<&'static str, &'static str> {
    let now = begun.elapsed();
    let mood = BAD_DAY.iter().find(|(until, _)| now < Duration::from_millis(*until));
    match mood.map_or(Mood::Healthy, |(_, mood)| *mood) {
        Mood::Healthy => Ok("pong"),
        Mood::Failing => Err("internal error"),
        Mood::Hanging => std::future::pending().await,
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), quorate_resilience::InvalidSetting> {
    let begun = Instant::now();
    let breaker = CircuitBreaker::builder()
        .recovery_backoff(Backoff::exponential(Duration::from_millis(200), 2.0))
        .on_event(move |event| {
            if let Event::StateChanged { from, to, .. } = event {
                println!("{:>5} ms  {from} -> {to}", begun.elapsed().as_millis());
            }
        })
        .build()?;
    let retry = Retry::builder()
        .base_delay(Duration::from_millis(50))
        .max_elapsed(Duration::from_millis(500))
        .budget(RetryBudget::default())
        .build()?;

    let clients = (0..8).map(|_| tokio::spawn(client(begun, breaker.clone(), retry.clone())));
    let (mut answered, mut given_up) = (0, 0);
    for client in clients.collect::<Vec<_>>() {
        let (good, bad) = client.await.expect("a client does not panic");
        answered += good;
        given_up += bad;
    }
    println!("{answered} calls were answered, {given_up} given up; {breaker:#?}");
    Ok(())
}

/// Calls as long as the day lasts; how many calls were answered, and how many were not.
async fn client(begun: Instant, breaker: CircuitBreaker, retry: Retry) -> (u32, u32) {
    let retry = retry.advise(Error::advice);
    let (mut answered, mut given_up) = (0, 0);
    while begun.elapsed() < Duration::from_secs(6) {
        let attempt = || async {
            let call = timeout(Duration::from_millis(100), service(begun));
            breaker.call(call).await.map_err(Error::flatten)
        };
        match retry.run(attempt).await {
            Ok(_) => answered += 1,
            Err(_) => given_up += 1,
        }
        sleep(Duration::from_millis(25)).await;
    }
    (answered, given_up)
}
