//! Breakers by key: one for each host, tenant or shard, made when first asked for.
//!
//! The table is bounded. A breaker goes when nobody has asked for it for `idle_after`, and, when the table is
//! full, the least recently asked for of a few candidates goes early. Three kinds stay whatever the time: those
//! somebody holds a handle or permit of, those a hand has put into a state, and those whose open time has not
//! passed, since forgetting them would let calls through too early.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant};

use super::{Builder, CircuitBreaker};
use crate::clock::{Clock, nanos};
use crate::error::InvalidSetting;

/// How many entries are looked at to find one to give up in a full table.
const CANDIDATES: usize = 16;

/// Breakers of the same settings, by key.
///
/// ```
/// use quorate_resilience::{CircuitBreaker, State, breaker::Registry};
/// use std::time::Duration;
///
/// let hosts = Registry::new(CircuitBreaker::builder(), Duration::from_secs(600), 10_000)?;
/// hosts.get("db-1").trip();
/// assert_eq!(hosts.get("db-1").state(), State::Open);
/// assert_eq!(hosts.get("db-2").state(), State::Closed);
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
pub struct Registry<K> {
    template: Builder,
    clock: Arc<dyn Clock>,
    origin: Instant,
    idle_after: Duration,
    capacity: usize,
    table: RwLock<Table<K>>,
}

struct Table<K> {
    entries: HashMap<K, Entry>,
    swept: Instant,
}

struct Entry {
    breaker: CircuitBreaker,
    /// When it was last asked for, in nanoseconds from the registry's origin.
    asked: AtomicU64,
}

impl<K: Eq + Hash> Registry<K> {
    /// A registry that makes breakers by `template`, forgets those that nobody asked for in `idle_after`, and
    /// holds at most `capacity`, those apart that must not be forgotten.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Registry}; use std::time::Duration;
    /// let idle_after = Duration::from_secs(600);
    /// let hosts = Registry::<String>::new(CircuitBreaker::builder(), idle_after, 10_000)?;
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A template that cannot work, or a capacity of 0.
    pub fn new(template: Builder, idle_after: Duration, capacity: usize) -> Result<Self, InvalidSetting> {
        InvalidSetting::unless(capacity >= 1, "capacity", "must be at least 1")?;
        template.build()?;
        let clock = template.shared_clock();
        let now = clock.now();
        let table = RwLock::new(Table { entries: HashMap::new(), swept: now });
        Ok(Self { template, clock, origin: now, idle_after, capacity, table })
    }

    /// The breaker of a key; a new one if there is none.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Registry}; use std::time::Duration;
    /// let tenants = Registry::new(CircuitBreaker::builder(), Duration::from_secs(600), 1_000)?;
    /// let _ = tenants.get(17).call_blocking(|| "7".parse::<u32>());
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn get(&self, key: K) -> CircuitBreaker {
        let now = self.clock.now();
        let asked = nanos(now.saturating_duration_since(self.origin));
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = table.entries.get(&key) {
            entry.asked.fetch_max(asked, Ordering::Relaxed);
            return entry.breaker.clone();
        }
        drop(table);
        let mut table = self.writable();
        // Another thread may have made it meanwhile.
        if !table.entries.contains_key(&key) {
            self.make_room(&mut table, now);
        }
        let entry = table.entries.entry(key).or_insert_with(|| Entry {
            breaker: self.template.build().expect("the template was built before"),
            asked: AtomicU64::new(asked),
        });
        entry.breaker.clone()
    }

    /// How many breakers there are.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Registry}; use std::time::Duration;
    /// let tenants = Registry::<u32>::new(CircuitBreaker::builder(), Duration::from_secs(600), 1_000)?;
    /// assert!(tenants.is_empty());
    /// tenants.get(17);
    /// assert_eq!(tenants.len(), 1);
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn len(&self) -> usize {
        self.table.read().unwrap_or_else(PoisonError::into_inner).entries.len()
    }

    /// Whether there are none.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Registry}; use std::time::Duration;
    /// assert!(Registry::<u32>::new(CircuitBreaker::builder(), Duration::from_secs(600), 9)?.is_empty());
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets now what has been idle for long enough, which new keys otherwise cause from time to time.
    ///
    /// ```
    /// # use quorate_resilience::{CircuitBreaker, breaker::Registry, clock::ManualClock};
    /// # use std::{sync::Arc, time::Duration};
    /// let clock = Arc::new(ManualClock::new());
    /// let template = CircuitBreaker::builder().clock(Arc::clone(&clock));
    /// let hosts = Registry::new(template, Duration::from_secs(600), 1_000)?;
    /// hosts.get("db-1");
    /// clock.advance(Duration::from_secs(600));
    /// hosts.evict_idle();
    /// assert!(hosts.is_empty());
    /// # Ok::<(), quorate_resilience::InvalidSetting>(())
    /// ```
    pub fn evict_idle(&self) {
        self.sweep(&mut self.writable(), self.clock.now());
    }

    fn writable(&self) -> RwLockWriteGuard<'_, Table<K>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room(&self, table: &mut Table<K>, now: Instant) {
        // A sweep looks at every entry: twice in an idle period is often enough.
        if now.saturating_duration_since(table.swept) >= self.idle_after / 2 {
            self.sweep(table, now);
        }
        if table.entries.len() >= self.capacity {
            give_up_one(table);
        }
    }

    fn sweep(&self, table: &mut Table<K>, now: Instant) {
        let now_nanos = nanos(now.saturating_duration_since(self.origin));
        let idle_nanos = nanos(self.idle_after);
        table.swept = now;
        table.entries.retain(|_, entry| {
            let idle = now_nanos.saturating_sub(entry.asked.load(Ordering::Relaxed));
            idle < idle_nanos || !entry.breaker.is_forgettable()
        });
    }
}

/// Gives up the one of some candidates that was asked for least recently. If none may go, the table grows.
fn give_up_one<K: Eq + Hash>(table: &mut Table<K>) {
    let asked = |entry: &Entry| entry.asked.load(Ordering::Relaxed);
    let candidates = table.entries.values().filter(|entry| entry.breaker.is_forgettable());
    if let Some(oldest) = candidates.take(CANDIDATES).map(asked).min() {
        let is_oldest = |entry: &Entry| asked(entry) == oldest && entry.breaker.is_forgettable();
        drop(table.entries.extract_if(|_, entry| is_oldest(entry)).next());
    }
}
