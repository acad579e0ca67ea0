//! Connections of clients, and of shims: as many of each as there is room for, so that what the daemon does for one never lacks a descriptor
//! for the sake of another.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

/// The limit of open files when it is not known: the kernel's for who asks for none.
const FEW: u64 = 1024;
/// More clients, and more containers, than anybody has.
const MANY: u64 = 65_536;
/// When to try again after the kernel could not hand a connection out: it tells nobody when it can.
const PAUSE: Duration = Duration::from_millis(100);

/// A client's or a shim's connection. It has a seat, which is free again when it is dropped.
pub struct Guest {
    stream: UnixStream,
    _seat: OwnedSemaphorePermit,
}

/// How many clients there may be at once: half of the files that may be open. The rest is for containers, each of which takes three,
/// and for work.
pub fn seats() -> usize {
    share(2)
}

/// How many connections of shims: one for each container that there may be, since of a container's three descriptors one is this.
pub fn shim_seats() -> usize {
    share(3)
}

/// A part of the files that may be open.
fn share(parts: u64) -> usize {
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(FEW, |(soft, _)| soft);
    usize::try_from((files / parts).clamp(8, MANY)).unwrap_or(usize::MAX)
}

/// Those who connect, one after the other; `who` they are is for the log. While all seats are taken nobody is let in: whoever comes waits
/// in the kernel's queue, and when that is full, is told so (EAGAIN) and tries again.
pub fn guests(listener: UnixListener, seats: usize, who: &'static str) -> ReceiverStream<io::Result<Guest>> {
    let (sender, receiver) = mpsc::channel(1);
    let seats = Arc::new(Semaphore::new(seats));
    tokio::spawn(async move {
        tokio::select! {
            () = let_in(&listener, &seats, &sender, who) => {}
            // Nobody serves any more.
            () = sender.closed() => {}
        }
    });
    ReceiverStream::new(receiver)
}

async fn let_in(
    listener: &UnixListener,
    seats: &Arc<Semaphore>,
    sender: &mpsc::Sender<io::Result<Guest>>,
    who: &str,
) {
    loop {
        if seats.available_permits() == 0 {
            tracing::warn!("as many {who} are connected as there may be: others wait");
        }
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Out of descriptors or memory, or a client that has left the queue: none of it ends the daemon.
            Err(error) => {
                tracing::warn!(%error, who, "a connection could not be let in");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if sender.send(Ok(Guest { stream, _seat: seat })).await.is_err() {
            return;
        }
    }
}

impl Connected for Guest {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
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
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn whoever_finds_no_seat_waits_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let mut guests = guests(UnixListener::bind(&path).unwrap(), 2, "clients");
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(UnixStream::connect(&path).await.unwrap());
        }
        let first = guests.next().await.unwrap().unwrap();
        let _second = guests.next().await.unwrap().unwrap();
        let third = tokio::time::timeout(Duration::from_millis(50), guests.next()).await;
        assert!(third.is_err(), "there was no seat");
        drop(first);
        guests.next().await.unwrap().unwrap();
        assert!(seats() >= 8 && shim_seats() >= 8);
    }
}
