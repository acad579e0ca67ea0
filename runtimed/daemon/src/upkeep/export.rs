//! `runtimed metadata export`: every record as a line of JSON, also of a store that is damaged, or that a daemon is using.

use std::io::Write;
use std::path::Path;

use errors::{Error, Kind, Result};
use metadata::Salvage;

/// Writes the records below `root` to `out`. What cannot be read is told on standard error, and is an error in the end.
pub fn export(root: &Path, out: &mut impl Write) -> Result<()> {
    let mut salvage = Salvage::open(&super::store(root), &super::copy(root))?;
    let count = salvage.export(out)?;
    if salvage.findings().is_empty() {
        return Ok(());
    }
    for finding in salvage.findings() {
        eprintln!("runtimed: {finding}");
    }
    Err(Error::new(Kind::DataLoss, format!("the store is damaged; {count} records could be read")))
}
