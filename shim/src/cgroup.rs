//! Where a process's cgroups are, and the files in them (cgroups(7)). Only ever read, but for the shim's own
//! placement.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use errors::{Context, Error, Kind, Result, WithKind};

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` (statfs(2)).
const CGROUP2_MAGIC: i64 = 0x6367_7270;
/// A tree deeper or wider than this is not walked to its end.
const MOST_DIRS: usize = 10_000;

/// A container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cgroup {
    /// A directory for each controller.
    V1(BTreeMap<String, PathBuf>),
    /// One directory.
    V2(PathBuf),
}

impl Cgroup {
    /// The cgroup that process `pid` is in now.
    ///
    /// # Errors
    /// Fails if the process is gone.
    pub(crate) fn of(pid: u32) -> Result<Cgroup> {
        let path = format!("/proc/{pid}/cgroup");
        let text = fs::read_to_string(&path).context(|| format!("read {path}"))?;
        if is_unified() {
            let own = v2_path(&text).ok_or_else(|| Error::not_found(format!("{path} names no v2 cgroup")))?;
            return Ok(Cgroup::V2(under(Path::new(ROOT), own)));
        }
        let mounts = fs::File::open("/proc/self/mountinfo")
            .and_then(|file| sys::mountinfo::up_to_cgroups(file, &text, "/"))
            .context(|| "read /proc/self/mountinfo")?;
        Ok(Cgroup::V1(v1_paths(&text, &v1_mounts(&mounts))))
    }

    /// Every process in it and below.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(crate) fn pids(&self) -> Result<Vec<u32>> {
        let dir = match self {
            Cgroup::V2(dir) => dir,
            // runc asks the devices hierarchy, which is always there.
            Cgroup::V1(dirs) => ["devices", "pids", "memory", "freezer"]
                .iter()
                .find_map(|name| dirs.get(*name))
                .or_else(|| dirs.values().next())
                .ok_or_else(|| Error::not_found("the container has no cgroup"))?,
        };
        let mut pids = Vec::new();
        let mut dirs = vec![dir.clone()];
        let mut seen = 0;
        while let Some(dir) = dirs.pop() {
            seen += 1;
            let file = dir.join("cgroup.procs");
            match fs::read_to_string(&file) {
                Ok(text) => pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok())),
                // A cgroup may vanish under our eyes; a threaded one has no such file to read.
                Err(error) if seen > 1 && error.raw_os_error().is_some() => {}
                Err(error) => return Err(error).context(|| format!("read {}", file.display())),
            }
            let below = fs::read_dir(&dir).into_iter().flatten().filter_map(std::io::Result::ok);
            let below = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            dirs.extend(below.map(|entry| entry.path()).take(MOST_DIRS.saturating_sub(seen + dirs.len())));
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }
}

/// Puts process `pid` into the cgroup at `path` below every hierarchy's root.
///
/// # Errors
/// Fails if a cgroup of that name is missing.
pub(crate) fn join(path: &str, pid: u32) -> Result<()> {
    let roots: Vec<PathBuf> = if is_unified() {
        vec![ROOT.into()]
    } else {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context(|| "read /proc/self/mountinfo")?;
        v1_mounts(&mounts)
            .into_iter()
            .filter(|mount| mount.has_controllers())
            .map(|mount| mount.point)
            .collect()
    };
    let mut joined = false;
    for root in roots {
        let file = under(&root, path).join("cgroup.procs");
        match fs::write(&file, pid.to_string()) {
            Ok(()) => joined = true,
            // A v1 cgroup need not exist in every hierarchy.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(|| format!("join the cgroup {}", file.display())),
        }
    }
    if joined { Ok(()) } else { Err(Error::not_found(format!("there is no cgroup {path:?}"))) }
}

/// The number in a file; "max" is the largest. `None` if there is no such file, or no number in it.
pub(crate) fn number(dir: &Path, file: &str) -> Option<u64> {
    let text = fs::read_to_string(dir.join(file)).ok()?;
    match text.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// The lines `key value` of a file; empty if there is no such file.
pub(crate) fn table(dir: &Path, file: &str) -> BTreeMap<String, u64> {
    fs::read_to_string(dir.join(file)).map(|text| parse_table(&text)).unwrap_or_default()
}

/// The content of a file; empty if there is no such file.
pub(crate) fn text(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap_or_default()
}

/// Is the whole tree version 2?
fn is_unified() -> bool {
    rustix::fs::statfs(ROOT).is_ok_and(|stat| stat.f_type == CGROUP2_MAGIC)
}

fn parse_table(text: &str) -> BTreeMap<String, u64> {
    let pair = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), value.trim().parse().ok()?))
    };
    text.lines().filter_map(pair).collect()
}

pub(crate) fn v2_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

/// `path` below `root`, whatever it begins with.
fn under(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

/// One mounted v1 hierarchy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct V1Mount {
    /// The cgroup that is visible at the mount point.
    root: String,
    point: PathBuf,
    /// Controllers, among other options.
    options: Vec<String>,
}

impl V1Mount {
    /// Named hierarchies, such as systemd's, have none.
    fn has_controllers(&self) -> bool {
        !self.options.iter().any(|option| option.starts_with("name="))
    }
}

pub(crate) fn v1_mounts(mountinfo: &str) -> Vec<V1Mount> {
    let parse = |line: &str| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut filesystem = filesystem.split(' ');
        let (kind, _, options) = (filesystem.next()?, filesystem.next()?, filesystem.next()?);
        let options = options.split(',').map(str::to_owned).collect();
        (kind == "cgroup").then(|| V1Mount { root: root.to_owned(), point: point.into(), options })
    };
    mountinfo.lines().filter_map(parse).collect()
}

pub(crate) fn v1_paths(cgroups: &str, mounts: &[V1Mount]) -> BTreeMap<String, PathBuf> {
    let mut paths = BTreeMap::new();
    for line in cgroups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        for controller in controllers.split(',').filter(|name| !name.is_empty()) {
            let Some(mount) =
                mounts.iter().find(|mount| mount.options.iter().any(|option| option == controller))
            else {
                continue;
            };
            let visible = path.strip_prefix(mount.root.trim_end_matches('/')).unwrap_or(path);
            paths.insert(controller.to_owned(), under(&mount.point, visible));
        }
    }
    paths
}

/// The controllers' numbers may be missing; anything else that fails is worth an error.
///
/// # Errors
/// NotFound if the cgroup itself is gone.
pub(crate) fn must_exist(dir: &Path) -> Result<()> {
    fs::metadata(dir)
        .map(drop)
        .kind(Kind::NotFound, || format!("the cgroup {} does not exist", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_paths_follow_the_mounts() {
        let mountinfo = "\
30 25 0:26 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory
31 25 0:27 /docker/x /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
33 25 0:29 / /proc rw - proc proc rw
";
        let mounts = v1_mounts(mountinfo);
        assert_eq!(mounts.iter().filter(|mount| mount.has_controllers()).count(), 2);
        let cgroups = "12:memory:/default/c1\n5:cpu,cpuacct:/docker/x/c1\n1:name=systemd:/a\n0::/b\n";
        let paths = v1_paths(cgroups, &mounts);
        assert_eq!(paths["memory"], Path::new("/sys/fs/cgroup/memory/default/c1"));
        assert_eq!(paths["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct/c1"));
        assert_eq!(paths["cpuacct"], paths["cpu"]);
        assert_eq!(v2_path(cgroups), Some("/b"));
    }

    #[test]
    fn tables_skip_what_is_no_number() {
        let table = parse_table("anon 5\nfile x\nsome avg10=0.00\nmax 18446744073709551615\n");
        assert_eq!(table.into_iter().collect::<Vec<_>>(), [("anon".into(), 5), ("max".into(), u64::MAX)]);
    }

    #[test]
    fn own_pids_are_found() {
        let cgroup = Cgroup::of(std::process::id()).unwrap();
        assert!(cgroup.pids().unwrap().contains(&std::process::id()), "{cgroup:?}");
    }
}
