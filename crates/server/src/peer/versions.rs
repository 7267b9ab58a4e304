//! Which cluster version two nodes speak with each other, and when they do not at all.
//!
//! Each says in its Hello what its build knows, what it is held at, and what is active as far as it has heard. Then
//! * what they say to each other is written in the lower of the two that they are held at, but not below what either
//!   knows to be active: a hold that comes too late is none;
//! * a node whose build does not know what is active already is refused: it could not read the log. When the version
//!   rises above what a connected one knows, since nobody was sure of its build before, the connection ends;
//! * so are two builds so far apart that neither knows a version of the other;
//! * every other pair is accepted, whatever the programs are.

use std::sync::atomic::{AtomicU16, Ordering};

use quorate_machine::ClusterVersion;

use super::{handshake::Refusal, wire::Hello};

/// The versions of this node.
#[derive(Debug)]
pub(crate) struct Versions {
    /// The newest that its build knows.
    known: ClusterVersion,
    /// The newest to which it lets the cluster rise, by its settings.
    held: ClusterVersion,
    /// What is active as far as it has applied the log.
    active: AtomicU16,
}

/// What two nodes have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accord {
    /// The version in which they talk.
    pub(crate) spoken: ClusterVersion,
    /// The newest that the other's build knows.
    known: ClusterVersion,
}

impl Versions {
    /// Those of a node that is `held` by its settings and has applied nothing.
    pub(crate) fn new(held: ClusterVersion) -> Self {
        Self { known: ClusterVersion::NEWEST, held, active: AtomicU16::new(ClusterVersion::FIRST.0) }
    }

    /// The active version is this by now.
    pub(crate) fn rises_to(&self, active: ClusterVersion) {
        self.active.fetch_max(active.0, Ordering::Relaxed);
    }

    /// What is active as far as this node knows.
    pub(crate) fn active(&self) -> ClusterVersion {
        ClusterVersion(self.active.load(Ordering::Relaxed))
    }

    /// The newest that this node's build knows.
    pub(crate) fn known(&self) -> ClusterVersion {
        self.known
    }

    /// The newest to which this node lets the cluster rise. It cannot be held below what is active.
    pub(crate) fn told(&self) -> ClusterVersion {
        self.held.min(self.known).max(self.active())
    }

    /// How to talk with the sender of `hello`, which says so to node `this`.
    pub(crate) fn agree(&self, this: u64, hello: &Hello) -> Result<Accord, Refusal> {
        let (from, program) = (hello.from, &hello.program);
        let refuse = |text: String| Err(Refusal(text));
        let [told, oldest, active, known] =
            [hello.version, hello.oldest_version, hello.active_version, hello.known_version]
                .map(|number| ClusterVersion(u16::try_from(number).unwrap_or(u16::MAX)));
        let known = known.max(told);
        let own = env!("CARGO_PKG_VERSION");
        if self.active() > known {
            return refuse(format!(
                "node {from} (program {program}) knows cluster versions up to {known}, and the cluster's is {} \
                 already: run a newer program on node {from}",
                self.active()
            ));
        }
        if active > self.known {
            return refuse(format!(
                "the cluster's version is {active} already, and node {this} (program {own}) knows versions up to {}: \
                 run a newer program on node {this}",
                self.known
            ));
        }
        let spoken = told.min(self.told()).max(active).max(self.active());
        if oldest.0 == 0 || spoken < oldest || spoken < ClusterVersion::OLDEST {
            return refuse(format!(
                "node {from} (program {program}) speaks cluster versions {oldest} to {told}, node {this} (program \
                 {own}) {} to {}: none of both; change programs by way of one that knows a version of each",
                ClusterVersion::OLDEST,
                self.told()
            ));
        }
        Ok(Accord { spoken, known })
    }

    /// Whether two nodes may go on as agreed, since the version may have risen.
    pub(crate) fn uphold(&self, accord: Accord) -> Result<(), Refusal> {
        let (active, known) = (self.active(), accord.known);
        if active <= known {
            return Ok(());
        }
        Err(Refusal(format!(
            "its program knows cluster versions up to {known}, and the cluster's is {active} by now: run a newer program \
             on it"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(known: u16, held: u16, active: u16) -> Versions {
        let [known, held] = [known, held].map(ClusterVersion);
        Versions { known, held, active: AtomicU16::new(active) }
    }

    fn hello(oldest_version: u32, version: u32, active_version: u32) -> Hello {
        Hello {
            from: 2,
            program: "0.9".to_owned(),
            version,
            oldest_version,
            active_version,
            known_version: version,
            ..Hello::default()
        }
    }

    fn refusal(versions: &Versions, hello: &Hello) -> String {
        versions.agree(1, hello).unwrap_err().0
    }

    #[test]
    fn two_builds_speak_the_lower_of_what_they_know() {
        let agreed = |versions: Versions, hello: Hello| versions.agree(1, &hello).unwrap().spoken.0;
        assert_eq!(agreed(versions(1, 9, 1), hello(1, 1, 1)), 1);
        assert_eq!(agreed(versions(1, 9, 1), hello(1, 2, 1)), 1);
        assert_eq!(agreed(versions(2, 9, 1), hello(1, 1, 1)), 1);
        assert_eq!(agreed(versions(2, 9, 2), hello(1, 3, 1)), 2, "it has not applied the rise yet");
        assert_eq!(agreed(versions(3, 1, 1), hello(1, 3, 1)), 1, "this one is held");
    }

    #[test]
    fn a_build_that_does_not_know_what_is_active_is_refused_by_both() {
        let text = refusal(&versions(2, 9, 2), &hello(1, 1, 1));
        assert!(text.contains("node 2 (program 0.9) knows cluster versions up to 1"), "{text}");
        assert!(text.contains("run a newer program on node 2"), "{text}");
        let text = refusal(&versions(1, 9, 1), &hello(1, 2, 2));
        assert!(text.contains("the cluster's version is 2 already"), "{text}");
        assert!(text.contains("run a newer program on node 1"), "{text}");
    }

    /// A witness applies nothing, and would be at the first version for ever; a new node has yet to apply the log.
    #[test]
    fn a_node_that_is_held_too_late_is_no_node_with_an_old_program() {
        let held = Hello { known_version: 3, ..hello(1, 1, 1) };
        assert_eq!(versions(3, 9, 2).agree(1, &held).unwrap().spoken.0, 2, "as the others say it");
        assert_eq!(versions(3, 1, 1).agree(1, &hello(1, 3, 2)).unwrap().spoken.0, 2, "as it says it itself");
        assert_eq!(versions(3, 9, 1).agree(1, &held).unwrap().spoken.0, 1, "nothing has risen yet");
    }

    #[test]
    fn an_accord_with_a_build_that_does_not_know_the_version_ends_when_it_rises() {
        let versions = versions(3, 9, 1);
        let [old, new] = [2, 3].map(|known| versions.agree(1, &hello(1, known, 1)).unwrap());
        versions.rises_to(ClusterVersion(2));
        assert_eq!([old, new].map(|accord| versions.uphold(accord)), [Ok(()), Ok(())]);
        versions.rises_to(ClusterVersion(3));
        let Err(Refusal(text)) = versions.uphold(old) else { panic!("it goes on") };
        assert!(text.contains("knows cluster versions up to 2, and the cluster's is 3 by now"), "{text}");
        assert_eq!(versions.uphold(new), Ok(()));
    }

    #[test]
    fn builds_without_a_version_in_common_are_refused() {
        let text = refusal(&versions(2, 9, 1), &hello(3, 4, 1));
        assert!(text.contains("speaks cluster versions 3 to 4, node 1"), "{text}");
        refusal(&versions(2, 9, 1), &hello(0, 3, 0));
    }

    #[test]
    fn what_is_active_cannot_be_held_down_any_more() {
        let versions = versions(3, 1, 1);
        assert_eq!(versions.told().0, 1);
        versions.rises_to(ClusterVersion(2));
        versions.rises_to(ClusterVersion(1));
        assert_eq!((versions.told().0, versions.active().0), (2, 2));
    }
}
