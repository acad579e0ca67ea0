//! A mount for as long as somebody looks at it.

use std::path::Path;
use std::sync::Arc;

use errors::{Context, Result};

use crate::Mount;
use crate::mounter::{mount, unmount_all};

/// Starts the names of the folders that are mounted on.
const PREFIX: &str = "mount-";

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
            let path = directory.join(format!("{PREFIX}{}-{number}", std::process::id()));
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

    /// Unmounts and removes what earlier processes left below `directory`, which need not be there. For a daemon's
    /// start, when nothing is mounted there yet; goes on past a failure and reports the first.
    pub fn sweep(directory: &Path) -> Result<()> {
        let entries = match std::fs::read_dir(directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.context(|| format!("read folder {}", directory.display()))?,
        };
        let mut first = Ok(());
        for entry in entries {
            let entry = entry.context(|| format!("read folder {}", directory.display()))?;
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                first = first.and(release(&entry.path()));
            }
        }
        first
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_swept() {
        let folder = tempfile::tempdir().unwrap();
        let (source, scratch) = (folder.path().join("source"), folder.path().join("scratch"));
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("kept"), "").unwrap();
        TemporaryMount::sweep(&scratch).unwrap();
        let mount = Mount::bind(source.display().to_string(), &["rw", "rbind"]);
        // As if the process had been killed.
        std::mem::forget(TemporaryMount::new(&scratch, &[mount.clone(), mount]).unwrap());
        std::fs::write(scratch.join("other"), "").unwrap();
        TemporaryMount::sweep(&scratch).unwrap();
        let left: Vec<_> =
            std::fs::read_dir(&scratch).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
        assert!(source.join("kept").exists());
    }
}
