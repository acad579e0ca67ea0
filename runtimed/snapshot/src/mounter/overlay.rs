//! Overlays of any number of layers.

use std::path::Path;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags};

use super::options::Parsed;
use super::{PAGE, classic};
use crate::Mount;

/// An overlay's list of lower folders soon outgrows a page: then each is told by itself (`lowerdir+`, Linux 6.7), or,
/// on older kernels, by a short name from within the folder they share.
pub(super) fn overlay(one: &Mount, target: &Path, parsed: &Parsed) -> std::io::Result<()> {
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

#[cfg(test)]
mod tests {
    use super::super::options::parse;
    use super::super::{mount, unmount_all};
    use super::*;

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
