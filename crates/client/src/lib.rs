#![doc = include_str!("../README.md")]

mod backend;
mod client;
mod clock;
mod connection;
mod endpoints;
mod error;
mod exchange;
mod guard;
mod keys;
mod lease;
mod lock;
mod settings;
mod token;

pub use backend::{Backend, Fenced, Quorate, Redis};
pub use client::Client;
pub use error::{Error, Loss};
pub use guard::LockGuard;
pub use keys::Stale;
pub use lock::Lock;
pub use settings::Settings;
pub use token::FencingToken;
