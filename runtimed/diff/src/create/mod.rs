//! Makes a layer of the difference between two trees.

mod compare;
mod emit;
mod trees;
mod walk;

use std::io::{BufWriter, Write};
use std::path::Path;

use errors::{Context, Error, Kind, Result};
use ids::Digest;
use sha2::{Digest as _, Sha256};
use snapshot::Mount;

use crate::archive::Writer;
use crate::compression::{Compression, Encoder};
use crate::{Applied, is_overlays};
use emit::Emitter;
use trees::Trees;
use walk::Walk;

/// Bytes gathered before they are hashed and packed.
const BUFFER: usize = 256 << 10;

/// Writes the difference from `lower` to `upper` as an OCI layer; returns the diff ID and uncompressed size. Nothing is
/// written to either. Equal trees make equal layers. Where `lower` is what `upper` stands on as an overlay, only the
/// upper folder is walked.
pub fn create(
    lower: &[Mount],
    upper: &[Mount],
    out: impl Write,
    compression: Compression,
    scratch: &Path,
) -> Result<Applied> {
    let trees = Trees::open(lower, upper, scratch)?;
    let encoder = compression.encoder(out).context(|| "begin the layer")?;
    let hashing = Hashing { out: encoder, hash: Sha256::new(), size: 0 };
    let writer = Writer::new(BufWriter::with_capacity(BUFFER, hashing));
    let mut emitter = Emitter::new(writer, trees.upper_root()?);
    let walked = Walk::new(&mut emitter, trees.is_layered()).walk(trees.lower_root()?, trees.upper_root()?);
    let finished = walked.and_then(|()| emitter.finish()?.finish());
    let closed = trees.close();
    let applied = finished?;
    closed?;
    Ok(applied)
}

/// Hashes and counts what goes by.
struct Hashing<W: Write> {
    out: Encoder<W>,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Hashing<W> {
    fn finish(self) -> Result<Applied> {
        self.out.finish().context(|| "end the layer")?;
        Ok(Applied { diff_id: Digest::from_sha256(self.hash.finalize().into()), size: self.size })
    }
}

/// Is the attribute part of a layer? Not overlayfs's marks, nor what the host's security modules decide for themselves.
fn is_layers(key: &[u8]) -> bool {
    !is_overlays(key)
        && !matches!(key, b"security.selinux" | b"security.ima" | b"security.evm" | b"security.apparmor")
}

/// Names the path at which a call failed.
fn at(path: &[u8], call: &str, error: std::io::Error) -> Error {
    let name = String::from_utf8_lossy(path);
    Error::with_source(Kind::of_io(&error), format!("{call} {name:?} for a layer"), error)
}
