//! One word from an unpacking that has failed: whoever reads a layer for it stops, and whoever fetches one may.

use std::io::{self, Read};
use std::sync::Arc;

use tokio::sync::watch;

use crate::Descriptor;
use crate::progress::{ProgressSink, tell};

/// How many bytes go by between two words about progress.
const PROGRESS_STEP: u64 = 1 << 20;

/// Said once, heard by all.
#[derive(Debug, Clone)]
pub(crate) struct Stop(Arc<watch::Sender<bool>>);

impl Stop {
    pub(crate) fn new() -> Stop {
        Stop(Arc::new(watch::Sender::new(false)))
    }

    /// Says it.
    pub(crate) fn say(&self) {
        self.0.send_replace(true);
    }

    fn is_said(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is said.
    pub(crate) async fn heard(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|said| *said).await;
    }
}

/// A layer's bytes on their way to the unpacker: tells how far they are, and ends when it is told to stop.
pub(crate) struct Counted<R> {
    inner: R,
    layer: Descriptor,
    progress: ProgressSink,
    stop: Stop,
    offset: u64,
    told: u64,
}

impl<R: Read> Counted<R> {
    pub(crate) fn new(inner: R, layer: &Descriptor, progress: &ProgressSink, stop: &Stop) -> Counted<R> {
        Counted {
            inner,
            layer: layer.clone(),
            progress: progress.clone(),
            stop: stop.clone(),
            offset: 0,
            told: 0,
        }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stop.is_said() {
            return Err(io::Error::other("given up: another layer of the image failed"));
        }
        let count = self.inner.read(buffer)?;
        self.offset += count as u64;
        if self.offset >= self.told + PROGRESS_STEP {
            self.told = self.offset;
            tell(&self.progress, &self.layer, "extracting", self.offset);
        }
        Ok(count)
    }
}
