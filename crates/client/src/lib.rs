#![doc = include_str!("../README.md")]

mod backend;
mod client;
mod clock;
mod connection;
mod endpoints;
mod error;
mod exchange;
mod fleet;
mod guard;
mod keys;
mod lease;
mod lock;
mod settings;
mod token;

pub use backend::{Backend, Fenced, Quorate, Redis};
pub use client::Client;
pub use error::{Error, Loss};
pub use fleet::{Fleet, FleetBreaker, FleetView};
pub use guard::LockGuard;
pub use keys::Stale;
pub use lock::Lock;
/// Whose breakers join a [`Fleet`].
pub use quorate_resilience as resilience;
pub use settings::Settings;
pub use token::FencingToken;
