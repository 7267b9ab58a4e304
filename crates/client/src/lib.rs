#![doc = include_str!("../README.md")]

mod backend;
mod background;
mod barrier;
mod client;
mod clock;
mod connection;
mod election;
mod endpoints;
mod error;
mod exchange;
mod fleet;
mod guard;
mod kept;
mod key_watch;
mod keys;
mod kind;
mod lease;
mod lock;
mod lock_info;
mod multi;
mod semaphore;
mod session;
mod settings;
mod task;
mod token;
mod vigil;
mod watch;

#[cfg(feature = "etcd")]
pub use backend::Etcd;
pub use backend::{Backend, Fenced, Quorate, Redis};
pub use barrier::Barrier;
pub use client::{Client, TTL_MIN};
pub use election::{Candidate, Election, Leader, Leadership};
pub use error::{Error, Loss};
pub use fleet::{Fleet, FleetBreaker, FleetView};
pub use guard::LockGuard;
pub use key_watch::KeyWatch;
pub use keys::Stale;
pub use kind::{Exclusive, InSession, Kind, Shared, Sole};
pub use lock::Lock;
pub use lock_info::{Holder, LockInfo};
pub use multi::{MultiGuard, MultiLock};
/// Whose breakers join a [`Fleet`].
pub use quorate_resilience as resilience;
pub use semaphore::{Permit, Semaphore};
pub use session::{NewSession, Session};
pub use settings::Settings;
pub use token::FencingToken;
pub use watch::{Change, Event, Watch};
