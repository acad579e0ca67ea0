//! Carries the uncompressed stream from the thread that reads, unpacks and hashes to the one that writes files.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use errors::{Context, Error, Kind, Result};
use ids::Digest;
use sha2::{Digest as _, Sha256};

use crate::{Applied, Limits};

/// Bytes handed over at once.
const CHUNK: usize = 256 << 10;
/// How many chunks may wait.
const DEPTH: usize = 8;

/// The reading end's counterpart.
pub(crate) struct Feeder {
    chunks: SyncSender<io::Result<Vec<u8>>>,
    /// Chunks that were read and may be filled again.
    spare: Receiver<Vec<u8>>,
}

/// The stream, as it comes over.
pub(crate) struct Stream {
    chunks: Receiver<io::Result<Vec<u8>>>,
    spare: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
}

/// The two ends.
pub(crate) fn pipe() -> (Feeder, Stream) {
    let (chunks, reader) = sync_channel(DEPTH);
    let (spare, spares) = sync_channel(DEPTH);
    (Feeder { chunks, spare: spares }, Stream { chunks: reader, spare, chunk: Vec::new(), position: 0 })
}

impl Feeder {
    /// Reads `source` to its end, hashes it and hands it over. The other end gone is no failure of this one.
    pub(crate) fn feed(self, mut source: impl Read, limits: &Limits) -> Result<Applied> {
        let mut hash = Sha256::new();
        let mut size = 0u64;
        loop {
            let mut chunk = self.spare.try_recv().unwrap_or_default();
            chunk.resize(CHUNK, 0);
            let read = match fill(&mut source, &mut chunk) {
                Ok(read) => read,
                Err(error) => {
                    // The reader must not take what came so far for all.
                    let _ = self.chunks.send(Err(io::Error::from(io::ErrorKind::UnexpectedEof)));
                    return Err(error)
                        .context(|| format!("read the layer after {size} unpacked bytes"))
                        .map_err(bad_layer);
                }
            };
            if read == 0 {
                break;
            }
            chunk.truncate(read);
            size += read as u64;
            if size > limits.bytes {
                let _ = self.chunks.send(Err(io::Error::from(io::ErrorKind::QuotaExceeded)));
                return Err(too_big(limits));
            }
            hash.update(&chunk);
            if self.chunks.send(Ok(chunk)).is_err() {
                break;
            }
        }
        Ok(Applied { diff_id: Digest::from_sha256(hash.finalize().into()), size })
    }
}

/// A layer that cannot be unpacked is wrong, whatever the decoder calls it; a failing disk or network is not the layer's fault.
fn bad_layer(error: Error) -> Error {
    match error.kind() {
        Kind::Internal | Kind::InvalidArgument => {
            Error::with_source(Kind::InvalidArgument, "layer cannot be unpacked", error)
        }
        _ => error,
    }
}

/// `ResourceExhausted`, naming the limit.
pub(crate) fn too_big(limits: &Limits) -> Error {
    Error::new(
        Kind::ResourceExhausted,
        format!("layer unpacks to more than the limit of {} bytes", limits.bytes),
    )
}

/// Reads until the buffer is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl BufRead for Stream {
    /// What is at hand, at least a byte; empty at the end.
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.chunk.len() {
            let Ok(next) = self.chunks.recv() else { return Ok(&[]) };
            let old = std::mem::replace(&mut self.chunk, next?);
            self.position = 0;
            // Nobody may be filling any more.
            let _ = self.spare.try_send(old);
        }
        Ok(&self.chunk[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position = (self.position + count).min(self.chunk.len());
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at_hand = self.fill_buf()?;
        let count = at_hand.len().min(buffer.len());
        buffer[..count].copy_from_slice(&at_hand[..count]);
        self.consume(count);
        Ok(count)
    }
}
