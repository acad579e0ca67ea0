//! Mounts what a snapshotter, or a client, describes.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use errors::{Context, Error, Kind, Result};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags,
};

use crate::Mount;

/// mount(2) takes one page of options, with the NUL at its end.
const PAGE: usize = 4096;

/// Options as mount(2) wants them.
#[derive(Debug, Default, PartialEq)]
struct Parsed {
    flags: u32,
    propagation: Option<u32>,
    /// What only the file system understands.
    data: Vec<String>,
}

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

/// An overlay's list of lower folders soon outgrows a page: then each is told by itself (`lowerdir+`, Linux 6.7), or,
/// on older kernels, by a short name from within the folder they share.
fn overlay(one: &Mount, target: &Path, parsed: &Parsed) -> std::io::Result<()> {
    let flags = MountFlags::from_bits_retain(parsed.flags);
    if parsed.data.iter().map(|option| option.len() + 1).sum::<usize>() <= PAGE {
        return classic(&one.source, target, "overlay", flags, &parsed.data);
    }
    match overlay_by_parts(one, target, parsed) {
        Err(error) if matches!(error.raw_os_error(), Some(code) if is_unknown(code)) => {
            overlay_from_within(one, target, flags, &parsed.data)
        }
        done => done,
    }
}

fn is_unknown(code: i32) -> bool {
    use rustix::io::Errno;
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM].contains(&Errno::from_raw_os_error(code))
}

/// fsopen(2) and its kin.
fn overlay_by_parts(one: &Mount, target: &Path, parsed: &Parsed) -> std::io::Result<()> {
    use rustix::mount::{
        fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    };
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", one.source.as_str())?;
    for option in &parsed.data {
        match option.split_once('=') {
            Some(("lowerdir", list)) => {
                for folder in list.split(':') {
                    fsconfig_set_string(&context, "lowerdir+", folder)?;
                }
            }
            Some((key, value)) => fsconfig_set_string(&context, key, value)?,
            None => fsconfig_set_flag(&context, option.as_str())?,
        }
    }
    fsconfig_create(&context)?;
    let mut attributes = MountAttrFlags::empty();
    let flags = MountFlags::from_bits_retain(parsed.flags);
    for (flag, attribute) in [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
        (MountFlags::NODIRATIME, MountAttrFlags::MOUNT_ATTR_NODIRATIME),
    ] {
        if flags.contains(flag) {
            attributes |= attribute;
        }
    }
    let mounted = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    Ok(move_mount(&mounted, "", rustix::fs::CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// The current folder belongs to the whole process, but for a thread that took itself out.
fn overlay_from_within(
    one: &Mount,
    target: &Path,
    flags: MountFlags,
    data: &[String],
) -> std::io::Result<()> {
    let lower = one.lower_folders();
    let shared = shared_folder(&lower).ok_or_else(|| {
        std::io::Error::new(std::io::ErrorKind::InvalidInput, "lower folders share no folder")
    })?;
    let short: Vec<&str> =
        lower.iter().map(|folder| folder[shared.len()..].trim_start_matches('/')).collect();
    let data: Vec<String> = data
        .iter()
        .map(|option| match option.starts_with("lowerdir=") {
            true => format!("lowerdir={}", short.join(":")),
            false => option.clone(),
        })
        .collect();
    let (source, target, shared) = (one.source.clone(), std::path::absolute(target)?, shared.to_owned());
    let thread = std::thread::Builder::new().name("mount-overlay".to_owned()).spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS)?;
        std::env::set_current_dir(&shared)?;
        classic(&source, &target, "overlay", flags, &data)
    })?;
    thread.join().unwrap_or_else(|_| Err(std::io::Error::other("the mounting thread panicked")))
}

/// The longest folder that all paths are strictly below of.
fn shared_folder<'a>(paths: &[&'a str]) -> Option<&'a str> {
    let first = *paths.first()?;
    let mut end = first.rfind('/')?;
    while !paths.iter().all(|path| path.as_bytes().get(end) == Some(&b'/') && path.starts_with(&first[..end]))
    {
        end = first[..end].rfind('/')?;
    }
    (end > 0).then(|| &first[..end])
}

/// Parts flags from what is the file system's own (mount(8), "FILESYSTEM-INDEPENDENT MOUNT OPTIONS").
fn parse(options: &[String]) -> Parsed {
    let mut parsed = Parsed::default();
    for option in options {
        let (flag, on) = match option.as_str() {
            "defaults" | "loop" | "bind" | "rbind" => continue,
            "ro" => (MountFlags::RDONLY, true),
            "rw" => (MountFlags::RDONLY, false),
            "nosuid" => (MountFlags::NOSUID, true),
            "suid" => (MountFlags::NOSUID, false),
            "nodev" => (MountFlags::NODEV, true),
            "dev" => (MountFlags::NODEV, false),
            "noexec" => (MountFlags::NOEXEC, true),
            "exec" => (MountFlags::NOEXEC, false),
            "noatime" => (MountFlags::NOATIME, true),
            "atime" => (MountFlags::NOATIME, false),
            "nodiratime" => (MountFlags::NODIRATIME, true),
            "diratime" => (MountFlags::NODIRATIME, false),
            "relatime" => (MountFlags::RELATIME, true),
            "norelatime" => (MountFlags::RELATIME, false),
            "strictatime" => (MountFlags::STRICTATIME, true),
            "sync" => (MountFlags::SYNCHRONOUS, true),
            "async" => (MountFlags::SYNCHRONOUS, false),
            "dirsync" => (MountFlags::DIRSYNC, true),
            other => {
                match propagation(other) {
                    Some(bits) => parsed.propagation = Some(bits),
                    None => parsed.data.push(option.clone()),
                }
                continue;
            }
        };
        parsed.flags = if on { parsed.flags | flag.bits() } else { parsed.flags & !flag.bits() };
    }
    parsed
}

fn propagation(option: &str) -> Option<u32> {
    let (kind, recursive) = match option.strip_prefix('r') {
        Some(kind) => (kind, MountPropagationFlags::REC),
        None => (option, MountPropagationFlags::empty()),
    };
    let flags = match kind {
        "private" => MountPropagationFlags::PRIVATE,
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some((flags | recursive).bits())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_flags_from_data() {
        let options = ["ro", "rbind", "nosuid", "size=1k", "rprivate", "suid"].map(str::to_owned);
        let parsed = parse(&options);
        assert_eq!(parsed.flags, MountFlags::RDONLY.bits());
        assert_eq!(parsed.data, ["size=1k"]);
        assert_eq!(
            parsed.propagation,
            Some((MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).bits())
        );
    }

    #[test]
    fn finds_the_shared_folder() {
        assert_eq!(shared_folder(&["/a/b/1/fs", "/a/b/12/fs"]), Some("/a/b"));
        assert_eq!(shared_folder(&["/a/b/1/fs"]), Some("/a/b/1"));
        assert_eq!(shared_folder(&["/a/b", "/c/d"]), None);
        assert_eq!(shared_folder(&["/a/bc/x", "/a/b/x"]), Some("/a"));
        assert_eq!(shared_folder(&[]), None);
    }

    #[test]
    fn mounts_many_layers_either_way() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("x".repeat(60));
        let mut lower = Vec::new();
        for number in 0..100 {
            let layer = long.join(number.to_string());
            std::fs::create_dir_all(&layer).unwrap();
            std::fs::write(layer.join(format!("file{number}")), "").unwrap();
            lower.push(layer.display().to_string());
        }
        let one = Mount {
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: vec![format!("lowerdir={}", lower.join(":"))],
        };
        let target = folder.path().join("target");
        std::fs::create_dir(&target).unwrap();
        let parsed = parse(&one.options);
        for how in [0, 1, 2] {
            match how {
                0 => mount(std::slice::from_ref(&one), &target).unwrap(),
                1 => match overlay_by_parts(&one, &target, &parsed) {
                    // Before Linux 6.7.
                    Err(error) if error.raw_os_error().is_some_and(is_unknown) => continue,
                    done => done.unwrap(),
                },
                _ => overlay_from_within(&one, &target, MountFlags::empty(), &parsed.data).unwrap(),
            }
            let seen = std::fs::read_dir(&target).unwrap().count();
            unmount_all(&target).unwrap();
            assert_eq!(seen, 100, "way {how}");
        }
    }
}
