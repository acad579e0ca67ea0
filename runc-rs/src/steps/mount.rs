//! Mounts inside the container's root (config.md, "Mounts").

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, OFlags};
use sys::mount::{MountAttr, RDONLY};

use super::site::{Look, Site};
use super::tree::{New, Tree};
use super::{Context, cgroup_mount, copy_up, security};
use crate::error::{Context as _, Error, Result};
use crate::plan::mounts::{Mount, Source, check_proc};

const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Carries one mount out.
pub fn mount(context: &mut Context<'_>, mount: &Mount) -> Result<()> {
    let what = || {
        let source = match &mount.source {
            Source::Bind { path, .. } => path.display().to_string(),
            Source::Filesystem { fstype, source } => source.clone().unwrap_or_else(|| fstype.clone()),
            Source::Cgroup => "cgroup".to_owned(),
            Source::Remount => String::new(),
        };
        format!("error mounting {source:?} to rootfs at {:?}", mount.destination.display().to_string())
    };
    match &mount.source {
        Source::Bind { path, recursive } => bind(context, mount, path, *recursive),
        Source::Filesystem { fstype, source } => {
            filesystem(context.site()?, mount, fstype, source.as_deref())
        }
        Source::Cgroup => cgroup_mount::mount(context, mount),
        Source::Remount => remount(context.site()?, mount),
    }
    .with_context(what)
}

/// How a mount of the document is to look.
fn look(mount: &Mount) -> Look<'_> {
    let attr = mount.options.attr;
    let attr = if mount.late_readonly { MountAttr { set: attr.set & !RDONLY, ..attr } } else { attr };
    Look { attr, recursive: mount.options.recursive_attr, propagation: &mount.options.propagation }
}

fn bind(context: &mut Context<'_>, mount: &Mount, path: &Path, recursive: bool) -> Result<()> {
    let opened = context.trees.iter().position(|(at, _)| *at == mount.destination);
    let tree = match opened {
        Some(index) => Tree::Detached(context.trees.remove(index).1),
        None => Tree::at(path, recursive)?,
    };
    let site = context.site()?;
    let target = if tree.is_directory()? {
        site.root.make_dir(&mount.destination, 0o755)?
    } else {
        site.root.make_file(&mount.destination)?
    };
    let place = checked_place(site, &target, mount)?;
    if place && tree.magic()? != Some(PROC_SUPER_MAGIC) {
        return Err(Error::new("\"/proc\" cannot be mounted because it is not of type proc"));
    }
    site.attach(tree, &target, &mount.destination, look(mount)).map(drop)
}

/// Refuses a mount point that lies below /proc, wherever the image's symlinks have led; whether it is /proc itself.
pub fn checked_place(site: Site<'_>, target: &OwnedFd, mount: &Mount) -> Result<bool> {
    let place = site.place(target)?;
    check_proc(&place, &mount.source)?;
    Ok(place == Path::new("/proc"))
}

/// A new file system.
fn filesystem(site: Site<'_>, mount: &Mount, fstype: &str, source: Option<&str>) -> Result<()> {
    let there = site.root.stat(&mount.destination)?;
    let mut data = mount.options.data.clone();
    if let Some(stat) = &there {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if matches!(fstype, "proc" | "sysfs") && !directory {
            return Err(Error::new(format!("filesystem {fstype:?} must be mounted on ordinary directory")));
        }
        if fstype == "tmpfs" && directory && !data.iter().any(|word| word.starts_with("mode=")) {
            data.push(format!("mode={:o}", stat.st_mode & 0o7777));
        }
    }
    let labelled_by_itself = fstype == "mqueue";
    if !labelled_by_itself {
        data.extend(security::mount_option(&mount.label));
    }
    let target = site.root.make_dir(&mount.destination, 0o755)?;
    checked_place(site, &target, mount)?;
    let covered = mount.options.copy_up.then(|| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        site.root.open(&mount.destination, flags).map_err(|e| Error::call("open for tmpcopyup", e))
    });
    let covered = covered.transpose()?;
    let look = look(mount);
    let tree = Tree::new(New {
        fstype: fstype.into(),
        source: source.map(str::to_owned),
        data,
        superblock: mount.options.superblock.clone(),
        attr: look.attr.set,
    })?;
    // The flags are there from the start, but for those below it.
    let later = Look { attr: MountAttr::default(), ..look };
    match (covered, tree) {
        (Some(from), Tree::Detached(fd)) => {
            copy_up::copy(from, &fd).context("tmpcopyup")?;
            site.attach(Tree::Detached(fd), &target, &mount.destination, later).map(drop)
        }
        (Some(from), tree) => {
            let mounted = site.attach(tree, &target, &mount.destination, later)?;
            copy_up::copy(from, &mounted).context("tmpcopyup")
        }
        (None, tree) => {
            let mounted = site.attach(tree, &target, &mount.destination, later)?;
            if labelled_by_itself { security::label_directory(&mounted, &mount.label) } else { Ok(()) }
        }
    }
}

/// Other flags for the mount at the destination, and other words for its file system.
fn remount(site: Site<'_>, mount: &Mount) -> Result<()> {
    let fd = site.root.open(&mount.destination, OFlags::PATH).map_err(|e| Error::call("open", e))?;
    checked_place(site, &fd, mount)?;
    let look = look(mount);
    let (superblock, data) = (&mount.options.superblock, &mount.options.data);
    // With `bind` it is the mount alone that changes.
    if mount.options.bind.is_none() && !(superblock.is_empty() && data.is_empty()) {
        site.reconfigure(&fd, superblock, data)?;
    }
    site.change(&fd, look)?;
    look.propagation.iter().try_for_each(|p| site.propagate(&fd, *p))
}
