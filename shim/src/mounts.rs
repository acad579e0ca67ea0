//! Mounts of a container's root filesystem, as a snapshotter names them: type, source, fstab options.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use errors::{Context, Error, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    UnmountFlags,
};

/// mount(2) copies one page of options, and the closing zero is part of it.
const PAGE: usize = 4096;

/// `OVERLAYFS_SUPER_MAGIC` of linux/magic.h.
const OVERLAY: rustix::fs::FsWord = 0x794c_7630;

/// A mount to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) kind: String,
    pub(crate) source: String,
    /// Below the root that is being mounted; usually empty.
    pub(crate) target: String,
    pub(crate) options: Vec<String>,
}

/// fstab options, sorted by who understands them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    flags: MountFlags,
    propagation: MountPropagationFlags,
    bind: bool,
    recursive: bool,
    /// For the filesystem.
    pub(crate) data: Vec<String>,
}

/// Makes all mounts at `root`, in order. If one fails, those before it are undone.
///
/// # Errors
/// Fails with the mount that could not be made.
pub(crate) fn mount_all(mounts: &[Mount], root: &Path) -> Result<()> {
    for mount in mounts {
        if let Err(error) = mount_one(mount, root) {
            // The first error is the one to tell.
            let _ = unmount_below(root);
            return Err(error);
        }
    }
    Ok(())
}

/// Unmounts everything at and below `root`, innermost first. Busy mounts are detached.
///
/// # Errors
/// Tells every mount that stayed.
pub(crate) fn unmount_below(root: &Path) -> Result<()> {
    let Ok(root) = fs::canonicalize(root) else { return Ok(()) };
    unmount_rest(&root, false)
}

/// As [`unmount_below`], for who waits: a root that is an overlay is out of everybody's sight when this returns, and a thread lets go of
/// what it was meanwhile. The kernel then writes back the file system that its upper directory is on, and waits for others. Any other
/// root is gone when this returns: who removes a device next would find it in use.
///
/// # Errors
/// Tells every mount that stayed.
pub(crate) fn take_below(root: &Path) -> Result<()> {
    let Ok(root) = fs::canonicalize(root) else { return Ok(()) };
    let Some(held) = overlay_at(&root) else { return unmount_rest(&root, false) };
    let taken = rustix::mount::unmount(&root, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
    // Without a thread it is let go of here.
    let _ = sys::beside::begin(|| {
        std::thread::Builder::new().name("unmount".to_owned()).spawn(move || drop(held))
    });
    unmount_rest(&root, taken.is_ok())
}

/// The overlay whose root this is.
fn overlay_at(root: &Path) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let held = rustix::fs::open(root, flags, Mode::empty()).ok()?;
    (rustix::fs::fstatfs(&held).ok()?.f_type == OVERLAY).then_some(held)
}

fn unmount_rest(root: &Path, found: bool) -> Result<()> {
    if unmount_alone(root, found) {
        return Ok(());
    }
    let table = fs::read_to_string("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")?;
    let mut failures = Vec::new();
    for point in points_below(&table, root) {
        let busy = match rustix::mount::unmount(&point, UnmountFlags::NOFOLLOW) {
            Err(rustix::io::Errno::BUSY) => {
                rustix::mount::unmount(&point, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)
            }
            other => other,
        };
        match busy {
            // EINVAL: unmounted by somebody else meanwhile.
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => failures.push(format!("unmount {}: {error}", point.display())),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Error::internal(failures.join("; "))) }
}

/// Unmounts what is mounted on `root`, and nothing below it; says whether that was all there was, `found` being what has gone before. The
/// table of all mounts, which is as long as there are containers, need not be read then.
fn unmount_alone(root: &Path, mut found: bool) -> bool {
    loop {
        match rustix::mount::unmount(root, UnmountFlags::NOFOLLOW) {
            Ok(()) => found = true,
            // Not a mount point any more: what was below a mount would have kept it busy.
            Err(rustix::io::Errno::INVAL) => return found,
            Err(_) => return false,
        }
    }
}

fn mount_one(mount: &Mount, root: &Path) -> Result<()> {
    let parsed = parse(&mount.options)?;
    let named =
        || format!("mount {} {:?} at {} with {:?}", mount.kind, mount.source, root.display(), mount.options);
    let point = mount_point(root, &mount.target).context(named)?;
    if parsed.bind || mount.kind == "bind" {
        bind(mount, &parsed, point.path()).context(named)?;
    } else {
        filesystem(mount, &parsed, point.path()).context(named)?;
    }
    if !parsed.propagation.is_empty() {
        rustix::mount::mount_change(point.path(), parsed.propagation)
            .map_err(std::io::Error::from)
            .context(named)?;
    }
    Ok(())
}

/// Where to mount: a path, held by a descriptor if it leads through the filesystem below.
enum Point {
    Root(PathBuf),
    Inside(PathBuf, #[expect(dead_code, reason = "keeps the path valid")] rustix::fd::OwnedFd),
}

impl Point {
    fn path(&self) -> &Path {
        match self {
            Point::Root(path) | Point::Inside(path, _) => path,
        }
    }
}

/// A target inside the root is resolved as the container would, so that a link in an image cannot lead out.
fn mount_point(root: &Path, target: &str) -> std::io::Result<Point> {
    let target = target.trim_start_matches('/');
    if target.is_empty() {
        return Ok(Point::Root(root.to_owned()));
    }
    let dir = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let inside = rustix::fs::openat2(&dir, target, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    Ok(Point::Inside(PathBuf::from(format!("/proc/self/fd/{}", inside.as_raw_fd())), inside))
}

fn bind(mount: &Mount, parsed: &Parsed, point: &Path) -> std::io::Result<()> {
    if parsed.recursive {
        rustix::mount::mount_bind_recursive(mount.source.as_str(), point)?;
    } else {
        rustix::mount::mount_bind(mount.source.as_str(), point)?;
    }
    if !parsed.flags.is_empty() {
        // A bind mount takes its flags only in a second call. Flags of the source that a user namespace locks
        // must stay; what was not asked for is kept from the source.
        let kept = kept_flags(point)?;
        rustix::mount::mount_remount(point, MountFlags::BIND | parsed.flags | kept, "")?;
    }
    Ok(())
}

/// The flags a mount has now.
fn kept_flags(point: &Path) -> std::io::Result<MountFlags> {
    use rustix::fs::StatVfsMountFlags as Stat;
    let now = rustix::fs::statvfs(point)?.f_flag;
    let pairs = [
        (Stat::RDONLY, MountFlags::RDONLY),
        (Stat::NOSUID, MountFlags::NOSUID),
        (Stat::NODEV, MountFlags::NODEV),
    ];
    let more = [(Stat::NOEXEC, MountFlags::NOEXEC), (Stat::NOATIME, MountFlags::NOATIME)];
    let kept = pairs.into_iter().chain(more).filter(|(stat, _)| now.contains(*stat));
    Ok(kept.fold(MountFlags::empty(), |flags, (_, flag)| flags | flag))
}

fn filesystem(mount: &Mount, parsed: &Parsed, point: &Path) -> std::io::Result<()> {
    let (source, kind) = (mount.source.as_str(), mount.kind.as_str());
    let data = parsed.data.join(",");
    if data.len() < PAGE {
        return Ok(rustix::mount::mount(source, point, kind, parsed.flags, Some(&*c_string(&data)?))?);
    }
    if kind != "overlay" {
        return Err(std::io::Error::other(format!("{} bytes of options are more than a page", data.len())));
    }
    if let Some((dir, short)) = shorten(&parsed.data)
        && short.len() < PAGE
    {
        let data = c_string(&short)?;
        // An absolute mount point: the working directory is about to change.
        let point = std::path::absolute(point)?;
        return in_directory(&dir, || {
            Ok(rustix::mount::mount(source, &point, kind, parsed.flags, Some(&*data))?)
        });
    }
    overlay_by_layers(source, &parsed.data, parsed.flags, point)
}

fn c_string(text: &str) -> std::io::Result<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(std::io::Error::other)
}

/// Runs `act` with another working directory. The process has one thread, and this does not yield.
fn in_directory<T>(dir: &Path, act: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
    let here = rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    std::env::set_current_dir(dir)?;
    let result = act();
    rustix::process::fchdir(here)?;
    result
}

/// Overlay options with the directory common to all lower layers taken out; `None` if there is none.
pub(crate) fn shorten(data: &[String]) -> Option<(PathBuf, String)> {
    let lower = data.iter().find_map(|option| option.strip_prefix("lowerdir="))?;
    let layers: Vec<&Path> = lower.split(':').map(Path::new).collect();
    let mut dir = layers.first()?.parent()?.to_owned();
    while !layers.iter().all(|layer| layer.starts_with(&dir) && *layer != dir) {
        dir = dir.parent()?.to_owned();
    }
    if dir == Path::new("/") || !dir.is_absolute() {
        return None;
    }
    let short: Option<Vec<&str>> =
        layers.iter().map(|layer| layer.strip_prefix(&dir).ok()?.to_str()).collect();
    let short = format!("lowerdir={}", short?.join(":"));
    let options = data.iter().map(|option| if option.starts_with("lowerdir=") { &short } else { option });
    Some((dir, options.map(String::as_str).collect::<Vec<_>>().join(",")))
}

/// With the mount API of Linux 6.8 each layer is an option of its own, and there is no page to fill.
fn overlay_by_layers(source: &str, data: &[String], flags: MountFlags, point: &Path) -> std::io::Result<()> {
    use rustix::mount::{
        fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    };
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", source)?;
    for option in data {
        match option.split_once('=') {
            Some(("lowerdir", layers)) => {
                for layer in layers.split(':') {
                    fsconfig_set_string(context.as_fd(), "lowerdir+", layer)?;
                }
            }
            Some((key, value)) => fsconfig_set_string(context.as_fd(), key, value)?,
            None => fsconfig_set_flag(context.as_fd(), option.as_str())?,
        }
    }
    fsconfig_create(context.as_fd())?;
    let mounted = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes(flags))?;
    Ok(move_mount(mounted.as_fd(), "", CWD, point, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn attributes(flags: MountFlags) -> MountAttrFlags {
    let pairs = [
        (MountFlags::RDONLY, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (MountFlags::NOSUID, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (MountFlags::NODEV, MountAttrFlags::MOUNT_ATTR_NODEV),
        (MountFlags::NOEXEC, MountAttrFlags::MOUNT_ATTR_NOEXEC),
        (MountFlags::NOATIME, MountAttrFlags::MOUNT_ATTR_NOATIME),
    ];
    let asked = pairs.into_iter().filter(|(flag, _)| flags.contains(*flag));
    asked.fold(MountAttrFlags::empty(), |all, (_, attribute)| all | attribute)
}

/// Sorts fstab options (mount(8), "Filesystem-independent mount options").
pub(crate) fn parse(options: &[String]) -> Result<Parsed> {
    let mut parsed = Parsed {
        flags: MountFlags::empty(),
        propagation: MountPropagationFlags::empty(),
        bind: false,
        recursive: false,
        data: Vec::new(),
    };
    for option in options {
        match option.as_str() {
            "bind" => parsed.bind = true,
            "rbind" => (parsed.bind, parsed.recursive) = (true, true),
            "defaults" | "" => {}
            "loop" => return Err(unsupported(option)),
            _ if option.starts_with("uidmap=") || option.starts_with("gidmap=") => {
                return Err(unsupported(option));
            }
            _ if option.starts_with("X-") || option.starts_with("x-") => return Err(unsupported(option)),
            other => match (flag(other), propagation(other)) {
                (Some((flag, true)), _) => parsed.flags |= flag,
                (Some((flag, false)), _) => parsed.flags -= flag,
                (None, Some(propagation)) => parsed.propagation |= propagation,
                (None, None) => parsed.data.push(other.to_owned()),
            },
        }
    }
    Ok(parsed)
}

fn unsupported(option: &str) -> Error {
    Error::unimplemented(format!("the mount option {option:?} is not supported"))
}

/// The flag behind an option, and whether the option sets it.
fn flag(option: &str) -> Option<(MountFlags, bool)> {
    Some(match option {
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "nostrictatime" => (MountFlags::STRICTATIME, false),
        _ => return None,
    })
}

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    let (option, recursive) = match option.strip_prefix('r') {
        Some(rest @ ("private" | "shared" | "slave" | "unbindable")) => (rest, MountPropagationFlags::REC),
        _ => (option, MountPropagationFlags::empty()),
    };
    let propagation = match option {
        "private" => MountPropagationFlags::PRIVATE,
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some(propagation | recursive)
}

/// Mount points at and below `root`, the last mounted first.
pub(crate) fn points_below(mountinfo: &str, root: &Path) -> Vec<PathBuf> {
    let point = |line: &str| line.split(' ').nth(4).map(unescape);
    let below = mountinfo.lines().filter_map(point).filter(|point| point.starts_with(root));
    let mut points: Vec<PathBuf> = below.collect();
    points.reverse();
    points
}

/// Blanks and backslashes are written as `\040` (proc_pid_mountinfo(5)).
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    #[test]
    fn options_find_their_place() {
        let parsed = parse(&options("ro,nosuid,rw,rbind,rslave,lowerdir=/a:/b,index=off")).unwrap();
        assert_eq!(parsed.flags, MountFlags::NOSUID);
        assert_eq!(parsed.propagation, MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC);
        assert!(parsed.bind && parsed.recursive);
        assert_eq!(parsed.data, ["lowerdir=/a:/b", "index=off"]);
        assert_eq!(parse(&options("uidmap=0:1:2")).unwrap_err().kind(), errors::Kind::Unimplemented);
    }

    #[test]
    fn lower_layers_are_shortened_by_what_they_share() {
        let data = options("workdir=/s/9/work,upperdir=/s/9/fs,lowerdir=/s/2/fs:/s/1/fs");
        let (dir, short) = shorten(&data).unwrap();
        assert_eq!(dir, Path::new("/s"));
        assert_eq!(short, "workdir=/s/9/work,upperdir=/s/9/fs,lowerdir=2/fs:1/fs");
        assert_eq!(shorten(&options("lowerdir=/a/fs:/b/fs")), None);
        assert_eq!(shorten(&options("upperdir=/a")), None);
    }

    #[test]
    fn mount_points_are_found_and_unescaped() {
        let table = "1 0 8:1 / / rw - ext4 a rw\n2 1 0:5 / /b/c rw - tmpfs t rw\n3 2 0:6 / /b/c/d\\040e rw - tmpfs t rw\n4 1 0:7 / /b/cc rw - tmpfs t rw\n";
        assert_eq!(points_below(table, Path::new("/b/c")), [Path::new("/b/c/d e"), Path::new("/b/c")]);
        assert_eq!(unescape("a\\134b\\04"), Path::new("a\\b\\04"));
    }

    /// An overlay of `lower`, with its upper and work directories where `at` says.
    fn overlay_of(lower: &str, at: impl Fn(&str) -> String) -> Mount {
        let options = [
            format!("workdir={}", at("work")),
            format!("upperdir={}", at("upper")),
            format!("lowerdir={lower}"),
        ];
        Mount {
            kind: "overlay".into(),
            source: "overlay".into(),
            options: options.into(),
            ..Mount::default()
        }
    }

    /// As root: makes real mounts in a temporary directory.
    #[test]
    fn an_overlay_of_more_layers_than_fit_a_page() {
        let dir = tempfile::tempdir().unwrap();
        let tmpfs = Mount { kind: "tmpfs".into(), source: "tmpfs".into(), ..Mount::default() };
        mount_all(std::slice::from_ref(&tmpfs), dir.path()).unwrap();
        let base = dir.path().join("x".repeat(200));
        let mut layers = Vec::new();
        for number in 0..60 {
            let layer = base.join(number.to_string()).join("fs");
            fs::create_dir_all(&layer).unwrap();
            fs::write(layer.join(format!("file{number}")), "").unwrap();
            layers.push(layer.to_string_lossy().into_owned());
        }
        for name in ["upper", "work", "root"] {
            fs::create_dir(base.join(name)).unwrap();
        }
        let at = |name: &str| base.join(name).to_string_lossy().into_owned();
        let overlay = overlay_of(&layers.join(":"), at);
        let here = std::env::current_dir().unwrap();
        let root = base.join("root");
        mount_all(std::slice::from_ref(&overlay), &root).unwrap();
        assert_eq!(std::env::current_dir().unwrap(), here);
        assert!(root.join("file0").exists() && root.join("file59").exists());
        unmount_below(&root).unwrap();
        let parsed = parse(&overlay.options).unwrap();
        match overlay_by_layers("overlay", &parsed.data, parsed.flags, &root) {
            Ok(()) => assert!(root.join("file59").exists()),
            // A kernel before 6.8 does not know "lowerdir+".
            Err(error) => assert_eq!(error.raw_os_error(), Some(22)),
        }
        let bind =
            Mount { kind: "bind".into(), source: at("0"), options: options("rbind,ro"), ..Mount::default() };
        fs::create_dir(base.join("bound")).unwrap();
        mount_all(&[bind], &base.join("bound")).unwrap();
        assert!(fs::write(base.join("bound/new"), "").is_err());
        unmount_below(dir.path()).unwrap();
        assert!(!base.exists());
    }

    /// As root: whatever the root is, nothing is seen of it, nor of what is mounted in it, once it has been taken.
    #[test]
    fn a_root_that_was_taken_is_out_of_sight() {
        let dir = tempfile::tempdir().unwrap();
        let named = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        for name in ["lower", "upper", "work", "root"] {
            fs::create_dir(named(name)).unwrap();
        }
        fs::create_dir(dir.path().join("lower/inner")).unwrap();
        let overlay = overlay_of(&named("lower"), named);
        let tmpfs = Mount { kind: "tmpfs".into(), source: "tmpfs".into(), ..Mount::default() };
        let inner = Mount { target: "/inner".into(), ..tmpfs.clone() };
        let root = dir.path().join("root");
        for mounts in [vec![overlay.clone(), inner], vec![tmpfs, overlay.clone()], vec![overlay]] {
            mount_all(&mounts, &root).unwrap();
            fs::write(root.join("kept"), "").unwrap();
            take_below(&root).unwrap();
            assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert_eq!(points_below(&table, &root), Vec::<PathBuf>::new());
        }
        assert!(dir.path().join("upper/kept").exists(), "what was written is there");
        take_below(&root).unwrap();
        take_below(&dir.path().join("missing")).unwrap();
    }
}
