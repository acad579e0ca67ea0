//! The daemon's own way to its store: one that cannot be opened is kept, and whoever starts the daemon is told how to go on.

use std::path::Path;

use errors::{Context, Error, Kind, Result};
use metadata::Store;

/// Opens, or creates, the store below `root`.
pub fn open(root: &Path) -> Result<Store> {
    let opened = match super::exists(root) {
        false => refuse_orphans(root),
        true => Ok(()),
    };
    opened.and_then(|()| Store::open_with_copy(&super::store(root), &super::copy(root))).map_err(|error| {
        match error.kind() {
            Kind::DataLoss | Kind::FailedPrecondition => advise(root, &error),
            _ => error,
        }
    })
}

fn advise(root: &Path, error: &Error) -> Error {
    let root = root.display();
    Error::new(
        error.kind(),
        format!(
            "the store of records cannot be used, and was left as it is: {}. Containers go on. `runtimed --root {root} metadata \
             check` says what is wrong; `runtimed --root {root} metadata rebuild` moves the store aside and makes a new one of all \
             that can be read of it, of its copy, and of what lies on disk; then start the daemon again",
            error.chain()
        ),
    )
}

/// A new store knows of nothing, and what it does not know of is removed: so there must be nothing.
fn refuse_orphans(root: &Path) -> Result<()> {
    for folder in [
        "io.containerd.content.v1.content/blobs/sha256",
        "io.containerd.content.v1.content/blobs/sha512",
        "io.containerd.snapshotter.v1.overlayfs/snapshots",
        "io.containerd.snapshotter.v1.native/snapshots",
    ] {
        let path = root.join(folder);
        let mut entries = match std::fs::read_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.context(|| format!("read folder {}", path.display()))?,
        };
        if entries.next().is_some() {
            return Err(Error::new(
                Kind::DataLoss,
                format!(
                    "there is no store in {}, but there is something in {}",
                    root.display(),
                    path.display()
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_with_blobs_and_no_store_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let blobs = root.path().join("io.containerd.content.v1.content/blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        open(root.path()).unwrap();
        std::fs::remove_dir_all(super::super::store(root.path())).unwrap();
        std::fs::remove_dir_all(super::super::copy(root.path())).unwrap();
        std::fs::write(blobs.join("a"), "").unwrap();
        let error = open(root.path()).err().unwrap();
        assert_eq!(error.kind(), Kind::DataLoss);
        assert!(error.chain().contains("metadata rebuild"), "{error:?}");
        assert!(!super::super::exists(root.path()));
    }
}
