//! What can go wrong, by what the caller should do about it.

use std::{fmt, time::Duration};

/// Why a call has no answer.
///
/// ```
/// use quorate_client::Error;
///
/// fn advice(error: &Error) -> &'static str {
///     match error {
///         Error::NotApplied { .. } => "nothing has changed: try again later",
///         Error::OutcomeUnknown { .. } => "look what came of it before trying again",
///         Error::NotAcquired { .. } => "somebody else has the lock",
///         Error::Lost(_) => "stop: somebody else may have the lock",
///         _ => "the same call would fail again",
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting or an argument cannot work. Nothing was sent.
    #[error("{what}: {why}")]
    Invalid {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing was changed: no server could be reached, or the server said so. Calling again later is safe and may help.
    #[error("not applied: {why}")]
    NotApplied {
        /// In the words of the server, or of the system.
        why: String,
    },
    /// The command may have been carried out, or may yet be: its connection ended, or its time was over, before it was answered.
    #[error("outcome unknown: {why}")]
    OutcomeUnknown {
        /// In the words of the system.
        why: String,
    },
    /// The server refuses this command; it would do so again. Nothing was changed.
    #[error("refused: {code} {text}")]
    Refused {
        /// The first word of the server's error, such as `WRONGTYPE`.
        code: String,
        /// The rest of it.
        text: String,
    },
    /// Others held it for as long as was waited: the lock, the leadership, or too many of the permits.
    #[error("{name} was not acquired within {}", Shown(*.waited))]
    NotAcquired {
        /// The name of what was waited for; of several locks, all of them.
        name: String,
        /// For how long it was waited for.
        waited: Duration,
    },
    /// Not as many had arrived at a barrier as were waited for.
    #[error("not all had arrived at {name} within {}", Shown(*.waited))]
    Missing {
        /// The name of the barrier.
        name: String,
        /// For how long they were waited for.
        waited: Duration,
    },
    /// It is not, or not certainly, held any longer.
    #[error("lost: {0}")]
    Lost(#[from] Loss),
}

/// Why a lock, permits or a leadership are not held any longer.
///
/// ```
/// use quorate_client::Loss;
///
/// assert_eq!(Loss::Released.to_string(), "it was released");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// It could not be renewed in time: its time to live is over by the holder's own clock. Somebody else may hold it.
    #[error("its time to live is over")]
    Expired,
    /// The server says that it is not this holder's any longer: it was taken away, or its time was over.
    #[error("the server has given it up")]
    Taken,
    /// The holder has released it.
    #[error("it was released")]
    Released,
}

/// A duration as people write it.
struct Shown(Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Error {
    /// Whether the very same call may be made again without harm, and may succeed.
    ///
    /// ```
    /// use quorate_client::Error;
    ///
    /// assert!(Error::NotApplied { why: "no leader".to_owned() }.can_retry());
    /// assert!(!Error::OutcomeUnknown { why: "the connection ended".to_owned() }.can_retry());
    /// ```
    #[must_use]
    pub fn can_retry(&self) -> bool {
        match self {
            Self::NotApplied { .. } | Self::NotAcquired { .. } | Self::Missing { .. } => true,
            Self::Invalid { .. } | Self::OutcomeUnknown { .. } | Self::Refused { .. } | Self::Lost(_) => {
                false
            }
        }
    }

    pub(crate) fn invalid(what: &'static str, why: impl fmt::Display) -> Self {
        Self::Invalid { what, why: why.to_string() }
    }

    pub(crate) fn not_applied(why: impl fmt::Display) -> Self {
        Self::NotApplied { why: why.to_string() }
    }

    pub(crate) fn unknown(why: impl fmt::Display) -> Self {
        Self::OutcomeUnknown { why: why.to_string() }
    }

    /// An answer that no server of this kind gives.
    pub(crate) fn unexpected(answer: impl fmt::Debug) -> Self {
        Self::Refused { code: "UNEXPECTED".to_owned(), text: format!("the server has answered {answer:?}") }
    }

    /// What an error of the server means. `text` begins with its code.
    pub(crate) fn from_server(code: &str, text: &str) -> Self {
        if NOT_APPLIED.contains(&code) {
            Self::not_applied(format_args!("{code} {text}"))
        } else {
            Self::Refused { code: code.to_owned(), text: text.to_owned() }
        }
    }

    /// Whether the server says that a token is not the current one, or a session not open.
    pub(crate) fn is_of_lost(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "STALE" || code == "NOSESSION")
    }
}

/// Errors of Quorate and Redis by which a server says that it could not carry out a command, but that another server, or
/// the same one later, may.
const NOT_APPLIED: &[&str] = &[
    "BUSY",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOREPLICAS",
    // A Redis that was a primary once.
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_servers_say_whether_to_try_again() {
        for (code, can_retry) in [
            ("CLUSTERDOWN", true),
            ("LOADING", true),
            ("UNBLOCKED", true),
            ("MISCONF", true),
            ("STALE", false),
            ("WRONGTYPE", false),
            ("OOM", false),
            ("ERR", false),
        ] {
            assert_eq!(Error::from_server(code, "as it is").can_retry(), can_retry, "{code}");
        }
        assert!(Error::from_server("STALE", "token 1 is not the current one").is_of_lost());
        assert!(!Error::unknown("STALE").is_of_lost());
    }

    #[test]
    fn errors_are_told_in_words() {
        let error = Error::NotAcquired { name: "report".to_owned(), waited: Duration::from_millis(1_500) };
        assert_eq!(error.to_string(), "report was not acquired within 1.5s");
        assert_eq!(Error::Lost(Loss::Expired).to_string(), "lost: its time to live is over");
        assert_eq!(
            Error::from_server("CLUSTERDOWN", "no leader").to_string(),
            "not applied: CLUSTERDOWN no leader"
        );
    }
}
