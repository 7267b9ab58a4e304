#![doc = include_str!("../README.md")]

pub mod backoff;
pub mod breaker;
#[cfg(feature = "tokio")]
mod bulkhead;
pub mod clock;
pub mod error;
#[cfg(feature = "tokio")]
mod hedge;
#[cfg(feature = "tower")]
mod layer;
mod random;
#[cfg(feature = "rate-limit")]
mod rate_limit;
pub mod retry;
mod sync;
mod throttle;
#[cfg(feature = "tokio")]
mod timeout;
mod window;

pub use backoff::Backoff;
pub use breaker::{CircuitBreaker, State};
#[cfg(feature = "tokio")]
pub use bulkhead::Bulkhead;
pub use error::{Error, InvalidSetting, Rejected, RejectedBy};
#[cfg(feature = "tokio")]
pub use hedge::Hedge;
#[cfg(feature = "tower")]
pub use layer::{Guard, GuardLayer, GuardService, GuardedFuture, HedgeLayer, HedgeService};
#[cfg(feature = "rate-limit")]
pub use rate_limit::RateLimit;
pub use retry::{Retry, RetryError};
pub use throttle::AdaptiveThrottle;
#[cfg(feature = "tokio")]
pub use timeout::timeout;
