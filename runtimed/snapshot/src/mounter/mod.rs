//! Mounts what a snapshotter, or a client, describes.

pub(crate) mod options;
mod overlay;

use std::ffi::CString;
use std::path::{Path, PathBuf};

use errors::{Context, Error, Kind, Result};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use crate::Mount;
use options::{Parsed, parse};
use overlay::overlay;

/// mount(2) takes one page of options, with the NUL at its end.
const PAGE: usize = 4096;

/// Mounts all of them, each on `target` or on its own place below; unmounts again what was mounted when one fails.
pub fn mount(mounts: &[Mount], target: &Path) -> Result<()> {
    let mut done: Vec<PathBuf> = Vec::new();
    for one in mounts {
        let result = place(target, &one.target).and_then(|place| {
            mount_one(one, &place)?;
            Ok(place)
        });
        match result {
            Ok(place) => done.push(place),
            Err(error) => {
                for place in done.iter().rev() {
                    // The first failure is the one to tell.
                    let _ = rustix::mount::unmount(place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
                }
                return Err(error);
            }
        }
    }
    Ok(())
}

/// `inner` below `target`, through no symlink that leads out; named by a path of its real folders.
fn place(target: &Path, inner: &str) -> Result<PathBuf> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let inner = inner.trim_matches('/');
    if inner.is_empty() {
        return Ok(target.to_owned());
    }
    let call = || format!("open {inner:?} in {}", target.display());
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, target, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(std::io::Error::from)
        .context(call)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let found =
        openat2(&root, inner, flags, Mode::empty(), resolve).map_err(std::io::Error::from).context(call)?;
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd())).context(call)
}

fn mount_one(one: &Mount, target: &Path) -> Result<()> {
    let parsed = parse(&one.options);
    let call = || format!("mount {} {:?} on {} {:?}", one.kind, one.source, target.display(), one.options);
    let flags = MountFlags::from_bits_retain(parsed.flags);
    let done = if one.is_bind() {
        bind(one, target, &parsed)
    } else if one.kind == "overlay" {
        overlay(one, target, &parsed)
    } else {
        classic(&one.source, target, &one.kind, flags, &parsed.data)
    };
    done.context(call)?;
    match parsed.propagation {
        Some(bits) => rustix::mount::mount_change(target, MountPropagationFlags::from_bits_retain(bits))
            .map_err(std::io::Error::from)
            .context(call),
        None => Ok(()),
    }
}

/// A bind takes its other flags only in a second step (mount(2), "Remounting an existing mount").
fn bind(one: &Mount, target: &Path, parsed: &Parsed) -> std::io::Result<()> {
    if let Some(unknown) = parsed.data.first() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!("a bind mount has no option {unknown:?}"),
        ));
    }
    if one.has("rbind") {
        rustix::mount::mount_bind_recursive(&one.source, target)?;
    } else {
        rustix::mount::mount_bind(&one.source, target)?;
    }
    let flags = MountFlags::from_bits_retain(parsed.flags);
    if flags.is_empty() {
        return Ok(());
    }
    let restricted = rustix::mount::mount_remount(target, MountFlags::BIND | flags, "");
    if restricted.is_err() {
        // Better none than a writable one.
        let _ = rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
    Ok(restricted?)
}

fn classic(
    source: &str,
    target: &Path,
    kind: &str,
    flags: MountFlags,
    data: &[String],
) -> std::io::Result<()> {
    let data = CString::new(data.join(","))?;
    if data.as_bytes_with_nul().len() > PAGE {
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            format!("{} bytes of options are more than the {PAGE} that mount takes", data.as_bytes().len()),
        ));
    }
    Ok(rustix::mount::mount(source, target, kind, flags, data.as_c_str())?)
}

/// Unmounts `target`, all that is stacked there, even when it is in use.
pub(crate) fn unmount_all(target: &Path) -> Result<()> {
    loop {
        match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // Nothing is mounted there any more.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => {
                let error = std::io::Error::from(error);
                return Err(Error::with_source(
                    Kind::of_io(&error),
                    format!("unmount {}", target.display()),
                    error,
                ));
            }
        }
    }
}
