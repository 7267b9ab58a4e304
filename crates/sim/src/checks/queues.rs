//! Queues: what was put, who took it, and what must still be there.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Failure, Span, check};
use crate::time::SimTime;

/// All queues, whose elements are unique.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// In which queue each element was put, if it was.
    put: BTreeMap<Bytes, String>,
    /// What each client has put in each queue, in order.
    orders: BTreeMap<(String, usize), Vec<Bytes>>,
    acknowledged: BTreeSet<Bytes>,
    refused: BTreeSet<Bytes>,
    /// When somebody asked for an element and got this one.
    taken: BTreeMap<Bytes, Span>,
    /// How many requests may have taken an element without anybody knowing.
    unknown: usize,
}

impl Queues {
    pub(crate) fn put(&mut self, client: usize, key: &str, element: &Bytes) {
        self.orders.entry((key.to_owned(), client)).or_default().push(element.clone());
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

    pub(crate) fn taken(&mut self, key: &Bytes, element: &Bytes, span: Span) -> Result<(), Failure> {
        let text = || format!("{} of {}", String::from_utf8_lossy(element), String::from_utf8_lossy(key));
        let was_put = self.put.get(element).is_some_and(|put| put.as_bytes() == &key[..]);
        check(was_put, "what is taken was put", || format!("{} was never put there", text()))?;
        check(!self.refused.contains(element), "what was refused is not applied", || {
            format!("{} was refused and taken", text())
        })?;
        check(
            self.taken.insert(element.clone(), span).is_none(),
            "each element is taken at most once",
            || format!("{} was taken twice", text()),
        )
    }

    pub(crate) fn len(&self) -> usize {
        self.put.len() + self.taken.len()
    }

    /// The keys of the queues.
    pub(crate) fn keys(&self) -> BTreeSet<String> {
        self.put.values().cloned().collect()
    }

    /// What one client has put is taken in that order: nobody gets a later element, unless somebody else had asked by then
    /// who got the earlier one. What was put at an unknown time has no place in it.
    fn verify_order(&self, left: &BTreeSet<Bytes>) -> Result<(), Failure> {
        for ((key, client), elements) in &self.orders {
            let mut taken_by: Option<(SimTime, &Bytes)> = None;
            for element in elements.iter().rev().filter(|element| self.acknowledged.contains(*element)) {
                let asked = self.taken.get(element).map(|span| span.invoked);
                let is_late = |by: SimTime| asked.map_or(left.contains(element), |asked| asked > by);
                check(!taken_by.is_some_and(|(by, _)| is_late(by)), "queues keep their order", || {
                    let text = |element: &Bytes| String::from_utf8_lossy(element).into_owned();
                    let later = taken_by.map(|(by, later)| format!("{} was taken by {by}", text(later)));
                    format!("{key}: client {client} put {} before, and {later:?}", text(element))
                })?;
                if let Some(span) = self.taken.get(element)
                    && taken_by.is_none_or(|(by, _)| span.completed < by)
                {
                    taken_by = Some((span.completed, element));
                }
            }
        }
        Ok(())
    }

    /// Judges all by what is left in the queues, an element a line.
    pub(crate) fn verify(&self, content: &BTreeMap<String, Bytes>) -> Result<(), Failure> {
        let lines = self.keys().into_iter().filter_map(|key| content.get(&key).cloned());
        let mut left = BTreeSet::new();
        for element in lines.flat_map(|lines| {
            lines.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect::<Vec<_>>()
        }) {
            let text = String::from_utf8_lossy(&element).into_owned();
            check(!self.taken.contains_key(&element), "each element is taken at most once", || {
                format!("{text} was taken and is there")
            })?;
            check(!self.refused.contains(&element), "what was refused is not applied", || {
                format!("{text} was refused and is there")
            })?;
            check(left.insert(element), "each write takes effect at most once", || {
                format!("{text} is there twice")
            })?;
        }
        self.verify_order(&left)?;
        let lost = self
            .acknowledged
            .iter()
            .filter(|element| !self.taken.contains_key(*element) && !left.contains(*element));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue that one client has put 1 and 2 in, after these were taken, each within a time.
    fn judge(taken: &[(&'static str, u64, u64)], left: &'static str) -> Result<(), Failure> {
        let mut queues = Queues::default();
        for element in ["1", "2"].map(Bytes::from) {
            queues.put(7, "queue:0", &element);
            queues.acknowledged("queue:0", &element);
        }
        for &(element, invoked, completed) in taken {
            let at = |micros| SimTime { micros };
            let span = Span { invoked: at(invoked), completed: at(completed) };
            queues.taken(&Bytes::from("queue:0"), &Bytes::from(element), span)?;
        }
        let content = (!left.is_empty()).then(|| ("queue:0".to_owned(), Bytes::from(left)));
        queues.verify(&content.into_iter().collect())
    }

    #[test]
    fn order_of_one_client_is_kept() {
        assert_eq!(judge(&[("1", 1, 2), ("2", 3, 4)], ""), Ok(()));
        assert_eq!(judge(&[("2", 3, 4), ("1", 1, 9)], ""), Ok(()), "both had asked");
        assert_eq!(judge(&[("1", 1, 2)], "2"), Ok(()));
        for (taken, left) in [(&[("2", 1, 2), ("1", 3, 4)][..], ""), (&[("2", 1, 2)], "1")] {
            assert_eq!(judge(taken, left).unwrap_err().property, "queues keep their order");
        }
    }

    #[test]
    fn lost_and_doubled_elements_are_noticed() {
        assert_eq!(judge(&[("1", 1, 2)], "").unwrap_err().property, "nothing acknowledged is lost");
        assert!(judge(&[("1", 1, 2), ("1", 3, 4)], "2").is_err());
        assert!(judge(&[("1", 1, 2)], "1\n2").is_err());
    }
}
