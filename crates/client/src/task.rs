//! Work that goes on while nobody waits for it.

use tokio::task::JoinHandle;

use crate::error::Error;

/// A future that runs by itself, as when a call that waits for it is given up and made again: its time is not begun anew then. It
/// ends with this.
pub(crate) struct Task<T>(JoinHandle<T>);

impl<T: Send + 'static> Task<T> {
    pub(crate) fn begin(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Returns when it is done. May be given up, but not asked again after that.
    pub(crate) async fn done(&mut self) -> Result<T, Error> {
        (&mut self.0).await.map_err(|_| Error::unknown("the client's runtime has ended"))
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
