//! Who is connected: the registry behind CLIENT LIST and CLIENT KILL, and the count behind `maxclients`.
//!
//! A connection describes itself here once per batch of commands, never per command, under a lock of its own
//! that only CLIENT LIST and KILL ever contend for.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use tokio::sync::Notify;

use crate::{
    handle::{ConnId, Reply},
    subscriptions::Listening,
};

/// The connections of a front door, by id.
#[derive(Debug, Default)]
pub(super) struct Clients {
    connected: Mutex<BTreeMap<ConnId, Arc<Client>>>,
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The client's address.
    pub remote: SocketAddr,
    /// The address at which it reached this node.
    pub local: SocketAddr,
}

/// What others may know of a connection.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: ConnId,
    pub(super) endpoints: Endpoints,
    since: Instant,
    summons: Notify,
    is_killed: AtomicBool,
    details: Mutex<Details>,
}

/// What others want of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Summons {
    /// That it end at once: CLIENT KILL.
    Kill,
    /// That it end as soon as nothing is owed, since its node cannot serve it any longer.
    Dismissal,
}

/// The part of a connection's description that changes.
#[derive(Clone, Debug)]
pub(super) struct Details {
    pub(super) name: String,
    pub(super) library_name: String,
    pub(super) library_version: String,
    pub(super) db: u32,
    pub(super) protocol: u8,
    /// Commands queued by MULTI; none outside of it.
    pub(super) queued: Option<usize>,
    pub(super) listening: Listening,
    pub(super) input_bytes: usize,
    pub(super) input_free: usize,
    pub(super) output_bytes: usize,
    pub(super) no_evict: bool,
    pub(super) no_touch: bool,
    /// The last command, `client|list` for a subcommand.
    pub(super) command: &'static str,
    pub(super) last_active: Instant,
}

impl Clients {
    /// Adds a connection, unless there are `max` already.
    pub(super) fn admit(&self, id: ConnId, endpoints: Endpoints, max: usize) -> Option<Arc<Client>> {
        let mut connected = self.lock();
        if connected.len() >= max {
            return None;
        }
        let client = Arc::new(Client::new(id, endpoints));
        connected.insert(id, client.clone());
        Some(client)
    }

    pub(super) fn remove(&self, id: ConnId) {
        self.lock().remove(&id);
    }

    pub(super) fn contains(&self, id: ConnId) -> bool {
        self.lock().contains_key(&id)
    }

    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// All of them, oldest first.
    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ConnId, Arc<Client>>> {
        // The map is whole after each call above, so a panic elsewhere cannot have left it half-changed.
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    pub(super) fn new(id: ConnId, endpoints: Endpoints) -> Self {
        let now = Instant::now();
        let details = Details {
            name: String::new(),
            library_name: String::new(),
            library_version: String::new(),
            db: 0,
            protocol: 2,
            queued: None,
            listening: Listening::default(),
            input_bytes: 0,
            input_free: 0,
            output_bytes: 0,
            no_evict: false,
            no_touch: false,
            command: "NULL",
            last_active: now,
        };
        Self {
            id,
            endpoints,
            since: now,
            summons: Notify::new(),
            is_killed: AtomicBool::new(false),
            details: Mutex::new(details),
        }
    }

    pub(super) fn details(&self) -> MutexGuard<'_, Details> {
        self.details.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the connection to end; at once, or when it next looks.
    pub(super) fn kill(&self) {
        self.is_killed.store(true, Ordering::Release);
        self.summons.notify_one();
    }

    /// Asks the connection to end as soon as nothing is owed.
    pub(super) fn dismiss(&self) {
        self.summons.notify_one();
    }

    /// Resolves when something is wanted of the connection.
    pub(super) async fn summoned(&self) -> Summons {
        self.summons.notified().await;
        match self.is_killed.load(Ordering::Acquire) {
            true => Summons::Kill,
            false => Summons::Dismissal,
        }
    }

    /// Seconds since it connected.
    pub(super) fn age_s(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.since).as_secs()
    }

    /// The line of CLIENT LIST, without its end.
    pub(super) fn describe(&self, now: Instant) -> String {
        let details = self.details();
        let idle = now.saturating_duration_since(details.last_active).as_secs();
        let multi = details.queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX));
        let memory = details.input_bytes + details.input_free + details.output_bytes;
        let mut line = format!(
            "id={} addr={} laddr={} fd=0 name={} age={} idle={idle} flags={} db={} sub={} psub={} ssub={} multi={multi} \
             qbuf={} qbuf-free={} argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={} tot-mem={memory} \
             events=r cmd={} user=default redir=-1 resp={}",
            self.id.0,
            self.endpoints.remote,
            self.endpoints.local,
            details.name,
            self.age_s(now),
            details.flags(),
            details.db,
            details.listening.channels,
            details.listening.patterns,
            details.listening.sharded,
            details.input_bytes,
            details.input_free,
            details.output_bytes,
            details.command,
            details.protocol,
        );
        // Writing to a string cannot fail.
        let _ = write!(line, " lib-name={} lib-ver={}", details.library_name, details.library_version);
        line
    }
}

impl Details {
    /// Redis's letters: `P` listens, `x` in MULTI, `e` not to be evicted, `T` does not touch, `N` none of them.
    fn flags(&self) -> String {
        let flags = [
            (self.listening.is_any(), 'P'),
            (self.queued.is_some(), 'x'),
            (self.no_evict, 'e'),
            (self.no_touch, 'T'),
        ];
        let flags: String = flags.iter().filter_map(|(set, letter)| set.then_some(*letter)).collect();
        if flags.is_empty() { "N".into() } else { flags }
    }
}

/// The argument as a name for CLIENT LIST, whose lines are divided by spaces; empty is allowed, and means none.
pub(super) fn readable_name(argument: &[u8]) -> Result<&str, Reply> {
    std::str::from_utf8(argument)
        .ok()
        .filter(|name| name.len() <= NAME_BYTES_MAX && name.bytes().all(|byte| byte.is_ascii_graphic()))
        .ok_or(Reply::error("ERR Client names cannot contain spaces, newlines or special characters."))
}

/// Names are kept for each connection and written into each CLIENT LIST, so they are short.
const NAME_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Endpoints {
        Endpoints { remote: ([127, 0, 0, 1], 5).into(), local: ([127, 0, 0, 1], 7379).into() }
    }

    #[test]
    fn no_more_than_the_maximum_are_admitted() {
        let clients = Clients::default();
        assert!(clients.admit(ConnId(1), endpoints(), 1).is_some());
        assert!(clients.admit(ConnId(2), endpoints(), 1).is_none());
        clients.remove(ConnId(1));
        assert!(clients.admit(ConnId(2), endpoints(), 1).is_some());
    }

    #[tokio::test]
    async fn who_is_killed_after_a_dismissal_ends_at_once() {
        let client = Client::new(ConnId(1), endpoints());
        client.dismiss();
        assert_eq!(client.summoned().await, Summons::Dismissal);
        client.dismiss();
        client.kill();
        assert_eq!(client.summoned().await, Summons::Kill);
    }

    #[test]
    fn a_client_is_described_as_redis_does() {
        let client = Client::new(ConnId(7), endpoints());
        client.details().queued = Some(2);
        let line = client.describe(Instant::now());
        assert!(
            line.starts_with(
                "id=7 addr=127.0.0.1:5 laddr=127.0.0.1:7379 fd=0 name= age=0 idle=0 flags=x db=0 "
            )
        );
        assert!(line.contains(" multi=2 ") && line.ends_with(" resp=2 lib-name= lib-ver="), "{line}");
    }
}
