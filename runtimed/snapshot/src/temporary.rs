//! A mount for as long as somebody looks at it.

use std::path::Path;
use std::sync::Arc;

use errors::{Context, Result};

use crate::Mount;
use crate::mounter::{mount, unmount_all};

/// Mounts `mounts` in a temporary place and unmounts it when dropped.
#[derive(Debug)]
pub struct TemporaryMount {
    path: Arc<Path>,
    /// Unmounted already, by [`TemporaryMount::close`].
    closed: bool,
}

impl TemporaryMount {
    /// Mounts them, stacked, on a fresh folder below `directory`, which is made when it is not there.
    pub fn new(directory: &Path, mounts: &[Mount]) -> Result<TemporaryMount> {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);

        crate::overlay::make_private(directory)?;
        let path = loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = directory.join(format!("mount-{}-{number}", std::process::id()));
            match crate::overlay::make(&path, 0o700) {
                // Left by an earlier process of this number.
                Err(error) if error.is_already_exists() => {}
                made => {
                    made?;
                    break path;
                }
            }
        };
        if let Err(error) = mount(mounts, &path) {
            // Empty, and of no use; the mount's error is the one to tell.
            let _ = std::fs::remove_dir(&path);
            return Err(error);
        }
        Ok(TemporaryMount { path: path.into(), closed: false })
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts, and says how that went.
    pub fn close(mut self) -> Result<()> {
        self.closed = true;
        release(&self.path)
    }
}

impl Drop for TemporaryMount {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        if let Err(error) = release(&self.path) {
            tracing::warn!(path = %self.path.display(), error = error.chain(), "temporary mount left behind");
        }
    }
}

fn release(path: &Path) -> Result<()> {
    unmount_all(path)?;
    std::fs::remove_dir(path).context(|| format!("rmdir {}", path.display()))
}
