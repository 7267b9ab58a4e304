//! The circuit breaker: stop calling what does not answer, and find out gently when it does again.
//!
//! * **Closed**: calls are made, and their results weighed. Enough failures trip the breaker.
//! * **Open**: calls are refused at once, for `recovery_timeout`.
//! * **Half-open**: a few probes are let through. Their success closes the circuit, a failure opens it again.
//!
//! What it holds to, under any concurrency:
//!
//! * Every state has an epoch, every permit carries the epoch of its birth, and a result counts in its own
//!   epoch only. A call from before the circuit opened cannot close it, open it again, or use up a probe.
//! * No more than `half_open_max_calls` probes are ever out at once.
//! * A permit is settled exactly once: by a result, by being dropped (a cancelled future, a panic), or for a
//!   probe by `half_open_timeout`. Nothing wedges the breaker.
//! * Listeners see one order of events, outside of any lock.
//!
//! What it does not do: it does not cut off calls that take long ([`timeout`](crate::timeout()) does, and
//! belongs within the breaker), and it does not wait.
//!
//! The idea is Michael Nygard's, *Release It!*, chapter "Stability patterns".

mod call;
mod classified;
mod event;
mod evidence;
mod gate;
#[cfg(feature = "tower")]
mod layer;
mod machine;
mod permit;
mod registry;
mod settings;
#[cfg(any(feature = "tracing", feature = "metrics"))]
mod telemetry;
mod ticket;
mod trial;
mod untold;

use std::{fmt, future::Future, sync::Arc, time::Duration};

pub use self::classified::{Classified, Classify, Outcome};
pub use self::event::Event;
#[cfg(feature = "tower")]
pub use self::layer::{CircuitBreakerLayer, CircuitBreakerService, ResponseFuture};
pub use self::permit::{OwnedPermit, Permit};
pub use self::registry::Registry;
pub use self::settings::{Builder, Cancellation, RateRule};
pub use crate::window::Tally;

use self::call::{Call, call_blocking};
use self::gate::Gate;
use self::machine::{Machine, Order};
use crate::error::{Error, Rejected};

/// A circuit breaker. Clones are handles of the same one.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, Error, State};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let breaker = CircuitBreaker::new();
/// for _ in 0..5 {
///     let answer: Result<(), _> = breaker.call(async { Err("unreachable") }).await;
///     assert_eq!(answer, Err(Error::Failed("unreachable")));
/// }
/// assert_eq!(breaker.state(), State::Open);
/// let answer = breaker.call(async { Ok::<_, &str>("never asked") }).await;
/// assert!(matches!(answer, Err(Error::Rejected(_))));
/// # }
/// ```
#[derive(Clone)]
pub struct CircuitBreaker(Arc<Gate>);

/// Which of its states a breaker is in.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, State};
///
/// assert_eq!(CircuitBreaker::new().state(), State::Closed);
/// assert_eq!(State::HalfOpen.to_string(), "half-open");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls are made.
    Closed,
    /// Calls are refused for a while.
    Open,
    /// A few calls are made, to see.
    HalfOpen,
    /// Calls are refused until somebody says otherwise.
    ForcedOpen,
    /// Calls are made and counted, and nothing trips, until somebody says otherwise.
    ForcedClosed,
    /// Calls are made, and nothing is counted, until somebody says otherwise.
    Disabled,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced open",
            Self::ForcedClosed => "forced closed",
            Self::Disabled => "disabled",
        })
    }
}

/// A breaker at one instant.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, clock::ManualClock};
/// use std::{sync::Arc, time::Duration};
///
/// let clock = Arc::new(ManualClock::new());
/// let breaker = CircuitBreaker::builder().clock(Arc::clone(&clock)).build()?;
/// breaker.trip();
/// clock.advance(Duration::from_secs(20));
/// assert_eq!(breaker.snapshot().next_attempt, Some(Duration::from_secs(40)));
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Its state.
    pub state: State,
    /// The state's epoch: how many changes there have been.
    pub epoch: u64,
    /// Failures in a row; 0 if the breaker trips by a rate, or is not closed.
    pub consecutive_failures: u32,
    /// What a closed breaker's window holds, if it trips by a rate.
    pub window: Option<Tally>,
    /// Probes on their way.
    pub probes: u32,
    /// Probes that succeeded, in this half-open state.
    pub probe_successes: u32,
    /// Probes that failed, in this half-open state.
    pub probe_failures: u32,
    /// Openings since the circuit was last closed.
    pub openings: u32,
    /// Calls refused since the beginning, or the last reset.
    pub rejected: u64,
    /// Results that came too late to count, since the beginning or the last reset.
    pub late: u64,
    /// How long ago the last failure that counted was told.
    pub last_failure: Option<Duration>,
    /// In how long an open breaker lets a probe through.
    pub next_attempt: Option<Duration>,
    /// Whether the breaker is open, and by [`CircuitBreaker::trip`]: not by what it has seen itself.
    pub tripped: bool,
}

impl Snapshot {
    fn of(state: State, epoch: u64) -> Self {
        Self {
            state,
            epoch,
            consecutive_failures: 0,
            window: None,
            probes: 0,
            probe_successes: 0,
            probe_failures: 0,
            openings: 0,
            rejected: 0,
            late: 0,
            last_failure: None,
            next_attempt: None,
            tripped: false,
        }
    }
}

impl CircuitBreaker {
    /// A breaker with the defaults: the fifth failure in a row opens it for 60 s; three good probes close it.
    ///
    /// ```
    /// let breaker = quorate_resilience::CircuitBreaker::new();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build().expect("the defaults are valid")
    }

    /// Other settings.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// let breaker = CircuitBreaker::builder().failure_threshold(3).build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Makes a call, if the circuit lets it through. `Ok` is a success, `Err` a failure, a panic too; other
    /// readings go through [`classify`](CircuitBreaker::classify). A future that is dropped half-way counts as
    /// [`Cancellation`] says.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let breaker = CircuitBreaker::new();
    /// assert_eq!(breaker.call(async { Ok::<_, std::io::Error>(7) }).await.unwrap(), 7);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if the call was not made, [`Error::Failed`] with the call's own error.
    #[inline]
    pub fn call<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> impl Future<Output = Result<T, Error<E>>> {
        Call::new(&self.0, &(), call)
    }

    /// Makes a call in this thread, if the circuit lets it through.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// let breaker = CircuitBreaker::new();
    /// assert_eq!(breaker.call_blocking(|| "7".parse::<u32>()), Ok(7));
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`call`](CircuitBreaker::call).
    #[inline]
    pub fn call_blocking<T, E>(&self, call: impl FnOnce() -> Result<T, E>) -> Result<T, Error<E>> {
        call_blocking(&self.0, &(), call)
    }

    /// The bare permit, for whoever makes the call elsewhere. It must be told how the call ended.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Outcome};
    /// let breaker = CircuitBreaker::new();
    /// let permit = breaker.try_acquire()?;
    /// // .. the call ..
    /// permit.settle(Outcome::Success);
    /// # Ok::<(), quorate_resilience::Rejected>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the call must not be made now.
    #[inline]
    pub fn try_acquire(&self) -> Result<Permit<'_>, Rejected> {
        Ok(Permit::new(&self.0, self.0.admit()?))
    }

    /// A permit that borrows nothing, and so can go to another task.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Outcome};
    /// let permit = CircuitBreaker::new().try_acquire_owned()?;
    /// std::thread::spawn(move || permit.settle(Outcome::Success)).join().unwrap();
    /// # Ok::<(), quorate_resilience::Rejected>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Rejected`] if the call must not be made now.
    pub fn try_acquire_owned(&self) -> Result<OwnedPermit, Rejected> {
        Ok(OwnedPermit::new(Arc::clone(&self.0), self.0.admit()?))
    }

    /// This breaker with another reading of results.
    ///
    /// ```
    /// use quorate_resilience::{CircuitBreaker, State, breaker::Outcome};
    ///
    /// let breaker = CircuitBreaker::builder().failure_threshold(1).build()?;
    /// let status = breaker.classify(|result: &Result<u16, std::io::Error>| match result {
    ///     Ok(500..) | Err(_) => Outcome::Failure,
    ///     Ok(400..) => Outcome::Ignored, // our own mistake, which says nothing about the service
    ///     Ok(_) => Outcome::Success,
    /// });
    /// assert_eq!(status.call_blocking(|| Ok(404)).unwrap(), 404);
    /// assert_eq!(breaker.state(), State::Closed);
    /// assert_eq!(status.call_blocking(|| Ok(503)).unwrap(), 503);
    /// assert_eq!(breaker.state(), State::Open);
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn classify<C>(&self, classify: C) -> Classified<C> {
        Classified::new(self.clone(), classify)
    }

    /// The state now.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, State};
    /// assert_eq!(CircuitBreaker::new().state(), State::Closed);
    /// ```
    #[must_use]
    pub fn state(&self) -> State {
        self.snapshot().state
    }

    /// Everything there is to know, at one instant.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// assert_eq!(CircuitBreaker::new().snapshot().consecutive_failures, 0);
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.0.step(Machine::snapshot)
    }

    /// Refuses all calls until another order.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// let breaker = CircuitBreaker::new();
    /// breaker.force_open();
    /// assert!(breaker.try_acquire().is_err());
    /// ```
    pub fn force_open(&self) {
        self.order(Order::ForceOpen);
    }

    /// Lets all calls through until another order. Results are counted, and trip nothing.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, State};
    /// let breaker = CircuitBreaker::builder().failure_threshold(1).build()?;
    /// breaker.force_closed();
    /// let _ = breaker.call_blocking(|| "x".parse::<u32>());
    /// assert_eq!(breaker.state(), State::ForcedClosed);
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn force_closed(&self) {
        self.order(Order::ForceClosed);
    }

    /// Lets all calls through and counts nothing until another order.
    ///
    /// ```
    /// # use quorate_resilience::CircuitBreaker;
    /// let breaker = CircuitBreaker::new();
    /// breaker.disable();
    /// assert!(breaker.try_acquire().is_ok());
    /// ```
    pub fn disable(&self) {
        self.order(Order::Disable);
    }

    /// Closes the circuit and forgets everything that was seen. Takes back any other order.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, State};
    /// let breaker = CircuitBreaker::new();
    /// breaker.force_open();
    /// breaker.reset();
    /// assert_eq!(breaker.state(), State::Closed);
    /// ```
    pub fn reset(&self) {
        self.order(Order::Reset);
    }

    /// Opens the circuit as its own rule would have, by evidence from elsewhere: a health check, or other
    /// processes. It recovers by itself. A state that was chosen by hand stays, and an open circuit as it is.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, State};
    /// let breaker = CircuitBreaker::new();
    /// breaker.trip();
    /// assert_eq!(breaker.state(), State::Open);
    /// ```
    pub fn trip(&self) {
        self.order(Order::Trip);
    }

    fn order(&self, order: Order) {
        self.0.step(|machine, now| machine.order(order, now));
    }

    /// Whether nobody would miss it: no handle or owned permit beside this one, and nothing to remember.
    fn is_forgettable(&self) -> bool {
        Arc::strong_count(&self.0) == 1 && self.0.peek(Machine::is_forgettable)
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CircuitBreaker").field(&self.snapshot()).finish()
    }
}
