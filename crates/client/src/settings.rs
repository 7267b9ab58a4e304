//! How long things may take.

use std::time::Duration;

/// How a client connects, waits and tries again. The defaults suit a cluster in one region.
///
/// ```
/// use quorate_client::Settings;
/// use std::time::Duration;
///
/// let settings = Settings::new().patience(Duration::from_secs(3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "settings do nothing until a client connects with them"]
pub struct Settings {
    pub(crate) connect_timeout: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            answer_timeout: Duration::from_secs(5),
            patience: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// The defaults.
    ///
    /// ```
    /// assert_eq!(quorate_client::Settings::new(), quorate_client::Settings::default());
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// How long a server may take to greet a new connection, before the next one is tried: 1 s by default.
    ///
    /// ```
    /// # use quorate_client::Settings; use std::time::Duration;
    /// let far_away = Settings::new().connect_timeout(Duration::from_secs(3));
    /// ```
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// How long a server may take to answer a command, besides the time that the command waits by design: 5 s by default. It
    /// should be longer than an election, during which servers keep commands and then carry them out.
    ///
    /// ```
    /// # use quorate_client::Settings; use std::time::Duration;
    /// let impatient = Settings::new().answer_timeout(Duration::from_secs(2));
    /// ```
    pub fn answer_timeout(self, answer_timeout: Duration) -> Self {
        Self { answer_timeout, ..self }
    }

    /// For how long new attempts are made, where one is safe, once the first has failed: 10 s by default.
    ///
    /// ```
    /// # use quorate_client::Settings; use std::time::Duration;
    /// let only_once = Settings::new().patience(Duration::ZERO);
    /// ```
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}
