//! Figures about this process, counted where things happen and shown by `/metrics`.
//!
//! Counting is one relaxed atomic addition, without a lock: whoever counts never waits for whoever looks. What is derived
//! from the node's state (role, term, positions) is not counted here: it is in the [`crate::status::NodeStatus`] that the
//! shard publishes. What clients do is counted by their front door.
//!
//! [`catalogue`] says what each figure means, [`exposition`] writes them in Prometheus's text format.

mod catalogue;
pub(crate) mod exposition;
#[cfg(test)]
mod tests;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::status::Durations;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts one more.
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    /// Counts `more`.
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// The number so far.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Begins anew: CONFIG RESETSTAT.
    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    /// The number is now this.
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number as it was set last.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper ends of a histogram's buckets in microseconds.
const BUCKETS_US: [u64; Durations::ENDS_US.len()] = Durations::ENDS_US;

/// How long something took, by buckets.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// Durations of up to the bucket's end and beyond the one before.
    buckets: [Counter; BUCKETS_US.len()],
    /// Those beyond the last bucket's end.
    beyond: Counter,
    sum_us: Counter,
}

impl Histogram {
    /// Counts one duration.
    pub(crate) fn record(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_US.partition_point(|&end| end < micros);
        self.buckets.get(bucket).unwrap_or(&self.beyond).increment();
        self.sum_us.add(micros);
    }

    /// All of them together.
    pub(crate) fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us.get())
    }

    /// How many there are in each bucket, those beyond the last one behind it.
    pub(crate) fn durations(&self) -> Durations {
        Durations(self.buckets.iter().chain([&self.beyond]).map(Counter::get).collect())
    }
}

/// What shard, log and snapshots count.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// On the leader, how long it took from handing an entry out until it was applied.
    pub(crate) commit: Histogram,
    /// How long each fdatasync of the log took.
    pub(crate) log_sync: Histogram,
    /// How long a step of the shard took, from its first input to its last output.
    pub(crate) step: Histogram,
    /// Inputs of all kinds that the shard has taken.
    pub(crate) inputs: Counter,
    /// Requests of clients that the shard has taken.
    pub(crate) requests: Counter,
    /// Answers that the shard has given.
    pub(crate) answers: Counter,
    /// Writes handed to the log's thread.
    pub(crate) log_writes: Counter,
    /// Bytes of entries written to the log.
    pub(crate) log_written_bytes: Counter,
    /// Messages to peers.
    pub(crate) messages_sent: Counter,
    /// Messages from peers.
    pub(crate) messages_received: Counter,
    /// How often this node stood for election.
    pub(crate) elections: Counter,
    /// How often it has come to know another leader.
    pub(crate) leader_changes: Counter,
    /// Tasks that wait for the log's thread.
    pub(crate) log_queue: Gauge,
    /// Tasks that wait for the snapshots' thread.
    pub(crate) snapshot_queue: Gauge,
    /// Inputs that wait for the shard.
    pub(crate) input_queue: Gauge,
    /// Bytes that wait for peers.
    pub(crate) peer_queue_bytes: Gauge,
    /// Bytes that can still be written to the data folder's disk.
    pub(crate) disk_available_bytes: Gauge,
    /// What becomes of snapshots.
    pub(crate) snapshots: SnapshotMetrics,
}

/// What the snapshots' thread counts.
#[derive(Debug, Default)]
pub(crate) struct SnapshotMetrics {
    /// How long the writing of one of this node's own took.
    pub(crate) making: Histogram,
    /// Those that could not be made, or were received and rejected.
    pub(crate) failures: Counter,
    /// The size of the last one.
    pub(crate) bytes: Gauge,
    /// Bytes written of the one that is being made.
    pub(crate) made_bytes: Gauge,
    /// Bytes of the one that is being received.
    pub(crate) received_bytes: Gauge,
    /// The size of that one.
    pub(crate) received_bytes_max: Gauge,
    /// Bytes read for peers.
    pub(crate) sent_bytes: Counter,
}
