//! What clients have seen, thing by thing, and the judgement at the end.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    Failure, arrivals::Arrivals, barriers::Barriers, calls::Calls, check, elections::Elections,
    forced::Forced, holders::Holders, notices::Notices, permits::Permits, queues::Queues, refusals::Refusals,
    sequence::Sequence, sessions::Sessions, wishes::Wishes,
};
use crate::{
    time::SimTime,
    workload::{
        self,
        auditor::{Key, SESSIONS},
    },
};

/// Everything that clients have seen in one run.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Strings that only grow, by key. A place is a number of entries.
    pub(crate) appends: BTreeMap<String, Appends>,
    /// Counters by key.
    pub(crate) counters: BTreeMap<String, Sequence>,
    /// Fencing tokens by lock: each acquisition is a write whose place is its token.
    pub(crate) tokens: BTreeMap<String, Sequence>,
    pub(crate) holders: Holders,
    pub(crate) forced: Forced,
    pub(crate) elections: Elections,
    pub(crate) notices: Notices,
    pub(crate) permits: Permits,
    pub(crate) sessions: Sessions,
    pub(crate) arrivals: Arrivals,
    pub(crate) refusals: Refusals,
    pub(crate) barriers: Barriers,
    pub(crate) queues: Queues,
    pub(crate) wishes: Wishes,
    /// Until then clients that look closely do so.
    pub(crate) excited_until: SimTime,
    /// The keys that only ever had a time-to-live: in the end they are gone.
    pub(crate) mortal: BTreeSet<String>,
    /// What the last client of each node has read.
    pub(crate) audits: BTreeMap<usize, BTreeMap<String, Bytes>>,
    pub(crate) calls: Calls,
}

/// A lock whose holder has died comes free, and a lease that is not renewed ends: not early, but it does.
pub(crate) const EXPIRES: &str = "what has a time-to-live expires";

/// The length of one appended entry: all are equally long, so that a length is a place.
pub(crate) const APPEND_BYTES: usize = 12;

/// The history of a string that clients append unique entries to.
#[derive(Debug)]
pub(crate) struct Appends {
    pub(crate) sequence: Sequence,
    /// What was appended and acknowledged, with its place.
    pub(crate) acknowledged: Vec<(u64, Bytes)>,
    /// What was refused: it must never show up.
    pub(crate) refused: Vec<Bytes>,
    /// The longest content that a read has seen.
    seen: Bytes,
}

impl Appends {
    fn new(key: &str) -> Self {
        Self {
            sequence: Sequence::new(key),
            acknowledged: Vec::new(),
            refused: Vec::new(),
            seen: Bytes::new(),
        }
    }

    /// Takes in what a read has seen: always more of the same string. The place of the last entry.
    pub(crate) fn see(&mut self, content: &Bytes) -> Result<u64, Failure> {
        check(content.len().is_multiple_of(APPEND_BYTES), "each write takes effect as a whole", || {
            format!("a string of {} bytes, made of entries of {APPEND_BYTES}", content.len())
        })?;
        let (short, long) =
            if content.len() < self.seen.len() { (content, &self.seen) } else { (&self.seen, content) };
        check(long.starts_with(short), "nothing acknowledged is lost", || {
            "a read saw a string that does not begin as another read saw it".to_owned()
        })?;
        self.seen = long.clone();
        Ok((content.len() / APPEND_BYTES) as u64)
    }

    fn verify(&self, key: &str, content: &Bytes) -> Result<(), Failure> {
        let mut places: BTreeMap<&[u8], u64> = BTreeMap::new();
        for (place, entry) in (1..).zip(content.chunks(APPEND_BYTES)) {
            let before = places.insert(entry, place);
            check(before.is_none(), "each write takes effect at most once", || {
                format!("{key}: {} stands there twice", String::from_utf8_lossy(entry))
            })?;
        }
        for (place, entry) in &self.acknowledged {
            let found = places.get(&entry[..]).copied();
            check(found == Some(*place), "nothing acknowledged is lost", || {
                format!(
                    "{key}: {} was acknowledged at {place} and is at {found:?}",
                    String::from_utf8_lossy(entry)
                )
            })?;
        }
        for entry in &self.refused {
            check(!places.contains_key(&entry[..]), "what was refused is not applied", || {
                format!("{key}: {} was refused and is there", String::from_utf8_lossy(entry))
            })?;
        }
        self.sequence.verify_count(places.len() as u64)?;
        self.sequence.verify_order()
    }
}

impl History {
    pub(crate) fn appends(&mut self, key: &str) -> &mut Appends {
        self.appends.entry(key.to_owned()).or_insert_with(|| Appends::new(key))
    }

    pub(crate) fn counter(&mut self, key: &str) -> &mut Sequence {
        self.counters.entry(key.to_owned()).or_insert_with(|| Sequence::new(key))
    }

    pub(crate) fn tokens(&mut self, lock: &str) -> &mut Sequence {
        self.tokens.entry(lock.to_owned()).or_insert_with(|| Sequence::new(format!("tokens of {lock}")))
    }

    /// The keys whose final content is needed for the judgement.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let texts = self.appends.keys().chain(self.counters.keys()).chain(&self.mortal);
        let called = self.calls.keys().into_iter().map(|key| String::from_utf8_lossy(&key).into_owned());
        let others = self.queues.keys().into_iter().map(Key::Queue).chain(called.map(Key::Called));
        let sessions = (!self.sessions.is_empty()).then_some(Key::Sessions);
        texts.cloned().map(Key::Text).chain(others).chain(sessions).collect()
    }

    /// Judges everything, with the final content of [`Self::keys`]. How many operations that were, and how many
    /// histories were too hard.
    pub(crate) fn verify(&self, content: &BTreeMap<String, Bytes>) -> Result<Judged, Failure> {
        let none = Bytes::new();
        let mut judged = Judged::default();
        for (key, appends) in &self.appends {
            appends.verify(key, content.get(key).unwrap_or(&none))?;
            judged.operations += appends.sequence.len();
        }
        for (key, counter) in &self.counters {
            let text = content.get(key).map_or("0".into(), |bytes| String::from_utf8_lossy(bytes));
            let last = text
                .parse()
                .map_err(|_| Failure::new("each write takes effect once", format!("{key} holds {text}")))?;
            counter.verify_count(last)?;
            counter.verify_order()?;
            judged.operations += counter.len();
        }
        for tokens in self.tokens.values() {
            tokens.verify_order()?;
            judged.operations += tokens.len();
        }
        self.holders.verify(&self.forced)?;
        judged.operations += self.holders.len() + self.forced.len();
        self.elections.verify()?;
        judged.operations += self.elections.len();
        self.notices.verify(&self.tokens)?;
        judged.operations += self.notices.len();
        self.permits.verify(workload::permits::LIMIT)?;
        judged.operations += self.permits.len();
        self.sessions.verify()?;
        judged.operations += self.sessions.len();
        self.arrivals.verify()?;
        judged.operations += self.arrivals.len() + self.refusals.len();
        self.barriers.verify()?;
        judged.operations += self.barriers.len();
        self.queues.verify(content)?;
        let mortal = self.mortal.iter().map(String::as_str);
        for key in mortal.chain([SESSIONS]) {
            let left = content.get(key);
            check(left.is_none(), EXPIRES, || {
                format!("{key} holds {left:?} though all its deadlines are over")
            })?;
        }
        judged.operations += self.queues.len();
        let calls = self.calls.verify()?;
        judged.operations += calls.operations;
        judged.undecided += calls.undecided;
        Ok(judged)
    }
}

/// What a judgement was based on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) operations: usize,
    /// Histories without a verdict.
    pub(crate) undecided: usize,
}
