//! The Redis front door: sockets in, requests to the shard out.
//!
//! One task serves one connection. It reads what has arrived, decodes the whole pipeline, submits what is for
//! the keyspace as one batch, and writes replies in batches as answers come. All that it knows of the protocol
//! beyond moving bytes is in [`exchange`], which has no socket and is tested without one.
//!
//! * [`listener`] accepts, and refuses beyond `maxclients`; [`serving`] moves one connection's bytes.
//! * [`answers`] keeps the shard's answers until the client reads on.
//! * [`exchange`] executes commands in order; [`replies`] keeps their order; [`transaction`] is MULTI to EXEC.
//! * [`listening`] is SUBSCRIBE; [`commands`] are those that the connection answers itself.
//! * [`sentinel`] makes such a door one where clients ask who leads.
//! * [`slow_log`] remembers which commands took long.
//! * [`statistics`] counts what INFO and `/metrics` tell.
//! * [`clients`] knows who is connected; [`loading`] says what may be asked before the node has its data.
//! * [`dismissal`] sends clients away from a node that cannot serve them.
//! * [`limits`] are the bounds.
//!
//! What a misbehaving client can do to others is bounded at each stage: its frames ([`crate::resp`]), its
//! requests in flight (its socket is not read), its unread replies (who does not read is cut off), and the buffers of all
//! together. Each refusal is a log line, at most one of a kind in a second.

mod answers;
mod arguments;
mod clients;
mod commands;
mod dismissal;
mod exchange;
mod limits;
mod listener;
mod listening;
mod loading;
mod replies;
mod sentinel;
mod serving;
mod slow_log;
mod statistics;
mod transaction;
mod wait;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use clients::Clients;
pub use clients::Endpoints;
pub use dismissal::dismiss_when_useless;
pub use limits::Limits;
use limits::{Budget, Throttle};
pub use listener::accept;
use sentinel::Sentinel;
pub use sentinel::{SentinelSettings, announce};
use slow_log::SlowLog;
pub use slow_log::SlowLogSettings;
pub(crate) use statistics::Statistics;

use crate::{handle::ShardHandle, metrics::Counter};

/// The version of Redis whose behaviour clients may expect.
pub const REDIS_VERSION: &str = "7.2.4";

/// What the connections of one listener share.
#[derive(Debug)]
pub struct FrontDoor {
    shard: ShardHandle,
    limits: Limits,
    /// What CONFIG GET tells beyond the limits, by name.
    settings: BTreeMap<String, String>,
    /// INFO's `tcp_port`.
    port: u16,
    /// What makes it a Sentinel door; none for the door to the keyspace.
    sentinel: Option<Sentinel>,
    /// Whether the node is no member any more.
    removed: AtomicBool,
    clients: Clients,
    budget: Arc<Budget>,
    statistics: Statistics,
    slow_log: SlowLog,
    refusals: Throttle,
    cuts: Throttle,
}

impl FrontDoor {
    /// A front door to `shard`. `settings` are what CONFIG GET tells of this node beyond `limits`, by name;
    /// `port` is what INFO tells.
    #[must_use]
    pub fn new(
        shard: ShardHandle,
        limits: Limits,
        settings: BTreeMap<String, String>,
        port: u16,
    ) -> Arc<Self> {
        Arc::new(Self::made(shard, limits, settings, port, None))
    }

    /// A Sentinel door. From `shard` it takes the node's status, and sends what it publishes to its subscriptions.
    #[must_use]
    pub fn for_sentinel(
        shard: ShardHandle,
        limits: Limits,
        port: u16,
        settings: SentinelSettings,
    ) -> Arc<Self> {
        Arc::new(Self::made(shard, limits, BTreeMap::new(), port, Some(Sentinel::new(settings))))
    }

    fn made(
        shard: ShardHandle,
        limits: Limits,
        settings: BTreeMap<String, String>,
        port: u16,
        sentinel: Option<Sentinel>,
    ) -> Self {
        Self {
            shard,
            settings,
            port,
            sentinel,
            removed: AtomicBool::new(false),
            clients: Clients::default(),
            budget: Budget::new(limits.buffers_bytes_max),
            slow_log: SlowLog::new(limits.slow_log),
            limits,
            statistics: Statistics::default(),
            refusals: Throttle::default(),
            cuts: Throttle::default(),
        }
    }

    /// What HELLO and INFO call the mode of the server.
    fn mode(&self) -> &'static str {
        if self.sentinel.is_some() { "sentinel" } else { "standalone" }
    }

    /// How many connections there are.
    #[must_use]
    pub fn connected(&self) -> usize {
        self.clients.count()
    }

    /// Bytes that connections hold in buffers, small change excepted.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.budget.used()
    }

    /// Connections accepted, commands executed and connections refused since the start or CONFIG RESETSTAT.
    #[must_use]
    pub fn counters(&self) -> [u64; 3] {
        let counted = &self.statistics;
        [&counted.connections, &counted.commands, &counted.rejected].map(Counter::get)
    }

    /// What it has counted.
    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Its bounds.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// Measures how many commands there are in a second, for as long as it is polled.
pub(crate) async fn measure_pace(front: Arc<FrontDoor>) {
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut before = 0;
    loop {
        second.tick().await;
        let commands = front.statistics.commands.get();
        // CONFIG RESETSTAT may have come in between.
        front.statistics.commands_per_second.set(commands.saturating_sub(before));
        before = commands;
    }
}
