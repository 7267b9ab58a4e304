//! Members with scores, in the order of the scores: a dictionary for asking by name, and a sorted sequence for asking
//! by score or rank. Both share the bytes of a name.

use std::cmp::Ordering;

use bytes::Bytes;

use super::dictionary::Dictionary;
use super::sequence::{Iter, Sequence};

/// What a member costs beside the dictionary's entry: 60 bytes of a leaf, its share of nodes, and the score in the entry.
/// Its name is always shared. Measured with the entry: 162 to 184 bytes.
const RANKED_BYTES: usize = 80;

/// A member's score: any double but NaN. Both zeros are one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score(f64);

impl Score {
    /// `None` for NaN.
    pub(crate) fn new(value: f64) -> Option<Self> {
        // To add 0 makes a positive zero of a negative one.
        (!value.is_nan()).then_some(Self(value + 0.0))
    }

    pub(crate) fn value(self) -> f64 {
        self.0
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A member in the order of scores, and of names within one score.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ranked {
    pub(crate) score: Score,
    pub(crate) name: Bytes,
}

/// Members with scores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SortedSet {
    members: Dictionary<Score>,
    order: Sequence<Ranked>,
}

impl SortedSet {
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.members.bytes() + self.len() * RANKED_BYTES
    }

    /// What one more member will take.
    pub(crate) fn member_bytes(name: &[u8]) -> usize {
        Dictionary::<Score>::entry_bytes(name) + RANKED_BYTES
    }

    /// The members by name, for scans and choices by chance.
    pub(crate) fn members(&self) -> &Dictionary<Score> {
        &self.members
    }

    pub(crate) fn score(&self, name: &[u8]) -> Option<Score> {
        self.members.get(name).copied()
    }

    /// How many members stand in front of this one.
    pub(crate) fn rank(&self, name: &[u8]) -> Option<usize> {
        let score = self.score(name)?;
        Some(self.order.partition_point(|ranked| (ranked.score, &ranked.name[..]) < (score, name)))
    }

    /// The first rank whose member is not `before`, which must hold for all in front of one for which it holds.
    pub(crate) fn partition_point(&self, before: impl Fn(&Ranked) -> bool) -> usize {
        self.order.partition_point(before)
    }

    /// As [`SortedSet::partition_point`] for what need not hold for all in front, as for names where scores differ: a
    /// rank that is the same in all equal sets, see [`Sequence::bisect`].
    pub(crate) fn bisect(&self, before: impl Fn(&Ranked) -> bool) -> usize {
        self.order.bisect(before)
    }

    /// The members of the ranks from one up to, not including, another.
    pub(crate) fn range(&self, from: usize, to: usize) -> Iter<'_, Ranked> {
        self.order.range(from, to)
    }

    /// Gives a member a score; answers its former one.
    pub(crate) fn insert(&mut self, name: &[u8], score: Score) -> Option<Score> {
        let former = self.remove(name);
        self.members.insert(name, score);
        let place = self.order.partition_point(|ranked| (ranked.score, &ranked.name[..]) < (score, name));
        self.order.insert(place, Ranked { score, name: self.members.name(name).unwrap_or_default() });
        former
    }

    /// Adds a member of another set, which must be new here and come behind all others.
    pub(crate) fn append(&mut self, ranked: &Ranked) {
        self.members.share(ranked.name.clone(), ranked.score);
        self.order.push_back(ranked.clone());
    }

    pub(crate) fn remove(&mut self, name: &[u8]) -> Option<Score> {
        let rank = self.rank(name)?;
        Some(self.take(rank).score)
    }

    /// See [`Sequence::dismantle`]. Each member counts twice, as it is in two trees.
    pub(crate) fn dismantle(&mut self, elements: usize) -> usize {
        let freed = self.members.dismantle(elements);
        freed + self.order.dismantle(elements.saturating_sub(freed))
    }

    /// Takes the member of a rank out.
    ///
    /// # Panics
    /// If there is none.
    pub(crate) fn take(&mut self, rank: usize) -> Ranked {
        let ranked = self.order.remove(rank);
        self.members.remove(&ranked.name);
        ranked
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn a_sorted_set_is_what_a_sorted_list_would_be(edits in proptest::collection::vec((0..40u8, proptest::option::of(-3..3i8)), 0..150)) {
            let (mut set, mut model) = (SortedSet::default(), BTreeMap::new());
            for (name, score) in edits {
                let (former, expected) = match score {
                    Some(score) => (set.insert(&[name], Score(score.into())), model.insert(vec![name], score)),
                    None => (set.remove(&[name]), model.remove(&vec![name])),
                };
                prop_assert_eq!(former.map(Score::value), expected.map(f64::from));
                let mut appended = SortedSet::default();
                set.range(0, set.len()).for_each(|ranked| appended.append(ranked));
                prop_assert_eq!((&appended, appended.bytes()), (&set, set.bytes()));
                let mut sorted: Vec<_> = model.iter().map(|(name, score)| (*score, name.clone())).collect();
                sorted.sort();
                prop_assert_eq!(set.len(), sorted.len());
                for (rank, (ranked, (score, name))) in set.range(0, set.len()).zip(&sorted).enumerate() {
                    prop_assert_eq!((ranked.score.value(), &ranked.name[..]), (f64::from(*score), &name[..]));
                    prop_assert_eq!(set.rank(name), Some(rank));
                    prop_assert_eq!(set.score(name), Some(ranked.score));
                }
            }
        }
    }

    #[test]
    fn scores_have_one_zero_and_are_never_nan() {
        assert_eq!(Score::new(-0.0), Score::new(0.0));
        assert_eq!(Score::new(f64::NAN), None);
        assert!(Score::new(f64::NEG_INFINITY) < Score::new(f64::INFINITY));
    }

    #[test]
    fn what_leaves_is_no_longer_counted() {
        let mut set = SortedSet::default();
        set.insert(b"one", Score(1.0));
        set.insert(b"two", Score(2.0));
        assert_eq!(set.bytes(), 2 * SortedSet::member_bytes(b"one"));
        assert_eq!(&set.take(0).name[..], b"one");
        assert_eq!(set.rank(b"two"), Some(0));
        set.remove(b"two");
        assert_eq!((set.bytes(), set.is_empty()), (0, true));
    }
}
