//! Standard output. A closed pipe is an error, not a panic.

use std::io::{self, Write};

use crate::error::{Context, Result};

/// Writes `text` and a line's end.
pub fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).context("write standard output")
}
