//! Where things are mounted in every container, as one more layer below all others: what an image lacks of them need not be made in each
//! container's own layer, which would cost more than the mounts, and be there to be committed.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use errors::{Context, Result};

/// The layer's name among the folders of snapshots.
pub const NAME: &str = "mount-points";

/// Folders, below the root. Those above come first.
const FOLDERS: [&str; 7] = ["dev", "dev/pts", "dev/shm", "dev/mqueue", "etc", "proc", "sys"];
/// Files.
const FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes the layer at `folder`, or completes it. Nothing of it is ever changed, since whatever is mounted on it may be read by all.
///
/// # Errors
/// Whatever the file system says.
pub fn make(folder: &Path) -> Result<PathBuf> {
    let shown = |path: &Path| format!("make {}", path.display());
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o755);
    for name in FOLDERS {
        let path = folder.join(name);
        builder.create(&path).context(|| shown(&path))?;
    }
    for name in FILES {
        let path = folder.join(name);
        let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&path);
        made.context(|| shown(&path))?;
    }
    fs::canonicalize(folder).context(|| shown(folder))
}

/// The mount of a container's root, with the layer below all that it has. What an image has of it, or has deleted, counts more.
pub(crate) fn below(mut mount: task::Mount, layer: Option<&Path>) -> task::Mount {
    let Some(layer) = layer.and_then(Path::to_str).filter(|path| !path.contains([',', ':', '\\'])) else {
        return mount;
    };
    if mount.kind == "overlay" {
        for option in mount.options.iter_mut().filter(|option| option.starts_with("lowerdir=")) {
            option.push(':');
            option.push_str(layer);
        }
    }
    mount
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layer_is_the_lowest_of_an_overlay_and_nothing_elsewhere() {
        let overlay = |lower: &str| task::Mount {
            kind: "overlay".to_owned(),
            options: vec!["workdir=/w".to_owned(), format!("lowerdir={lower}")],
            ..task::Mount::default()
        };
        assert_eq!(below(overlay("/a:/b"), Some(Path::new("/points"))), overlay("/a:/b:/points"));
        assert_eq!(below(overlay("/a"), None), overlay("/a"));
        assert_eq!(below(overlay("/a"), Some(Path::new("/no:where"))), overlay("/a"));
        let bind = task::Mount { kind: "bind".to_owned(), ..task::Mount::default() };
        assert_eq!(below(bind.clone(), Some(Path::new("/points"))), bind);
    }

    #[test]
    fn the_layer_can_be_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points");
        make(&path).unwrap();
        std::fs::remove_file(path.join("etc/hosts")).unwrap();
        assert!(make(&path).unwrap().join("etc/hosts").is_file());
    }
}
