//! Reads a layer without making anything of it: the same decoders, headers and limits as when it is applied, on one thread
//! and without a disk. What fuzzing and tests drive.

use std::io::{BufReader, Read};

use errors::{Context, Error, Kind, Result};

use crate::archive::Reader;
use crate::{Compression, Limits};

/// What a layer comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scanned {
    /// Its entries.
    pub entries: u64,
    /// Bytes of its files, once unpacked.
    pub bytes: u64,
}

/// Reads `layer` to its end, or to what is wrong with it.
pub fn scan(layer: impl Read, compression: Compression, limits: &Limits) -> Result<Scanned> {
    let unpacked = compression.decoder(layer, limits.window).context(|| "read the layer")?;
    // A byte more than may be there: an end at the limit is told from one beyond it.
    let stream = BufReader::new(unpacked.take(limits.bytes.saturating_add(1)));
    let mut reader = Reader::new(stream, limits);
    let mut scanned = Scanned::default();
    while let Some(entry) = reader.next()? {
        scanned.entries += 1;
        scanned.bytes = scanned.bytes.saturating_add(entry.size);
        if scanned.entries > limits.entries || scanned.bytes > limits.bytes {
            return Err(Error::new(Kind::ResourceExhausted, "layer is beyond its limits"));
        }
        reader.data(|_| Ok(()))?;
    }
    reader.drain()?;
    Ok(scanned)
}
