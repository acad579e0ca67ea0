//! A socket that says when it is over.
//!
//! A ttrpc client tells of a lost connection only to calls under way. Its tasks drop the socket when the
//! connection ends, though, and that is what is watched here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::watch;

/// A stream that holds a sender: when the one is dropped, so is the other.
pub(crate) struct Watched {
    stream: UnixStream,
    _alive: watch::Sender<()>,
}

/// Knows whether the socket still exists.
#[derive(Debug, Clone)]
pub(crate) struct Closed(watch::Receiver<()>);

impl Watched {
    /// Watches `stream`.
    pub(crate) fn new(stream: UnixStream) -> (Watched, Closed) {
        let (alive, closed) = watch::channel(());
        (Watched { stream, _alive: alive }, Closed(closed))
    }
}

impl Closed {
    /// Resolves when the socket is gone.
    pub(crate) async fn wait(&self) {
        let mut receiver = self.0.clone();
        // Nothing is ever sent, so this ends with the sender.
        while receiver.changed().await.is_ok() {}
    }

    /// Is the socket gone?
    pub(crate) fn is_over(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_other_sides_end_is_seen_while_no_call_is_under_way() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (socket, closed) = Watched::new(ours);
        let client = ttrpc::r#async::Client::new(ttrpc::r#async::transport::Socket::new(socket));
        assert!(!closed.is_over());
        drop(theirs);
        closed.wait().await;
        assert!(closed.is_over());
        drop(client);
    }
}
