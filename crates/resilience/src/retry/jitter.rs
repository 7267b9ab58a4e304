//! Spreading waits, so that those who failed together do not come back together.

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
