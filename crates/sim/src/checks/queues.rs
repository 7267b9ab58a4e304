//! Queues: what was put, who took it, and what must still be there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Failure, check};

/// All queues, whose elements are unique.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// In which queue each element was put, if it was.
    put: BTreeMap<Bytes, String>,
    acknowledged: BTreeSet<Bytes>,
    refused: BTreeSet<Bytes>,
    taken: BTreeSet<Bytes>,
    /// How many requests may have taken an element without anybody knowing.
    unknown: usize,
}

impl Queues {
    pub(crate) fn put(&mut self, key: &str, element: &Bytes) {
        self.put.insert(element.clone(), key.to_owned());
    }

    pub(crate) fn acknowledged(&mut self, key: &str, element: &Bytes) {
        debug_assert!(self.put.get(element).is_some_and(|put| put == key));
        self.acknowledged.insert(element.clone());
    }

    pub(crate) fn refused(&mut self, element: &Bytes) {
        self.refused.insert(element.clone());
    }

    pub(crate) fn lost_sight(&mut self) {
        self.unknown += 1;
    }

    pub(crate) fn taken(&mut self, key: &Bytes, element: &Bytes) -> Result<(), Failure> {
        let text = || format!("{} of {}", String::from_utf8_lossy(element), String::from_utf8_lossy(key));
        let was_put = self.put.get(element).is_some_and(|put| put.as_bytes() == &key[..]);
        check(was_put, "what is taken was put", || format!("{} was never put there", text()))?;
        check(!self.refused.contains(element), "what was refused is not applied", || {
            format!("{} was refused and taken", text())
        })?;
        check(self.taken.insert(element.clone()), "each element is taken at most once", || {
            format!("{} was taken twice", text())
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.put.len() + self.taken.len()
    }

    /// The keys of the queues.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.put.values().cloned().collect()
    }

    /// Judges all by what is left in the queues, an element a line.
    pub(crate) fn verify(&self, content: &BTreeMap<String, Bytes>) -> Result<(), Failure> {
        let lines = self.keys().into_iter().filter_map(|key| content.get(&key).cloned());
        let mut left = BTreeSet::new();
        for element in lines.flat_map(|lines| {
            lines.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect::<Vec<_>>()
        }) {
            let text = String::from_utf8_lossy(&element).into_owned();
            check(!self.taken.contains(&element), "each element is taken at most once", || {
                format!("{text} was taken and is there")
            })?;
            check(!self.refused.contains(&element), "what was refused is not applied", || {
                format!("{text} was refused and is there")
            })?;
            check(left.insert(element), "each write takes effect at most once", || {
                format!("{text} is there twice")
            })?;
        }
        let lost = self
            .acknowledged
            .iter()
            .filter(|element| !self.taken.contains(*element) && !left.contains(*element));
        let lost: Vec<String> = lost.map(|element| String::from_utf8_lossy(element).into_owned()).collect();
        check(lost.len() <= self.unknown, "nothing acknowledged is lost", || {
            format!(
                "{} requests have an unknown outcome, but these are gone: {}",
                self.unknown,
                lost.join(" ")
            )
        })
    }
}
