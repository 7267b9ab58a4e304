//! Who asks for a lock, or for several at once, and is told that it was not given: he has none of them, neither at that time nor
//! later, since nobody else asks under his name.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, check};

const NOTHING: &str = "who is not given all that he asks for has none of it";

/// Those who have got nothing, and those who hold something.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    refused: BTreeSet<String>,
    /// What each owner was seen to hold, one lock of several.
    seen: BTreeMap<String, String>,
}

impl Refusals {
    /// `owner` has asked once, and was answered that he is not given what he asks for.
    pub(crate) fn refused(&mut self, owner: &str) -> Result<(), Failure> {
        self.refused.insert(owner.to_owned());
        self.judge(owner)
    }

    /// Somebody sees that `owner` holds a lock.
    pub(crate) fn has(&mut self, owner: &str, lock: &str) -> Result<(), Failure> {
        self.seen.insert(owner.to_owned(), lock.to_owned());
        self.judge(owner)
    }

    fn judge(&self, owner: &str) -> Result<(), Failure> {
        let seen = self.seen.get(owner).filter(|_| self.refused.contains(owner));
        check(seen.is_none(), NOTHING, || format!("{owner} was refused, and is seen to hold {seen:?}"))
    }

    pub(crate) fn len(&self) -> usize {
        self.refused.len() + self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_what_he_was_refused_is_noticed() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.has("a", "lock"), Ok(()));
        assert_eq!(refusals.refused("b"), Ok(()));
        assert_eq!(refusals.refused("a").unwrap_err().property, NOTHING, "he had it meanwhile");
        assert_eq!(refusals.has("b", "lock").unwrap_err().property, NOTHING);
    }
}
