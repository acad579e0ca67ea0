//! Output into a plain file that only grows.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::log;

/// A file opened for appending.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    failed: bool,
}

impl Writer {
    /// Opens the file of a `file://` URI; it and its directory are made if missing.
    pub(super) fn create(path: &Path) -> io::Result<Writer> {
        if let Some(dir) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
        }
        Writer::open_with(path, OpenOptions::new().create(true).mode(0o644))
    }

    /// Opens a file, or device, that exists.
    pub(super) fn open(path: &Path) -> io::Result<Writer> {
        Writer::open_with(path, &mut OpenOptions::new())
    }

    fn open_with(path: &Path, options: &mut OpenOptions) -> io::Result<Writer> {
        Ok(Writer { path: path.to_owned(), file: options.append(true).open(path)?, failed: false })
    }

    /// Writes all of it; what a full disk does not take is dropped, since the container must not wait for a
    /// disk.
    pub(super) fn write(&mut self, output: &[u8]) {
        if let Err(error) = self.file.write_all(output)
            && !std::mem::replace(&mut self.failed, true)
        {
            log::error!("output for {} is lost: {error}", self.path.display());
        }
    }
}
