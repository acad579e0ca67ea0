//! A layer on its way to two places: content always, and at the same time the unpacker when it is there to take it.
//!
//! The fetching side holds the [`Tap`], the unpacking side the [`Feed`]. Until the unpacker claims the stream, bytes
//! gather in a small pipe; when that is full, the stream spills: the unpacker reads the blob from content later. Once
//! claimed, the pipe slows the fetch down to the unpacker's pace, and the layer is fetched, hashed and unpacked in one pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use tokio::sync::watch;

use crate::pipe::{Offered, PipeReader, PipeWriter, pipe};

/// How many chunks gather; with [`super::layer::CHUNK`] that is 4 MiB.
const CHUNKS: usize = 16;

const WAITING: u8 = 0;
const CLAIMED: u8 = 1;
const SPILLED: u8 = 2;

/// Where a fetch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not begun.
    Queued,
    /// The bytes come through the pipe from the first on.
    Streaming,
    /// Nothing comes through the pipe: it is there already, or was begun by an earlier fetch.
    Storing,
    /// It is a blob.
    Stored,
}

/// The fetching side. Dropped before [`Tap::stored`], it tells the other side of the failure.
pub(crate) struct Tap {
    pipe: Option<PipeWriter>,
    claim: Arc<AtomicU8>,
    stage: watch::Sender<Stage>,
}

/// The unpacking side.
pub(crate) struct Feed {
    reader: PipeReader,
    claim: Arc<AtomicU8>,
    arrival: Arrival,
}

/// Tells when a blob is there.
#[derive(Clone)]
pub(crate) struct Arrival(watch::Receiver<Stage>);

/// The fetch failed; why is known on its own side.
#[derive(Debug)]
pub(crate) struct Failed;

pub(crate) fn feed() -> (Tap, Feed) {
    let (writer, reader) = pipe(CHUNKS);
    let claim = Arc::new(AtomicU8::new(WAITING));
    let (stage, arrival) = watch::channel(Stage::Queued);
    let tap = Tap { pipe: Some(writer), claim: claim.clone(), stage };
    (tap, Feed { reader, claim, arrival: Arrival(arrival) })
}

impl Tap {
    /// The fetch begins at the first byte (`whole`), or somewhere behind it.
    pub(crate) fn begin(&mut self, whole: bool) {
        if !whole {
            self.pipe = None;
        }
        let stage = if self.pipe.is_some() { Stage::Streaming } else { Stage::Storing };
        self.stage.send_replace(stage);
    }

    /// Hands on the next bytes, to whoever may want them.
    pub(crate) async fn pass(&mut self, bytes: Bytes) {
        let Some(pipe) = &self.pipe else { return };
        let live = match pipe.offer(bytes) {
            Offered::Taken => true,
            Offered::Closed => false,
            Offered::Full(_) if self.spill() => false,
            Offered::Full(bytes) => pipe.write(bytes).await,
        };
        if !live {
            self.pipe = None;
        }
    }

    /// All bytes have been passed. What nobody has claimed by now is not kept in memory any longer.
    pub(crate) async fn end(&mut self) {
        if let Some(pipe) = self.pipe.take()
            && !self.spill()
        {
            pipe.finish().await;
        }
    }

    /// It is a blob now.
    pub(crate) fn stored(self) {
        self.stage.send_replace(Stage::Stored);
    }

    /// Gives the stream up, unless it is claimed.
    fn spill(&self) -> bool {
        self.claim.compare_exchange(WAITING, SPILLED, Ordering::AcqRel, Ordering::Acquire) != Err(CLAIMED)
    }
}

impl Feed {
    /// To wait for the blob alone.
    pub(crate) fn arrival(&self) -> Arrival {
        self.arrival.clone()
    }

    /// Waits until the fetch has begun.
    pub(crate) async fn begun(&mut self) -> Result<(), Failed> {
        self.arrival.0.wait_for(|stage| *stage != Stage::Queued).await.map(drop).map_err(|_| Failed)
    }

    /// The stream from its first byte on, if it is to be had; otherwise the blob will be in content. From now on the
    /// fetch keeps to the reader's pace.
    pub(crate) fn claim(self) -> Option<PipeReader> {
        let streaming = *self.arrival.0.borrow() == Stage::Streaming;
        let claim =
            || self.claim.compare_exchange(WAITING, CLAIMED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        (streaming && claim()).then_some(self.reader)
    }
}

impl Arrival {
    /// Waits until the blob is there.
    pub(crate) async fn wait(&mut self) -> Result<(), Failed> {
        self.0.wait_for(|stage| *stage == Stage::Stored).await.map(drop).map_err(|_| Failed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    async fn text(mut reader: PipeReader) -> std::io::Result<String> {
        let read = move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    #[tokio::test]
    async fn claimed_streams_arrive_whole() {
        let (mut tap, mut feed) = feed();
        tap.begin(true);
        tap.pass(Bytes::from_static(b"early ")).await;
        feed.begun().await.unwrap();
        let reading = tokio::spawn(text(feed.claim().unwrap()));
        for _ in 0..CHUNKS * 2 {
            tap.pass(Bytes::from_static(b"x")).await;
        }
        tap.end().await;
        tap.stored();
        assert_eq!(reading.await.unwrap().unwrap(), format!("early {}", "x".repeat(CHUNKS * 2)));
    }

    #[tokio::test]
    async fn a_full_pipe_nobody_claims_spills_and_does_not_wait() {
        let (mut tap, feed) = feed();
        let mut arrival = feed.arrival();
        tap.begin(true);
        for _ in 0..CHUNKS + 1 {
            tap.pass(Bytes::from_static(b"x")).await;
        }
        tap.end().await;
        tap.stored();
        arrival.wait().await.unwrap();
        // The stage is past streaming now; a claim must not hand out a torn stream.
        assert!(feed.claim().is_none());
    }

    #[tokio::test]
    async fn a_fetch_that_fails_is_no_clean_end() {
        let (mut tap, feed) = feed();
        let mut arrival = feed.arrival();
        tap.begin(true);
        tap.pass(Bytes::from_static(b"half")).await;
        let reader = feed.claim().unwrap();
        drop(tap);
        assert!(text(reader).await.is_err());
        assert!(arrival.wait().await.is_err());
    }

    #[tokio::test]
    async fn a_fetch_that_never_begins_is_told_of() {
        let (tap, mut feed) = feed();
        drop(tap);
        assert!(feed.begun().await.is_err());
    }

    #[tokio::test]
    async fn nothing_is_streamed_of_what_is_there() {
        let (mut tap, feed) = feed();
        tap.begin(false);
        tap.pass(Bytes::from_static(b"x")).await;
        assert!(feed.claim().is_none());
    }
}
