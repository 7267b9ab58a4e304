//! Events as log lines and as metrics: listeners that are ready made.

use super::{Builder, Event};

impl Builder {
    /// Writes events by `tracing`, with this name of the breaker: changes of state at the level `warn`, what
    /// costs calls at `debug`.
    ///
    /// ```
    /// let breaker = quorate_resilience::CircuitBreaker::builder().traced("payments").build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    #[cfg(feature = "tracing")]
    pub fn traced(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.on_event(move |event| trace(&name, event))
    }

    /// Counts events by `metrics`, with the label `breaker`: `circuit_breaker_transitions_total` (label `to`),
    /// `circuit_breaker_rejected_total`, `circuit_breaker_late_total`, `circuit_breaker_probes_taken_back_total`,
    /// and the gauge `circuit_breaker_admits`: 1 if all calls are let through, 0 if none, 0.5 if probes.
    ///
    /// ```
    /// let breaker = quorate_resilience::CircuitBreaker::builder().metered("payments").build()?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    #[cfg(feature = "metrics")]
    pub fn metered(self, name: impl Into<String>) -> Self {
        let name: std::sync::Arc<str> = name.into().into();
        metrics::gauge!("circuit_breaker_admits", "breaker" => std::sync::Arc::clone(&name)).set(1.0);
        self.on_event(move |event| measure(&name, event))
    }
}

#[cfg(feature = "tracing")]
fn trace(breaker: &str, event: &Event) {
    match event {
        Event::StateChanged { from, to, epoch } => {
            tracing::warn!(breaker, %from, %to, epoch, "the circuit is {to}");
        }
        Event::Rejected(rejected) => tracing::debug!(breaker, "{rejected}"),
        Event::LateResult { epoch, .. } => tracing::debug!(breaker, epoch, "a result came too late to count"),
        Event::ProbeTakenBack { epoch } => tracing::debug!(breaker, epoch, "a hung probe was taken back"),
        Event::Missed { events } => tracing::debug!(breaker, events, "events were missed"),
    }
}

#[cfg(feature = "metrics")]
fn measure(breaker: &std::sync::Arc<str>, event: &Event) {
    use std::sync::Arc;

    let label = || Arc::clone(breaker);
    match event {
        Event::StateChanged { to, .. } => {
            let to_state = to.to_string();
            metrics::counter!("circuit_breaker_transitions_total", "breaker" => label(), "to" => to_state)
                .increment(1);
            metrics::gauge!("circuit_breaker_admits", "breaker" => label()).set(admitted_share(*to));
        }
        Event::Rejected(_) => {
            metrics::counter!("circuit_breaker_rejected_total", "breaker" => label()).increment(1);
        }
        Event::LateResult { .. } => {
            metrics::counter!("circuit_breaker_late_total", "breaker" => label()).increment(1);
        }
        Event::ProbeTakenBack { .. } => {
            metrics::counter!("circuit_breaker_probes_taken_back_total", "breaker" => label()).increment(1);
        }
        // They were rejections and late results, which of them is not known.
        Event::Missed { events } => {
            metrics::counter!("circuit_breaker_missed_total", "breaker" => label()).increment(*events);
        }
    }
}

#[cfg(feature = "metrics")]
fn admitted_share(state: super::State) -> f64 {
    use super::State;

    match state {
        State::Closed | State::ForcedClosed | State::Disabled => 1.0,
        State::HalfOpen => 0.5,
        State::Open | State::ForcedOpen => 0.0,
    }
}
