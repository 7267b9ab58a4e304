//! Everything that is replicated: what a snapshot holds and [`crate::Machine::hash`] covers.

use crate::cluster_version::ClusterVersion;
use crate::force_release::ForceReleases;
use crate::identifiers::Stamp;
use crate::keyspace::Keyspace;
use crate::publication::Publications;
use crate::requests::Requests;
use crate::script_cache::ScriptCache;
use crate::session::Sessions;
use crate::settings::Limits;

#[derive(Debug)]
pub(crate) struct State {
    /// The last entry applied to its end; 0: none.
    pub(crate) applied: u64,
    /// The stamp of the last entry begun.
    pub(crate) stamp: Stamp,
    /// The active version: the greatest of all entries begun.
    pub(crate) active: ClusterVersion,
    /// The entry by which it became [`ClusterVersion::REHEARSED`]; 0 before that.
    pub(crate) rehearsed_at: u64,
    /// `None` until the first leader has said what cluster this is.
    pub(crate) cluster_id: Option<u128>,
    /// What the calendar shows beyond cluster time, in milliseconds.
    pub(crate) calendar_offset_ms: i64,
    pub(crate) settings: Limits,
    pub(crate) keyspace: Keyspace,
    pub(crate) sessions: Sessions,
    pub(crate) scripts: ScriptCache,
    pub(crate) requests: Requests,
    pub(crate) force_releases: ForceReleases,
    /// The one thing here that is not replicated: a message is nothing that anybody could still ask for.
    pub(crate) publications: Publications,
}

impl State {
    pub(crate) fn new(settings: Limits) -> Self {
        Self {
            applied: 0,
            stamp: Stamp(0),
            active: ClusterVersion::FIRST,
            rehearsed_at: 0,
            cluster_id: None,
            calendar_offset_ms: 0,
            settings,
            keyspace: Keyspace::new(),
            sessions: Sessions::default(),
            scripts: ScriptCache::default(),
            requests: Requests::default(),
            force_releases: ForceReleases::default(),
            publications: Publications::default(),
        }
    }

    /// The calendar's time at a stamp, in milliseconds since 1970.
    pub(crate) fn calendar_of(&self, stamp: Stamp) -> i64 {
        i64::try_from(stamp.0).unwrap_or(i64::MAX).saturating_add(self.calendar_offset_ms)
    }
}
