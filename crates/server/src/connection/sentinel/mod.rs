//! The Sentinel door: where the Sentinel clients of Redis's libraries ask who leads.
//!
//! Nobody needs it to reach the data, since every node takes every command. It is for programs that were written for Redis
//! Sentinel and insist on one. It is a front door like the other, with the same connections, limits and ways to end, but
//! without a keyspace behind it: [`commands`] says what may be asked, [`view`] what a Sentinel would answer about this
//! cluster, and [`news`] tells subscribers of a new leader by `+switch-master`.
//!
//! * Every answer is this node's own view, made of its published status. The shard is asked nothing, so that an answer
//!   comes at once, also from a node that is cut off.
//! * **A leader is named only while this node is in touch with it.** Otherwise GET-MASTER-ADDR-BY-NAME answers nil, and
//!   MASTERS shows the last leader as `s_down`: upon either, clients ask the next Sentinel, or again. Redis's Sentinel would
//!   go on naming the old master, and so send clients to a node that is dead or cut off.
//! * All other nodes are its replicas, and their doors the other Sentinels. What a client reads there is a node that serves
//!   everything, the writes included.
//! * Nothing can be configured here, and no failover be ordered: the cluster looks after itself.

mod commands;
mod news;
mod view;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;

pub(super) use commands::{Asked, understand};
pub use news::announce;
pub(super) use view::View;

use super::{arguments::text, exchange::Exchange};
use crate::{
    config::Address,
    handle::Reply,
    status::{NodeStatus, Peer},
};

/// How a node presents itself at its Sentinel door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelSettings {
    /// What clients call this cluster: `mymaster` in many programs.
    pub master_name: String,
    /// Where the clients of this node's data connect.
    pub advertise: Address,
    /// After how long without a word a node counts as down.
    pub down_after: Duration,
}

/// What makes a front door a Sentinel door.
#[derive(Debug)]
pub(super) struct Sentinel {
    settings: SentinelSettings,
    /// The leader that this node was in touch with last.
    last: Mutex<Option<Master>>,
}

/// A leader, as clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Master {
    node_id: u64,
    host: String,
    port: u16,
}

/// A change of leaders, for those who subscribe to such news.
#[derive(Debug)]
struct Switch {
    /// What is told by `+switch-master`.
    switch: String,
    /// What is told by `+slave`: that the old leader follows the new one, or will.
    slave: String,
    /// Whether the clients of the old leader notice by themselves, since it is gone and its connections with it, or have
    /// found nobody to ask.
    is_noticed: bool,
}

impl Sentinel {
    pub(super) fn new(settings: SentinelSettings) -> Self {
        Self { settings, last: Mutex::new(None) }
    }

    /// What it says while the node's status is this.
    pub(super) fn view<'a>(&'a self, status: &'a NodeStatus) -> View<'a> {
        View::new(&self.settings, status, self.last())
    }

    /// ROLE.
    pub(super) fn role(&self) -> Reply {
        let names = Reply::Array(vec![text(self.settings.master_name.clone())]);
        Reply::Array(vec![Reply::bulk("sentinel"), names])
    }

    /// Remembers the leader of this status. If it is another than before, what subscribers are to be told.
    ///
    /// Of the first one since the start, that is another if there was an election meanwhile. A subscriber who has come back
    /// before it was known may have been told nil, or hold on to the leader of before. That one's name is forgotten here:
    /// some node that follows stands in for it, which is true of the one that has led, too.
    fn observe(&self, status: &NodeStatus) -> Option<Switch> {
        let new = view::leader(status)?;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(new.clone());
        let is_first = last.is_none();
        let old = match last {
            Some(old) if (&old.host, old.port) == (&new.host, new.port) => return None,
            Some(old) => old,
            // A node alone has nobody but itself to have led before.
            None if status.term > status.term_at_start => self.view(status).any_follower()?,
            None => return None,
        };
        let name = &self.settings.master_name;
        let Master { host, port, .. } = &old;
        let switch = format!("{name} {host} {port} {} {}", new.host, new.port);
        let slave = format!("slave {host}:{port} {host} {port} @ {name} {} {}", new.host, new.port);
        let is_gone = |peer: &Peer| peer.node_id == old.node_id && !peer.connected;
        let is_noticed = is_first || status.peers.iter().any(is_gone);
        Some(Switch { switch, slave, is_noticed })
    }

    fn last(&self) -> Option<Master> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// SENTINEL.
pub(super) fn run(exchange: &Exchange, arguments: &[Bytes]) -> Reply {
    let front = &exchange.front;
    let status = front.shard.status();
    let view = front.sentinel.as_ref().map(|sentinel| sentinel.view(&status));
    view.map_or_else(Reply::syntax_error, |view| commands::run(&view, arguments))
}
