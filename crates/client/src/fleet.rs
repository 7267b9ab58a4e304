//! A circuit breaker for a whole fleet: processes that call the same service tell each other, through Quorate, whose circuit
//! their own calls have opened. When most of them say so, it opens for all.
//!
//! # How it works
//!
//! Each process is a **reporter**. Once in a while it says how its own breaker is, and learns in the same step how many
//! reporters there are and how many of them are **failing**: their circuit is open by what their own calls have seen. A
//! majority of failing reporters trips the circuit of each that is closed still.
//!
//! * **One bad host opens it for nobody else.** A majority is needed, and at least two ([`FleetBreaker::at_least`]).
//! * **It does not feed itself.** A circuit that the fleet has opened says nothing about the service, and is not counted
//!   ([`Snapshot::tripped`]); nor is one that is half-open, which nobody knows anything about yet. The fleet leaves such a
//!   circuit alone: its own probes decide.
//! * **It adds, and takes nothing away.** A process that cannot reach Quorate goes on with its own breaker, as if alone. After a
//!   while the others forget it, and count without it.
//! * A breaker that a hand has put into a state reports nothing meanwhile, and is not touched.
//!
//! What is told travels as one script, over two sorted sets with the time of each report by the cluster's calendar: no clock of a
//! reporter counts. Where the calendar steps forward, by a new leader whose clocks say so, all are forgotten together, and known
//! again by their next reports: until then the few that have reported are no fleet. So a majority is one of as many reporters as
//! there have been at any time in the last seconds, and who was not there for so long obeys nobody yet.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use quorate_resilience::{CircuitBreaker, State, breaker::Snapshot};
use redis::{Cmd, Value};
use tokio::{task::AbortHandle, time::MissedTickBehavior};

use crate::{
    backend::{Quorate, millis},
    client::{Client, Core},
    clock::BootTime,
    error::Error,
};

/// Takes a report, drops those that are too old, and answers how many report, and how many of them are failing.
const REPORT: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function note(key, is_in)
  if is_in then redis.call('ZADD', key, now, ARGV[1]) else redis.call('ZREM', key, ARGV[1]) end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - ARGV[2])
  redis.call('PEXPIRE', key, ARGV[2])
  return redis.call('ZCARD', key)
end
return {note(KEYS[1], ARGV[3] ~= 'absent'), note(KEYS[2], ARGV[3] == 'failing')}";

/// How many reports in a row may be lost before a reporter is forgotten.
const REPORTS_LOST_MAX: u32 = 3;

/// How long a reporter is remembered at least: longer than an election, or each would empty the fleet.
const LIFETIME_MIN: Duration = Duration::from_secs(5);

/// The shortest time between reports: each is a write.
const EVERY_MIN: Duration = Duration::from_millis(50);

/// A breaker that is about to join its fleet.
#[must_use = "it joins nothing until `join`"]
pub struct FleetBreaker {
    core: Arc<Core<Quorate>>,
    name: String,
    at_least: u32,
    every: Duration,
}

/// What the fleet has said last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetView {
    /// How many processes report, this one included.
    pub reporters: u32,
    /// How many of them have a circuit that their own calls have opened.
    pub failing: u32,
}

/// How many there have been lately, as reports have said that came through one after the other.
#[derive(Default)]
struct Attendance(VecDeque<(BootTime, u32)>);

impl Attendance {
    /// Notes how many there are, and answers how many there have been at most for as long as a reporter is remembered; `None`
    /// if that is not known, since this one was not there for so long.
    fn note(&mut self, reporters: u32, now: BootTime, lifetime: Duration) -> Option<u32> {
        self.0.push_back((now, reporters));
        // The last one that is older stays: it says since when this one was there.
        while self.0.get(1).is_some_and(|&(then, _)| now.since(then) >= lifetime) {
            self.0.pop_front();
        }
        let is_known = now.since(self.0[0].0) >= lifetime;
        is_known.then(|| self.0.iter().map(|&(_, reporters)| reporters).max().unwrap_or(reporters))
    }

    /// What the others did meanwhile is not known.
    fn interrupt(&mut self) {
        self.0.clear();
    }
}

/// Whether so many are failing that the circuit is to be open for all.
fn is_verdict(failing: u32, reporters: u32, at_least: u32) -> bool {
    failing >= at_least.max(reporters / 2 + 1)
}

/// A breaker's place in its fleet, whose verdicts it obeys after the first 5 s, or three reports if that is longer. Dropped, it leaves; the breaker goes on alone.
#[must_use = "dropped, it leaves the fleet at once"]
pub struct Fleet {
    reporter: Arc<Reporter>,
    reporting: AbortHandle,
}

struct Reporter {
    core: Arc<Core<Quorate>>,
    breaker: CircuitBreaker,
    name: String,
    id: String,
    at_least: u32,
    every: Duration,
    heard: Mutex<Heard>,
}

/// What the fleet has told a reporter.
#[derive(Default)]
struct Heard {
    /// By its last report, if that got through.
    view: Option<FleetView>,
    attendance: Attendance,
}

impl Heard {
    /// Whether the circuit is to be open for all, by what a report was answered.
    fn note(&mut self, told: Option<FleetView>, lifetime: Duration, at_least: u32) -> bool {
        self.view = told;
        let Some(FleetView { reporters, failing }) = told else {
            self.attendance.interrupt();
            return false;
        };
        let reporters = self.attendance.note(reporters, BootTime::now(), lifetime);
        reporters.is_some_and(|reporters| is_verdict(failing, reporters, at_least))
    }
}

impl Client<Quorate> {
    /// The fleet of all processes whose breakers guard the service `name`.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// use quorate_client::resilience::CircuitBreaker;
    ///
    /// let breaker = CircuitBreaker::new();
    /// let fleet = client.fleet("payments").join(&breaker).await?;
    /// let answer: Result<u32, _> = breaker.call(async { Ok::<_, std::io::Error>(7) }).await;
    /// # Ok(()) }
    /// ```
    pub fn fleet(&self, name: impl Into<String>) -> FleetBreaker {
        let (core, every) = (Arc::clone(self.core()), Duration::from_secs(1));
        FleetBreaker { core, name: name.into(), at_least: 2, every }
    }
}

impl FleetBreaker {
    /// How many must be failing, beside being a majority: 2 by default. 1 lets a fleet of one speak for itself, and a fleet
    /// that has just one reporter for a moment.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// # let breaker = quorate_client::resilience::CircuitBreaker::new();
    /// let fleet = client.fleet("payments").at_least(5).join(&breaker).await?;
    /// # Ok(()) }
    /// ```
    pub fn at_least(self, at_least: u32) -> Self {
        Self { at_least, ..self }
    }

    /// The time between reports: 1 s by default, at least 50 ms. So long it takes at most until a verdict is obeyed; each
    /// report is a write to the cluster.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// # let breaker = quorate_client::resilience::CircuitBreaker::new();
    /// let fleet = client.fleet("payments").every(std::time::Duration::from_millis(200)).join(&breaker).await?;
    /// # Ok(()) }
    /// ```
    pub fn every(self, every: Duration) -> Self {
        Self { every, ..self }
    }

    /// Joins: reports at once, and then in the background, until what this returns is dropped.
    ///
    /// ```no_run
    /// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
    /// # let breaker = quorate_client::resilience::CircuitBreaker::new();
    /// let fleet = client.fleet("payments").join(&breaker).await?;
    /// println!("{:?}", fleet.view());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `Invalid` if reports would come too fast; otherwise the first report did not get through, and the breaker is alone.
    pub async fn join(self, breaker: &CircuitBreaker) -> Result<Fleet, Error> {
        let Self { core, name, at_least, every } = self;
        if every < EVERY_MIN {
            return Err(Error::invalid("every", format_args!("{every:?} is less than {EVERY_MIN:?}")));
        }
        let id = format!("{:032x}", crate::backend::random()?);
        let breaker = breaker.clone();
        let heard = Mutex::default();
        let reporter = Arc::new(Reporter { core, breaker, name, id, at_least, every, heard });
        reporter.report().await?;
        let reporting = reporter.core.spawn(Arc::clone(&reporter).go_on());
        Ok(Fleet { reporter, reporting })
    }
}

impl Fleet {
    /// What the fleet has said last; `None` if the last report did not get through.
    ///
    /// ```no_run
    /// # fn show(fleet: &quorate_client::Fleet) {
    /// if let Some(view) = fleet.view() {
    ///     println!("{} of {} are failing", view.failing, view.reporters);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn view(&self) -> Option<FleetView> {
        self.reporter.heard().view
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.reporting.abort();
        let reporter = Arc::clone(&self.reporter);
        self.reporter.core.in_background(async move {
            // Best effort: otherwise it is forgotten by its time.
            let _ = reporter.tell("absent").await;
        });
    }
}

impl Reporter {
    /// Reports for as long as it is let.
    async fn go_on(self: Arc<Self>) {
        let mut turns = tokio::time::interval(self.every);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first turn is at once, and that report is made.
        turns.tick().await;
        loop {
            turns.tick().await;
            // Whoever is not heard is alone, and tries again at its next turn.
            let _ = self.report().await;
        }
    }

    /// Says how the breaker is, and obeys what the fleet says.
    async fn report(&self) -> Result<(), Error> {
        let told = self.tell(word(&self.breaker.snapshot())).await;
        let is_verdict = self.heard().note(told.as_ref().ok().copied(), self.lifetime(), self.at_least);
        // One that is half-open knows better by its own probes.
        if is_verdict && self.breaker.state() == State::Closed {
            self.breaker.trip();
        }
        told.map(drop)
    }

    async fn tell(&self, word: &str) -> Result<FleetView, Error> {
        let command = report(&self.name, &self.id, self.lifetime(), word);
        let limit = self.every.max(Duration::from_secs(1));
        view(&self.core.backend.exchange.ask_once(&command, limit).await?)
    }

    fn lifetime(&self) -> Duration {
        self.every.saturating_mul(REPORTS_LOST_MAX).max(LIFETIME_MIN)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a breaker has to say.
fn word(breaker: &Snapshot) -> &'static str {
    match breaker.state {
        State::Open if !breaker.tripped => "failing",
        State::Closed | State::Open | State::HalfOpen => "well",
        // Also whatever states there may be one day.
        _ => "absent",
    }
}

fn report(name: &str, id: &str, lifetime: Duration, word: &str) -> Cmd {
    // In one slot, where there are any.
    let key = |what| format!("fleet:{{{name}}}:{what}");
    let mut command = redis::cmd("EVAL");
    command.arg(REPORT).arg(2).arg(key("reporters")).arg(key("failing"));
    command.arg(id).arg(millis(lifetime)).arg(word);
    command
}

fn view(answer: &Value) -> Result<FleetView, Error> {
    if let Value::Array(counts) = answer
        && let [Value::Int(reporters), Value::Int(failing)] = counts[..]
        && let (Ok(reporters), Ok(failing)) = (u32::try_from(reporters), u32::try_from(failing))
    {
        return Ok(FleetView { reporters, failing });
    }
    Err(Error::unexpected(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_and_at_least_so_many_are_a_verdict() {
        let verdict = |failing, reporters| is_verdict(failing, reporters, 2);
        assert!(!verdict(1, 1) && !verdict(1, 2) && verdict(2, 2));
        assert!(verdict(2, 3) && !verdict(2, 4) && verdict(3, 4) && !verdict(2, 5) && verdict(3, 5));
        assert!(is_verdict(1, 1, 1));
    }

    /// The calendar has stepped forward, and the two bad hosts of ten are the first to be known again.
    #[test]
    fn a_fleet_that_was_just_forgotten_is_counted_as_it_was() {
        let (lifetime, begin) = (Duration::from_secs(5), BootTime::now());
        let mut attendance = Attendance::default();
        let mut after =
            |seconds, reporters| attendance.note(reporters, begin + Duration::from_secs(seconds), lifetime);
        // Who has just come does not know how many there were.
        assert_eq!(after(0, 2), None);
        assert_eq!(after(4, 10), None);
        assert_eq!(after(5, 10), Some(10));
        assert_eq!(after(6, 2), Some(10));
        // Eight have left for good.
        assert_eq!(after(10, 2), Some(10));
        assert_eq!(after(11, 2), Some(2));
        assert_eq!(after(30, 9), Some(9));
        attendance.interrupt();
        assert_eq!(attendance.note(2, begin + Duration::from_secs(31), lifetime), None);
    }

    #[test]
    fn only_a_circuit_that_its_own_calls_have_opened_is_evidence() {
        let breaker = CircuitBreaker::builder().failure_threshold(1).build().unwrap();
        let said = || word(&breaker.snapshot());
        assert_eq!(said(), "well");
        breaker.trip();
        assert_eq!(said(), "well");
        breaker.reset();
        let _ = breaker.call_blocking(|| Err::<(), _>("refused"));
        assert_eq!(said(), "failing");
        for order in [CircuitBreaker::force_open, CircuitBreaker::force_closed, CircuitBreaker::disable] {
            order(&breaker);
            assert_eq!(said(), "absent");
        }
    }
}
