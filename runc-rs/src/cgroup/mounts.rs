//! Where the cgroup hierarchies are mounted, and where in them this process is: `/proc/self/mountinfo` and
//! `/proc/self/cgroup`, cgroups(7) and proc(5).

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::{Error, Result, file};

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Which of its directories is mounted there; `/` but inside of containers.
    pub root: PathBuf,
    /// Controllers of a version 1 hierarchy, and `name=...` of a named one.
    pub controllers: Vec<String>,
    /// Whether it is the unified hierarchy of version 2.
    pub unified: bool,
}

/// The hierarchies that this process sees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    /// Mounts, in the order of mounting.
    pub mounts: Vec<Mount>,
    /// This process's cgroup by controller; `""` for the unified hierarchy.
    pub own: BTreeMap<String, PathBuf>,
}

impl Hierarchies {
    /// Reads both files of /proc.
    pub fn read() -> Result<Self> {
        let proc = Path::new("/proc/self");
        let own = file::read(proc, "cgroup")?;
        let path = proc.join("mountinfo");
        let mounts = std::fs::File::open(&path)
            .and_then(|file| sys::mountinfo::up_to_cgroups(file, &own, "/"))
            .map_err(|e| Error::io("read", &path, e))?;
        Ok(Self { mounts: parse_mountinfo(&mounts), own: parse_own(&own) })
    }

    /// Whether the host runs version 2 alone: the unified hierarchy and no version 1 controller.
    pub fn unified_only(&self) -> bool {
        self.unified().is_some()
            && !self
                .mounts
                .iter()
                .any(|m| !m.unified && m.controllers.iter().any(|c| !c.starts_with("name=")))
    }

    /// The unified hierarchy, which a version 1 host may have besides.
    pub fn unified(&self) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.unified)
    }

    /// The version 1 hierarchy of a controller.
    pub fn v1(&self, controller: &str) -> Option<&Mount> {
        self.mounts.iter().find(|mount| !mount.unified && mount.controllers.iter().any(|c| c == controller))
    }

    /// The directory of `path` in a hierarchy: an absolute one from its mount point, a relative one from this
    /// process's own cgroup. `controller` is `""` for the unified hierarchy.
    pub fn locate(&self, mount: &Mount, controller: &str, path: &Path) -> Result<PathBuf> {
        let path_is_absolute = path.is_absolute();
        let path = clean(path);
        if path_is_absolute {
            return Ok(mount.mountpoint.join(path));
        }
        let own = self
            .own
            .get(controller)
            .ok_or_else(|| Error::NotExist(format!("/proc/self/cgroup has no line for {controller:?}")))?;
        let below = own.strip_prefix(&mount.root).unwrap_or(own);
        Ok(mount.mountpoint.join(clean(below)).join(path))
    }
}

/// A path without its leading `/` and with `.` and `..` resolved as text, never above the start.
pub fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}

pub(crate) fn parse_mountinfo(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_mount).collect()
}

/// `36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices`
fn parse_mount(line: &str) -> Option<Mount> {
    let (front, back) = line.split_once(" - ")?;
    let mut front = front.split(' ').skip(3);
    let (root, mountpoint) = (unescape(front.next()?), unescape(front.next()?));
    let mut back = back.split(' ');
    let unified = match back.next()? {
        "cgroup" => false,
        "cgroup2" => true,
        _ => return None,
    };
    let options = back.nth(1).unwrap_or_default();
    let controllers = match unified {
        true => Vec::new(),
        false => options.split(',').filter(|o| is_controller(o)).map(str::to_owned).collect(),
    };
    Some(Mount { mountpoint, root, controllers, unified })
}

/// Mount options of a version 1 hierarchy that are not names of controllers (kernel/cgroup/cgroup-v1.c).
fn is_controller(option: &str) -> bool {
    !matches!(
        option,
        "rw" | "ro" | "xattr" | "noprefix" | "clone_children" | "cpuset_v2_mode" | "favordynmods" | ""
    ) && !option.starts_with("release_agent=")
        && option != "none"
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let octal = (bytes[i] == b'\\').then(|| text.get(i + 1..i + 4)).flatten();
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                i += 4;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

/// `4:memory:/a/b`: hierarchy, controllers, path.
pub(crate) fn parse_own(text: &str) -> BTreeMap<String, PathBuf> {
    text.lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            Some((parts.next()?, PathBuf::from(parts.next()?)))
        })
        .flat_map(|(names, path)| {
            names.split(',').map(move |name| (name.to_owned(), path.clone())).collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /docker/x /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/uni\\040fied rw,relatime - cgroup2 cgroup2 rw
";
    const OWN: &str = "4:memory:/docker/x/y\n2:cpu,cpuacct:/a\n1:name=systemd:/\n0::/u\n";

    fn hierarchies() -> Hierarchies {
        Hierarchies { mounts: parse_mountinfo(MOUNTINFO), own: parse_own(OWN) }
    }

    #[test]
    fn finds_controllers_wherever_they_are_mounted() {
        let h = hierarchies();
        assert_eq!(h.v1("cpuacct").unwrap().mountpoint, Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(h.v1("name=systemd").unwrap().controllers, ["name=systemd"]);
        assert_eq!(h.unified().unwrap().mountpoint, Path::new("/sys/fs/cgroup/uni fied"));
        assert!(h.v1("pids").is_none());
        assert!(!h.unified_only());
    }

    #[test]
    fn locates_absolute_and_relative_paths() {
        let h = hierarchies();
        let at = |controller: &str, path: &str| {
            h.locate(h.v1(controller).unwrap(), controller, Path::new(path)).unwrap().display().to_string()
        };
        assert_eq!(at("cpu", "/x/../y"), "/sys/fs/cgroup/cpu,cpuacct/y");
        assert_eq!(at("cpu", "c1"), "/sys/fs/cgroup/cpu,cpuacct/a/c1");
        assert_eq!(at("memory", "../../c1"), "/sys/fs/cgroup/memory/y/c1");
        assert_eq!(at("name=systemd", "c1"), "/sys/fs/cgroup/systemd/c1");
    }

    #[test]
    fn unified_only_is_told_from_hybrid() {
        let mut h = hierarchies();
        h.mounts.retain(|m| m.unified);
        assert!(h.unified_only());
    }
}
