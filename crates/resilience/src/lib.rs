#![doc = include_str!("../README.md")]

pub mod backoff;
pub mod breaker;
pub mod clock;
pub mod error;
mod random;
mod sync;
mod window;

pub use backoff::Backoff;
pub use breaker::{CircuitBreaker, State};
pub use error::{Error, InvalidSetting, Rejected, RejectedBy};
