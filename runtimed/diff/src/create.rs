//! Makes a layer of the difference between two trees.

use std::io::Write;
use std::path::Path;

use errors::{Error, Result};
use snapshot::Mount;

use crate::{Applied, Compression};

/// Writes the difference from `lower` to `upper` as an OCI layer; returns the diff ID and uncompressed size.
pub fn create(
    lower: &[Mount],
    upper: &[Mount],
    out: impl Write,
    compression: Compression,
    scratch: &Path,
) -> Result<Applied> {
    let _ = (lower, upper, out, compression, scratch);
    Err(Error::unimplemented("layers cannot be made yet"))
}
