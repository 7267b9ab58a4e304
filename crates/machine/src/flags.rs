//! What kind of command a command is, as COMMAND INFO says it.

/// A set of flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// The empty set.
    pub const NONE: Self = Self(0);
    /// May change data.
    pub const WRITE: Self = Self(1);
    /// Changes nothing.
    pub const READONLY: Self = Self(1 << 1);
    /// May add data: refused beyond the limit on data.
    pub const DENYOOM: Self = Self(1 << 2);
    /// For operators.
    pub const ADMIN: Self = Self(1 << 3);
    /// Not from scripts.
    pub const NOSCRIPT: Self = Self(1 << 4);
    /// May wait for something.
    pub const BLOCKING: Self = Self(1 << 5);
    /// Also while a node is not ready.
    pub const LOADING: Self = Self(1 << 6);
    /// Also on a node that has lost the cluster.
    pub const STALE: Self = Self(1 << 7);
    /// Takes constant or logarithmic time.
    pub const FAST: Self = Self(1 << 8);
    /// Also before authentication.
    pub const NO_AUTH: Self = Self(1 << 9);
    /// Not inside MULTI.
    pub const NO_MULTI: Self = Self(1 << 10);
    /// Some keys can only be found by looking into the arguments.
    pub const MOVABLEKEYS: Self = Self(1 << 11);
    /// Takes time in proportion to all data, or throws it away.
    pub const DANGEROUS: Self = Self(1 << 12);
    /// About channels and subscribers.
    pub const PUBSUB: Self = Self(1 << 13);

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The names of the set's flags that Redis has names for, in Redis's order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [(Flags, &str); 13] = [
            (Flags::WRITE, "write"),
            (Flags::READONLY, "readonly"),
            (Flags::DENYOOM, "denyoom"),
            (Flags::ADMIN, "admin"),
            (Flags::PUBSUB, "pubsub"),
            (Flags::NOSCRIPT, "noscript"),
            (Flags::BLOCKING, "blocking"),
            (Flags::LOADING, "loading"),
            (Flags::STALE, "stale"),
            (Flags::FAST, "fast"),
            (Flags::NO_AUTH, "no_auth"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::MOVABLEKEYS, "movablekeys"),
        ];
        NAMES.into_iter().filter(move |(flag, _)| self.contains(*flag)).map(|(_, name)| name)
    }
}
