//! Queues of those who wait for something: who was seen to wait before another is served before him, if both are.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, check};

/// All queues of a kind. Whoever waits has a name of its own.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Who was served under which token, by queue.
    served: BTreeMap<String, BTreeMap<u64, String>>,
    /// Those who have asked more than once: in between they may have lost their place, or given back what they had got.
    repeated: BTreeSet<String>,
    /// Who was seen to wait, in order.
    seen: Vec<(String, Vec<String>)>,
}

impl Turns {
    pub(crate) fn served(&mut self, queue: &str, token: u64, name: &str) {
        self.served.entry(queue.to_owned()).or_default().insert(token, name.to_owned());
    }

    pub(crate) fn repeated(&mut self, name: &str) {
        self.repeated.insert(name.to_owned());
    }

    pub(crate) fn has_repeated(&self, name: &str) -> bool {
        self.repeated.contains(name)
    }

    /// These wait, in this order.
    pub(crate) fn see(&mut self, queue: &str, names: Vec<String>) {
        self.seen.push((queue.to_owned(), names));
    }

    /// Whom somebody saw last to wait.
    pub(crate) fn last_seen(&self, queue: &str) -> &[String] {
        let of_it = self.seen.iter().rev().find(|(other, _)| other == queue);
        of_it.map_or(&[], |(_, names)| names)
    }

    /// Who was served behind a token, in order.
    pub(crate) fn served_behind(&self, queue: &str, token: u64) -> impl Iterator<Item = &String> {
        let served = self.served.get(queue).into_iter().flatten();
        served.filter(move |(other, _)| **other > token).map(|(_, name)| name)
    }

    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    /// Judges the order, but for those who were put before others.
    pub(crate) fn verify(&self, property: &'static str, preferred: &BTreeSet<String>) -> Result<(), Failure> {
        for (queue, names) in &self.seen {
            let Some(served) = self.served.get(queue) else { continue };
            let token_of = |name: &String| served.iter().find(|(_, other)| *other == name);
            let has_kept_place =
                |name: &&String| !self.repeated.contains(*name) && !preferred.contains(*name);
            let tokens: Vec<_> = names.iter().filter(has_kept_place).filter_map(token_of).collect();
            check(tokens.is_sorted(), property, || {
                format!("{queue}: {names:?} wait, and are served as {tokens:?}")
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_are_served_out_of_turn_are_noticed() {
        let (mut turns, nobody) = (Turns::default(), BTreeSet::new());
        turns.see("q", ["a", "b", "c"].map(str::to_owned).into());
        turns.served("q", 5, "b");
        turns.served("q", 6, "c");
        assert_eq!(turns.verify("order", &nobody), Ok(()), "the first has left");
        turns.served("q", 7, "a");
        assert!(turns.verify("order", &nobody).is_err());
        assert!(turns.verify("order", &["c".to_owned()].into()).is_err());
        assert_eq!(
            turns.verify("order", &["b", "c"].map(str::to_owned).into()),
            Ok(()),
            "they were preferred"
        );
        turns.repeated("a");
        assert_eq!(turns.verify("order", &nobody), Ok(()), "it may have lost its place");
    }
}
