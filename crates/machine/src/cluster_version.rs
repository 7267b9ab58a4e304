//! The one number that says how a cluster speaks and behaves: the *cluster version*.
//!
//! A build knows the versions from [`ClusterVersion::OLDEST`] to [`ClusterVersion::NEWEST`]. What two nodes say to each
//! other is written in the lower of the greatest that they know; what is logged, and what it does, follows the *active*
//! version, which is part of the replicated state ([`crate::Machine::version`]):
//! * it begins as [`ClusterVersion::FIRST`], rises by an entry of a greater one, and never falls;
//! * a leader logs such an entry once every member has told that it knows the version;
//! * an entry or a snapshot of a version that a build does not know is refused, and the node stops: it must not guess.
//!
//! It grows when an entry, a snapshot, a message or a file takes another form, or when the same entry would change the
//! state in another way than before: by a command, a limit, or the Luau VM. The new form, and the new behaviour, apply
//! from that version on and not before, so that nodes of two builds compute the same.
//!
//! [`ClusterVersion::REHEARSED`] is always the one after the newest. No release knows it; a build with the feature
//! `next-version` and nodes of the simulator do. It differs in that an entry has the number of its operations, and a
//! snapshot the entry by which the version rose: enough to be garbage to whoever does not know it.

use std::fmt;

/// A version of formats and behaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterVersion(pub u16);

impl ClusterVersion {
    /// What each cluster begins with.
    pub const FIRST: Self = Self(1);
    /// The oldest that this build speaks and reads.
    pub const OLDEST: Self = Self::FIRST;
    /// The version after the newest of any release, with which upgrades are rehearsed.
    pub const REHEARSED: Self = Self(2);
    /// The newest that this build speaks and reads.
    pub const NEWEST: Self =
        if cfg!(feature = "next-version") { Self::REHEARSED } else { Self(Self::REHEARSED.0 - 1) };
}

const _: () = assert!(ClusterVersion::FIRST.0 <= ClusterVersion::OLDEST.0);
const _: () = assert!(ClusterVersion::OLDEST.0 <= ClusterVersion::NEWEST.0);

impl fmt::Display for ClusterVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
