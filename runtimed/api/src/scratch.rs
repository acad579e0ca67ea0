//! Temporary folders that go when they are dropped, unless somebody has taken them away.

use std::path::{Path, PathBuf};

use errors::{Context, Result};

/// A folder of its own below the daemon's scratch folder.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes one; `purpose` is part of its name.
    pub(crate) fn new(scratch: &Path, purpose: &str) -> Result<Folder> {
        let path = scratch.join(format!("{purpose}-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).context(|| format!("create folder {}", path.display()))?;
        Ok(Folder(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "could not remove a temporary folder");
        }
    }
}
