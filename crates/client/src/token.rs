//! The number by which a guarded resource refuses a holder that has lost its lock.

use std::fmt;

/// A fencing token: greater than that of every earlier acquisition of the same lock, for ever. Hand it to the resource that
/// the lock guards, and have that refuse whatever comes with a smaller one than it has seen. Less than 2^53.
///
/// ```
/// use quorate_client::FencingToken;
///
/// let (older, newer) = (FencingToken::from(41), FencingToken::from(42));
/// assert!(older < newer);
/// assert_eq!(newer.get(), 42);
/// assert_eq!(newer.to_string(), "42");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    /// The number, for whoever stores it.
    ///
    /// ```
    /// assert_eq!(quorate_client::FencingToken::from(7).get(), 7);
    /// ```
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for FencingToken {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
