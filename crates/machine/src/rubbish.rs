//! What was removed and is not freed yet.
//!
//! To free millions of elements or keys at once would stop the shard for seconds. So a large collection that is removed,
//! replaced or has expired, and a large database that was flushed, come here instead. Each later call frees a little, and
//! each write twice as much as it takes: data and rubbish together take no more memory than the data did, but for what a
//! single write leaves to the next ones because it would take too long.
//!
//! Nothing here is part of the state: replicas may have different rubbish, as one that was restored has none. What is
//! shared with a snapshot, a journal or another key is let go of, and freed by whoever holds it last.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::database::{Database, Page};
use crate::identifiers::Stamp;
use crate::value::Value;

/// What takes less is freed at once: a thousand elements in some 0.1 ms.
const VALUE_BYTES_MIN: usize = 64 << 10;
/// A thousand keys, or a few values that are just not large.
const DATABASE_BYTES_MIN: u64 = 256 << 10;
/// Elements and keys that each call frees: less than half a millisecond.
const ELEMENTS_A_SWEEP: u64 = 1 << 10;
/// What one write frees at the most, however much it takes: some milliseconds.
const ELEMENTS_A_WRITE: u64 = 1 << 15;

#[derive(Debug, Default)]
pub(crate) struct Rubbish {
    values: Vec<Heap>,
    flushed: Vec<Flushed>,
    /// Bytes that writes have yet to see freed; below 0 where they saw a little more.
    owed_bytes: i64,
}

/// What is left of one collection.
#[derive(Debug)]
struct Heap {
    value: Value,
    /// What goes with each element, on average.
    element_bytes: u64,
}

/// What is left of one database.
#[derive(Debug)]
struct Flushed {
    pages: Vec<Arc<Page>>,
    deadlines: BTreeSet<(Stamp, Bytes)>,
    /// What goes with each page, on average.
    deadlines_a_page: usize,
}

/// How much was freed.
#[derive(Clone, Copy, Debug, Default)]
struct Freed {
    /// And keys.
    elements: u64,
    bytes: u64,
}

impl Rubbish {
    /// Takes what a key had. Returns how many elements were freed at once.
    pub(crate) fn add_value(&mut self, value: Value) -> u64 {
        self.add_after(value, 0)
    }

    /// Takes what a key had, when `freed` elements were freed before in the same call: after many, no value is small.
    pub(crate) fn add_after(&mut self, value: Value, freed: u64) -> u64 {
        let (elements, bytes) = (value.elements() as u64, value.bytes());
        if elements == 0 || (bytes <= VALUE_BYTES_MIN && freed < ELEMENTS_A_SWEEP) {
            return elements;
        }
        self.values.push(Heap { value, element_bytes: bytes as u64 / elements });
        0
    }

    /// Takes a flushed database.
    pub(crate) fn add(&mut self, database: Database) {
        if database.bytes() <= DATABASE_BYTES_MIN {
            return;
        }
        let (mut pages, deadlines) = database.into_parts();
        pages.retain(|page| !page.slots.is_empty());
        let deadlines_a_page = deadlines.len().div_ceil(pages.len());
        self.flushed.push(Flushed { pages, deadlines, deadlines_a_page });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.flushed.is_empty()
    }

    /// Frees a little. Returns how many elements and keys that was.
    pub(crate) fn sweep(&mut self) -> u64 {
        self.free(ELEMENTS_A_SWEEP, u64::MAX).elements
    }

    /// Makes room for `bytes` that were written.
    pub(crate) fn give_way(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.owed_bytes = self.owed_bytes.saturating_add(bytes.saturating_mul(2));
        let freed = self.free(ELEMENTS_A_WRITE, u64::try_from(self.owed_bytes).unwrap_or(0));
        self.owed_bytes = self.owed_bytes.saturating_sub_unsigned(freed.bytes);
        if self.is_empty() {
            self.owed_bytes = 0;
        }
    }

    /// Frees leaf by leaf and page by page, until so many elements or bytes are gone.
    fn free(&mut self, elements: u64, bytes: u64) -> Freed {
        let mut freed = Freed::default();
        while freed.elements < elements && freed.bytes < bytes {
            let step = match self.values.last_mut() {
                Some(heap) => {
                    let step = heap.free_leaf();
                    self.values.pop_if(|heap| heap.value.elements() == 0);
                    step
                }
                None if self.flushed.is_empty() => break,
                None => self.free_page(),
            };
            freed.elements += step.elements;
            freed.bytes += step.bytes;
        }
        freed
    }

    /// Large values in the page come after it.
    fn free_page(&mut self) -> Freed {
        let Some(flushed) = self.flushed.last_mut() else { return Freed::default() };
        for _ in 0..flushed.deadlines_a_page {
            flushed.deadlines.pop_first();
        }
        let page = flushed.pages.pop();
        self.flushed.pop_if(|flushed| flushed.pages.is_empty());
        // To let go of a page that a snapshot holds frees nothing.
        let Some(page) = page.and_then(Arc::into_inner) else { return Freed { elements: 1, bytes: 0 } };
        let mut freed = Freed::default();
        for (key, slot) in page.slots {
            let (bytes, heaps) = (slot.bytes(&key), self.values.len());
            freed.elements += 1 + self.add_after(slot.value, freed.elements);
            if self.values.len() == heaps {
                freed.bytes += bytes;
            }
        }
        freed
    }
}

impl Heap {
    fn free_leaf(&mut self) -> Freed {
        let elements = self.value.dismantle(1) as u64;
        Freed { elements, bytes: elements * self.element_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Slot;
    use crate::identifiers::{FencingToken, Version};
    use crate::value::{List, SortedSet};

    fn list(elements: u32) -> Value {
        let mut list = List::default();
        (0..elements).for_each(|element| list.push_back(&element.to_be_bytes()));
        Value::List(list)
    }

    #[test]
    fn large_values_of_every_type_are_freed_in_bounded_steps() {
        let mut sorted = SortedSet::default();
        let score = crate::value::Score::new(1.0).expect("a number");
        for member in 0..10_000u32 {
            sorted.insert(&member.to_be_bytes(), score);
        }
        let mut rubbish = Rubbish::default();
        let string = Value::String(Bytes::from(vec![0; 1 << 20]));
        let values = [list(10_000), Value::SortedSet(sorted), list(10), string];
        assert_eq!(values.map(|value| rubbish.add_value(value)), [0, 0, 10, 0]);
        let mut freed = Vec::new();
        while !rubbish.is_empty() {
            freed.push(rubbish.sweep());
        }
        assert_eq!(freed.iter().sum::<u64>(), 30_000);
        assert!(freed.iter().all(|freed| *freed < 1_100), "{freed:?}");
    }

    #[test]
    fn a_huge_value_of_a_flushed_database_is_freed_like_any_other() {
        let mut database = Database::default();
        let slot = Slot { value: list(10_000), deadline: None, token: FencingToken(1), version: Version(1) };
        let bytes = slot.bytes(b"huge");
        database.put(b"huge", slot);
        let mut rubbish = Rubbish::default();
        rubbish.add(database);
        // As many bytes as it took are freed once half as many were written, however these are cut.
        let mut written = 0;
        while !rubbish.is_empty() {
            rubbish.give_way(1_000);
            written += 1_000;
        }
        assert!((bytes / 3..=bytes * 2 / 3).contains(&written), "{written} written for {bytes}");
        rubbish.add_value(list(200_000));
        rubbish.give_way(u64::MAX);
        assert!(!rubbish.is_empty(), "one write frees so many elements at the most");
    }
}
