//! Snapshots as whole copies: needs nothing of the kernel, shares blocks where the file system can.

use std::fs;
use std::path::{Path, PathBuf};

use errors::{Context, Result};

use crate::backend::Backend;
use crate::overlay::{make, make_private};
use crate::{Kind, Mount, tree};

/// Below `<root>/io.containerd.snapshotter.v1.native`: `snapshots/<n>`, as containerd has it.
pub(crate) struct Native {
    folder: PathBuf,
}

impl Native {
    /// Makes the folders.
    pub(crate) fn open(root: &Path) -> Result<Native> {
        let folder = root.join("io.containerd.snapshotter.v1.native").join("snapshots");
        make_private(&folder)?;
        Ok(Native { folder })
    }
}

impl Backend for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn create(&self, id: u64, kind: Kind, parents: &[u64]) -> Result<()> {
        let target = self.tree(id);
        let Some(parent) = parents.first().filter(|_| kind == Kind::Active) else {
            return make(&target, 0o755);
        };
        // Under its own name only when it is whole and on disk: a torn copy must never pass for a snapshot.
        let copying = self.folder.join(format!("new-{id}"));
        make(&copying, 0o700)?;
        let copied =
            tree::copy(&self.tree(*parent), &copying).and_then(|()| tree::sync(&copying)).and_then(|()| {
                fs::rename(&copying, &target)
                    .context(|| format!("rename {} to {}", copying.display(), target.display()))
            });
        if copied.is_err() {
            // The first error is the one to tell; what stays is swept.
            let _ = fs::remove_dir_all(&copying);
        }
        copied
    }

    fn tree(&self, id: u64) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn mounts(&self, id: u64, kind: Kind, parents: &[u64]) -> Vec<Mount> {
        let active = kind == Kind::Active;
        let shown = parents.first().filter(|_| !active).copied().unwrap_or(id);
        let mode = if active { "rw" } else { "ro" };
        vec![Mount::bind(self.tree(shown).display().to_string(), &["rbind", mode])]
    }
}
