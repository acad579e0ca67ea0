//! File work goes to threads that may block; the async workers never wait for a disk.

use errors::{Error, Kind, Result};

/// Runs `work` on a blocking thread.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(marks::carry_call(work)).await {
        Ok(result) => result,
        Err(error) => Err(Error::with_source(Kind::Internal, "file work did not finish", error)),
    }
}
