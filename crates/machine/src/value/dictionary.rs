//! Names with values, each name once: a hash, the members of a set, and those of a sorted set with their scores.
//!
//! Entries stand in the order of a hash of their names, which has a fixed key. This order has nothing to do with the
//! order in which they came, is the same on every replica, and makes a cursor possible that holds on any node, after
//! a restart, and while entries come and go: it is the hash to go on with. (Redis promises no order either.)

use std::hash::Hasher;

use bytes::Bytes;
use siphasher::sip::SipHasher13;

use super::sequence::{Iter, Sequence};

/// What an entry costs beside its name and value: 60 bytes of a leaf, which is two thirds full on average, 4 of its share
/// of nodes, and what an allocation adds to a name, some 14 bytes, and 32 more from when it was answered or copied for the
/// first time: then its bytes are counted. Measured: 72 to 84 bytes before that, 104 to 116 after.
const ENTRY_BYTES: usize = 92;

/// Names with values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dictionary<V> {
    entries: Sequence<Entry<V>>,
    /// Of names and [`ENTRY_BYTES`]; those of values are their owner's to count.
    bytes: usize,
}

/// A name and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<V> {
    hash: u64,
    pub(crate) name: Bytes,
    pub(crate) value: V,
}

impl<V> Default for Dictionary<V> {
    fn default() -> Self {
        Self { entries: Sequence::default(), bytes: 0 }
    }
}

/// Cursors go through clients that know 53 bits; no entry has hash 0, which is how a scan begins and ends.
fn hash_of(name: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x7175_6f72_6174_6501, 0x656e_7472_6965_7301);
    hasher.write(name);
    (hasher.finish() >> 11).max(1)
}

impl<V> Dictionary<V> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What names and entries take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What one more entry will take, beside its value.
    pub(crate) fn entry_bytes(name: &[u8]) -> usize {
        ENTRY_BYTES + name.len()
    }

    pub(crate) fn iter(&self) -> Iter<'_, Entry<V>> {
        self.entries.iter()
    }

    /// The entry at a place of the order, for a choice by chance.
    pub(crate) fn at(&self, place: usize) -> Option<&Entry<V>> {
        self.entries.get(place)
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<&V> {
        self.place(hash_of(name), name).ok().and_then(|place| self.at(place)).map(|entry| &entry.value)
    }

    /// A name as it is kept.
    pub(crate) fn name(&self, name: &[u8]) -> Option<Bytes> {
        self.place(hash_of(name), name).ok().and_then(|place| self.at(place)).map(|entry| entry.name.clone())
    }

    pub(crate) fn contains(&self, name: &[u8]) -> bool {
        self.get(name).is_some()
    }

    /// Some entries from a cursor on, at least `count` while there are as many, and the cursor to go on with; a scan
    /// begins and ends with 0. Entries of one hash are never parted.
    pub(crate) fn scan(&self, cursor: u64, count: usize) -> (u64, Iter<'_, Entry<V>>) {
        let from = self.entries.partition_point(|entry| entry.hash < cursor);
        let wanted = from.saturating_add(count.max(1));
        match wanted.checked_sub(1).and_then(|last| self.at(last)) {
            None => (0, self.entries.range(from, self.len())),
            Some(last) => {
                let to = self.entries.partition_point(|entry| entry.hash <= last.hash);
                (self.at(to).map_or(0, |next| next.hash), self.entries.range(from, to))
            }
        }
    }

    /// Where a name is, or where it would be.
    fn place(&self, hash: u64, name: &[u8]) -> Result<usize, usize> {
        let place = self.entries.partition_point(|entry| (entry.hash, &entry.name[..]) < (hash, name));
        match self.at(place) {
            Some(entry) if entry.name == name => Ok(place),
            Some(_) | None => Err(place),
        }
    }
}

impl<V: Clone> Dictionary<V> {
    /// Sets the value of a name, and answers the former one. A new name is copied: what it was read from may be a
    /// slice of a whole batch.
    pub(crate) fn insert(&mut self, name: &[u8], value: V) -> Option<V> {
        let hash = hash_of(name);
        match self.place(hash, name) {
            Ok(place) => {
                let name = self.at(place).map(|entry| entry.name.clone()).unwrap_or_default();
                Some(self.entries.replace(place, Entry { hash, name, value }).value)
            }
            Err(place) => {
                self.insert_at(place, Entry { hash, name: Bytes::copy_from_slice(name), value });
                None
            }
        }
    }

    /// Adds a name that is new here and is kept elsewhere, too: its bytes are shared.
    pub(crate) fn share(&mut self, name: Bytes, value: V) {
        let hash = hash_of(&name);
        let place = self.place(hash, &name).expect_err("the name is new");
        self.insert_at(place, Entry { hash, name, value });
    }

    fn insert_at(&mut self, place: usize, entry: Entry<V>) {
        self.bytes += Self::entry_bytes(&entry.name);
        self.entries.insert(place, entry);
    }

    /// See [`Sequence::dismantle`].
    pub(crate) fn dismantle(&mut self, elements: usize) -> usize {
        self.entries.dismantle(elements)
    }

    /// Takes a name out, and answers it as it was kept, with its value.
    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<(Bytes, V)> {
        let place = self.place(hash_of(name), name).ok()?;
        Some(self.remove_at(place))
    }

    /// Takes the entry at a place out.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn remove_at(&mut self, place: usize) -> (Bytes, V) {
        let entry = self.entries.remove(place);
        self.bytes -= Self::entry_bytes(&entry.name);
        (entry.name, entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_dictionary_is_what_a_map_would_be(edits in proptest::collection::vec((0..60u8, any::<Option<u8>>()), 0..200)) {
            let (mut dictionary, mut model) = (Dictionary::default(), BTreeMap::new());
            for (name, value) in edits {
                let key = [b'n', name];
                match value {
                    Some(value) => prop_assert_eq!(dictionary.insert(&key, value), model.insert(name, value)),
                    None => prop_assert_eq!(dictionary.remove(&key).map(|(_, value)| value), model.remove(&name)),
                }
                prop_assert_eq!(dictionary.get(&key), model.get(&name));
                prop_assert_eq!(dictionary.len(), model.len());
            }
            let mut all: Vec<_> = dictionary.iter().map(|entry| (entry.name[1], entry.value)).collect();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(model));
        }

        #[test]
        fn what_stays_is_scanned_once_whatever_comes_and_goes(count in 1..20usize, others in proptest::collection::vec(0..200u8, 0..100)) {
            let mut dictionary = Dictionary::default();
            for stays in 0..100u8 {
                dictionary.insert(&[b's', stays], ());
            }
            let (mut seen, mut cursor, mut others) = (Vec::new(), 0, others.into_iter());
            loop {
                let (next, entries) = dictionary.scan(cursor, count);
                prop_assert!(entries.len() >= count || next == 0);
                seen.extend(entries.filter(|entry| entry.name[0] == b's').map(|entry| entry.name[1]));
                if next == 0 {
                    break;
                }
                cursor = next;
                if let Some(other) = others.next() && dictionary.insert(&[b'o', other], ()).is_some() {
                    dictionary.remove(&[b'o', other]);
                }
            }
            seen.sort_unstable();
            prop_assert!(seen.into_iter().eq(0..100));
        }
    }

    #[test]
    fn the_order_of_names_is_part_of_the_format() {
        let mut dictionary = Dictionary::default();
        for name in [&b"one"[..], b"two", b"three", b"four"] {
            dictionary.insert(name, ());
        }
        let names: Vec<_> = dictionary.iter().map(|entry| entry.name.escape_ascii().to_string()).collect();
        assert_eq!(names, ["four", "one", "three", "two"]);
        assert_eq!(dictionary.bytes(), 4 * ENTRY_BYTES + 15);
        dictionary.remove(b"three");
        assert_eq!(dictionary.bytes(), 3 * ENTRY_BYTES + 10);
    }
}
