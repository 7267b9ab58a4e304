//! Spreading waits, so that those who failed together do not come back together.

use std::time::Duration;

use crate::random::Generator;

/// How waits are spread. None of them exceeds the cap.
///
/// The names are those of Marc Brooker, *Exponential Backoff And Jitter* (AWS Architecture Blog, 2015).
///
/// ```
/// use quorate_resilience::{Retry, retry::Jitter};
///
/// let retry = Retry::builder().jitter(Jitter::Full).build()?;
/// # Ok::<(), quorate_resilience::InvalidSetting>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Jitter {
    /// The wait as it is.
    None,
    /// Times a factor drawn uniformly from 0.5 up to, not including, 1.
    #[default]
    Equal,
    /// Times a factor drawn uniformly from 0 up to, not including, 1.
    Full,
    /// Drawn uniformly from the base delay up to three times the wait before, whatever the attempt; at most the
    /// cap.
    Decorrelated,
}

impl Jitter {
    /// A wait, of which `grown` is the one without jitter.
    pub(super) fn spread(self, grown: Duration, recall: &mut Recall, generator: &Generator) -> Duration {
        match self {
            Self::None => grown,
            Self::Equal => scaled(grown, 0.5 + generator.fraction() / 2.0),
            Self::Full => scaled(grown, generator.fraction()),
            Self::Decorrelated => recall.next(generator.fraction()),
        }
    }
}

/// What decorrelated jitter remembers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recall {
    pub(super) base: Duration,
    pub(super) cap: Duration,
    pub(super) previous: Duration,
}

impl Recall {
    fn next(&mut self, fraction: f64) -> Duration {
        let range = self.previous.saturating_mul(3).saturating_sub(self.base);
        self.previous = self.base.saturating_add(scaled(range, fraction)).min(self.cap);
        self.previous
    }
}

/// A part of a duration; rounding never makes it more than the whole.
fn scaled(whole: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(whole.as_secs_f64() * factor).map_or(whole, |part| part.min(whole))
}
