//! Snapshots as overlayfs layers: a parent is a lower folder, nothing is copied.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use errors::{Context, Error, Result};

use crate::backend::Backend;
use crate::temporary::TemporaryMount;
use crate::{Kind, Mount};

/// Below `<root>/io.containerd.snapshotter.v1.overlayfs`: `snapshots/<n>/{fs,work}`, as containerd has it.
pub(crate) struct Overlay {
    folder: PathBuf,
    /// Options that every overlay gets.
    options: Vec<String>,
}

impl Overlay {
    /// Makes the folders, and tries one overlay mount in them: not every file system can be below one.
    pub(crate) fn open(root: &Path) -> Result<Overlay> {
        let root = root.join("io.containerd.snapshotter.v1.overlayfs");
        let folder = root.join("snapshots");
        if let Some(bad) = folder.to_string_lossy().chars().find(|c| [',', ':', '\\', '\n'].contains(c)) {
            return Err(Error::invalid(format!(
                "{}: overlay options cannot name a folder with {bad:?}",
                folder.display()
            )));
        }
        make_private(&folder)?;
        let mut options = Vec::new();
        if in_user_namespace() {
            options.push("userxattr".to_owned());
        }
        // Lower folders are shared between mounts, which the index refuses.
        if Path::new("/sys/module/overlay/parameters/index").exists() {
            options.push("index=off".to_owned());
        }
        let overlay = Overlay { folder, options };
        overlay.probe(&root)?;
        Ok(overlay)
    }

    fn probe(&self, root: &Path) -> Result<()> {
        let scratch = root.join("probe");
        TemporaryMount::sweep(&scratch)?;
        match fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(|| format!("remove {}", scratch.display()));
            }
            _ => {}
        }
        for name in ["lower", "upper", "work"] {
            make_private(&scratch.join(name))?;
        }
        let path = |name: &str| scratch.join(name).display().to_string();
        let mount = self.overlay(
            vec![format!("workdir={}", path("work")), format!("upperdir={}", path("upper"))],
            &[path("lower")],
        );
        let mounted = TemporaryMount::new(&scratch, &[mount]);
        let probed = mounted.map(drop);
        fs::remove_dir_all(&scratch).context(|| format!("remove {}", scratch.display()))?;
        probed
    }

    fn overlay(&self, mut options: Vec<String>, lower: &[String]) -> Mount {
        options.push(format!("lowerdir={}", lower.join(":")));
        options.extend(self.options.iter().cloned());
        Mount { kind: "overlay".to_owned(), source: "overlay".to_owned(), target: String::new(), options }
    }

    fn upper(&self, id: u64) -> String {
        self.tree(id).display().to_string()
    }

    fn work(&self, id: u64) -> PathBuf {
        self.folder.join(id.to_string()).join("work")
    }
}

impl Backend for Overlay {
    fn name(&self) -> &'static str {
        "overlayfs"
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn create(&self, id: u64, kind: Kind, parents: &[u64]) -> Result<()> {
        let tree = self.tree(id);
        make_at_most(&self.folder.join(id.to_string()), 0o700)?;
        make_at_most(&tree, 0o755)?;
        if kind == Kind::Active {
            make_at_most(&self.work(id), 0o711)?;
        }
        // The upper folder's own attributes show as those of the root.
        match parents.first() {
            Some(parent) => self.adopt(id, *parent),
            None => fs::set_permissions(&tree, fs::Permissions::from_mode(0o755))
                .context(|| format!("chmod {}", tree.display())),
        }
    }

    fn has_drafts(&self) -> bool {
        true
    }

    fn draft(&self, id: u64) -> Result<()> {
        let draft = self.folder.join(format!("new-{id}"));
        make_at_most(&draft, 0o700)?;
        make(&draft.join("fs"), 0o755)?;
        make_at_most(&draft.join("work"), 0o711)
    }

    fn use_draft(&self, id: u64, parents: &[u64]) -> Result<()> {
        let (draft, folder) = (self.folder.join(format!("new-{id}")), self.folder.join(id.to_string()));
        fs::rename(&draft, &folder)
            .context(|| format!("rename {} to {}", draft.display(), folder.display()))?;
        parents.first().map_or(Ok(()), |parent| self.adopt(id, *parent))
    }

    fn is_stackable(&self) -> bool {
        true
    }

    fn apart(&self, id: u64) -> Option<Mount> {
        let upper = format!("upperdir={}", self.upper(id));
        let options = [upper].into_iter().chain(self.options.iter().cloned()).collect();
        Some(Mount {
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options,
        })
    }

    fn adopt(&self, id: u64, parent: u64) -> Result<()> {
        let (tree, parent) = (self.tree(id), self.tree(parent));
        let found = fs::metadata(&parent).context(|| format!("stat {}", parent.display()))?;
        std::os::unix::fs::chown(&tree, Some(found.uid()), Some(found.gid()))
            .context(|| format!("chown {}", tree.display()))?;
        fs::set_permissions(&tree, found.permissions()).context(|| format!("chmod {}", tree.display()))
    }

    fn tree(&self, id: u64) -> PathBuf {
        self.folder.join(id.to_string()).join("fs")
    }

    fn mounts(&self, id: u64, kind: Kind, parents: &[u64]) -> Vec<Mount> {
        let active = kind == Kind::Active;
        let mount = match parents {
            [] => Mount::bind(self.upper(id), &[if active { "rw" } else { "ro" }, "rbind"]),
            [parent] if !active => Mount::bind(self.upper(*parent), &["ro", "rbind"]),
            parents => {
                let lower: Vec<String> = parents.iter().map(|parent| self.upper(*parent)).collect();
                let mut options = Vec::new();
                if active {
                    options.push(format!("workdir={}", self.work(id).display()));
                    options.push(format!("upperdir={}", self.upper(id)));
                }
                self.overlay(options, &lower)
            }
        };
        vec![mount]
    }
}

/// Makes a folder that is not there yet, with this mode or less, as the umask has it.
fn make_at_most(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new().mode(mode).create(path).context(|| format!("mkdir {}", path.display()))
}

/// Makes a folder that is not there yet, with exactly this mode whatever the umask.
pub(crate) fn make(path: &Path, mode: u32) -> Result<()> {
    make_at_most(path, mode)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .context(|| format!("chmod {mode:o} {}", path.display()))
}

/// Makes a folder and those above it, for root's eyes only.
pub(crate) fn make_private(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .context(|| format!("mkdir -p {}", path.display()))
}

/// Only the first user namespace maps all ids to themselves (user_namespaces(7)); in others `trusted.*` is not to be had.
fn in_user_namespace() -> bool {
    fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"])
}
