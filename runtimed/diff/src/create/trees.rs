//! The two trees, made visible without changing either.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use errors::{Context, Result};
use rustix::fs::{Mode, OFlags};
use snapshot::{Mount, TemporaryMount};

/// What is compared.
pub(super) struct Trees {
    lower: Option<Tree>,
    upper: Tree,
    /// `upper` is the upper folder of an overlay on `lower`: removals are marks in it.
    layered: bool,
}

/// A tree, and its mount if it needs one.
struct Tree {
    root: PathBuf,
    mounted: Option<TemporaryMount>,
}

impl Trees {
    pub(super) fn open(lower: &[Mount], upper: &[Mount], scratch: &Path) -> Result<Trees> {
        let below = match lower {
            [] => None,
            mounts => Some(Tree::open(mounts, scratch)?),
        };
        match upper_folder(lower, upper) {
            Some(root) => Ok(Trees { lower: below, upper: Tree { root, mounted: None }, layered: true }),
            None => Ok(Trees { lower: below, upper: Tree::open(upper, scratch)?, layered: false }),
        }
    }

    pub(super) fn is_layered(&self) -> bool {
        self.layered
    }

    pub(super) fn lower_root(&self) -> Result<Option<OwnedFd>> {
        self.lower.as_ref().map(|tree| open(&tree.root)).transpose()
    }

    pub(super) fn upper_root(&self) -> Result<OwnedFd> {
        open(&self.upper.root)
    }

    /// Unmounts; both, also when one fails.
    pub(super) fn close(self) -> Result<()> {
        let close = |tree: Tree| tree.mounted.map_or(Ok(()), TemporaryMount::close);
        let upper = close(self.upper);
        self.lower.map_or(Ok(()), close).and(upper)
    }
}

impl Tree {
    fn open(mounts: &[Mount], scratch: &Path) -> Result<Tree> {
        if let [one] = mounts
            && one.is_bind()
            && one.target.is_empty()
        {
            return Ok(Tree { root: PathBuf::from(&one.source), mounted: None });
        }
        let mounts: Vec<Mount> = mounts.iter().map(read_only).collect();
        let mounted = TemporaryMount::new(scratch, &mounts)?;
        Ok(Tree { root: mounted.path().to_owned(), mounted: Some(mounted) })
    }
}

/// The same to look at, and nothing to write to: an upper folder may be mounted by a container at this moment, and must
/// not be twice.
fn read_only(mount: &Mount) -> Mount {
    let mut mount = mount.clone();
    if mount.kind == "overlay"
        && let Some(upper) = mount.value("upperdir").map(str::to_owned)
    {
        let lower = mount.value("lowerdir").unwrap_or_default().to_owned();
        mount.options.retain(|option| {
            !["upperdir=", "workdir=", "lowerdir="].iter().any(|key| option.starts_with(key))
        });
        mount.options.push(format!("lowerdir={upper}:{lower}"));
    }
    mount.options.retain(|option| option != "rw" && option != "ro");
    mount.options.push("ro".to_owned());
    mount
}

/// The upper folder, when it says by itself what changed from `lower`.
fn upper_folder(lower: &[Mount], upper: &[Mount]) -> Option<PathBuf> {
    let ([lower], [upper]) = (lower, upper) else { return None };
    if upper.kind != "overlay"
        || !upper.target.is_empty()
        || !lower.target.is_empty()
        || marks_elsewhere(upper)
    {
        return None;
    }
    let folder = upper.value("upperdir")?;
    let shown = if lower.is_bind() {
        vec![lower.source.as_str()]
    } else if lower.kind == "overlay" && lower.value("upperdir").is_none() {
        lower.lower_folders()
    } else {
        return None;
    };
    (upper.lower_folders() == shown).then(|| PathBuf::from(folder))
}

/// May the upper folder hold moved folders, or files without their data, that only the kernel puts together
/// (`redirect_dir`, `metacopy`)?
fn marks_elsewhere(mount: &Mount) -> bool {
    ["redirect_dir", "metacopy"].iter().any(|feature| match mount.value(feature) {
        Some(value) => value == "on",
        None => std::fs::read_to_string(format!("/sys/module/overlay/parameters/{feature}"))
            .is_ok_and(|value| value.trim() == "Y"),
    })
}

fn open(root: &Path) -> Result<OwnedFd> {
    rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(std::io::Error::from)
        .context(|| format!("open {}", root.display()))
}
