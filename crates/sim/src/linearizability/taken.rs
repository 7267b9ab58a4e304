//! Which operations of a history have been taken: a set of positions, of any size.

/// A set of positions below a length that it was made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Taken {
    words: Box<[u64]>,
}

impl Taken {
    pub(super) fn none_of(length: usize) -> Self {
        Self { words: vec![0; length.div_ceil(WORD)].into() }
    }

    pub(super) fn contains(&self, at: usize) -> bool {
        self.words[at / WORD] & bit(at) != 0
    }

    pub(super) fn insert(&mut self, at: usize) {
        self.words[at / WORD] |= bit(at);
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.words[at / WORD] &= !bit(at);
    }

    /// The first position that is not in it; it may lie behind the last one there is.
    pub(super) fn first_absent(&self) -> usize {
        let full = self.words.iter().take_while(|word| **word == u64::MAX).count();
        full * WORD + self.words.get(full).map_or(0, |word| word.trailing_ones() as usize)
    }
}

const WORD: usize = u64::BITS as usize;

fn bit(at: usize) -> u64 {
    1 << (at % WORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_and_go_over_the_bounds_of_words() {
        let mut taken = Taken::none_of(130);
        (0..129).for_each(|at| taken.insert(at));
        assert_eq!(taken.first_absent(), 129);
        taken.remove(64);
        assert_eq!(taken.first_absent(), 64);
        assert!(taken.contains(63) && !taken.contains(64) && taken.contains(65));
        assert_eq!(Taken::none_of(0).first_absent(), 0);
    }
}
