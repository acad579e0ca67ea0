//! The resource control file system (Documentation/filesystems/resctrl.rst): a directory a group, a file a setting.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::plan::resctrl::Resctrl;

/// Where a container's group and its monitoring group are.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The group's directory; empty for none.
    pub path: PathBuf,
    /// The monitoring group's directory; empty for none.
    pub monitoring: PathBuf,
    /// Directories that were made for this container, and go with it.
    pub made: Vec<PathBuf>,
}

/// The mount point, from /proc/self/mountinfo.
pub fn mount_point(mountinfo: &str) -> Result<PathBuf> {
    let point = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        right.starts_with("resctrl ").then(|| left.split(' ').nth(4).map(PathBuf::from)).flatten()
    };
    mountinfo
        .lines()
        .find_map(point)
        .ok_or_else(|| Error::new("intelRdt is specified in config, but Intel RDT is not enabled"))
}

/// Puts a process into the group that config.json asks for. On failure, what was made is gone again.
pub fn apply(root: &Path, asked: &Resctrl, pid: i32) -> Result<Group> {
    let mut group = Group::default();
    match group.fill(root, asked, pid) {
        Ok(()) => Ok(group),
        Err(e) => {
            remove(&group.made)?;
            Err(e).context("unable to apply Intel RDT configuration")
        }
    }
}

impl Group {
    fn fill(&mut self, root: &Path, asked: &Resctrl, pid: i32) -> Result<()> {
        let path = root.join(asked.group());
        // A class of service without lines of its own is one that somebody else has set up.
        if asked.clos_id.is_some() && asked.schemata.is_empty() && !path.is_dir() {
            let why = "does not exist, and no schemata are given to make it with";
            return Err(Error::new(format!("linux.intelRdt.closID: {} {why}", path.display())));
        }
        self.directory(&path, asked.clos_id.is_none())?;
        self.path.clone_from(&path);
        if !asked.schemata.is_empty() {
            write(&path.join("schemata"), &(asked.schemata.join("\n") + "\n"))?;
        }
        write(&path.join("tasks"), &pid.to_string())?;
        if asked.monitoring {
            let path = path.join("mon_groups").join(&asked.id);
            self.directory(&path, true)?;
            write(&path.join("tasks"), &pid.to_string())?;
            self.monitoring = path;
        }
        Ok(())
    }

    /// Makes a directory if it is not there. An `own` one goes with the container.
    fn directory(&mut self, path: &Path, own: bool) -> Result<()> {
        match fs::create_dir(path) {
            Ok(()) if own => self.made.push(path.to_owned()),
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            other => other.with_context(|| format!("mkdir {}", path.display()))?,
        }
        Ok(())
    }
}

/// Writes the lines of `update` into a container's group.
pub fn update(group: &Path, lines: &[String]) -> Result<()> {
    write(&group.join("schemata"), &(lines.join("\n") + "\n"))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {:?} to {}", text.trim_end(), path.display()))
}

/// Removes groups, the last made first. The kernel moves their processes to the default group.
pub fn remove(made: &[PathBuf]) -> Result<()> {
    for path in made.iter().rev() {
        match fs::remove_dir(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("rmdir {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(clos_id: Option<&str>, schemata: &[&str], monitoring: bool) -> Resctrl {
        let schemata = schemata.iter().map(|s| (*s).to_owned()).collect();
        Resctrl { id: "c1".into(), clos_id: clos_id.map(str::to_owned), schemata, monitoring }
    }

    #[test]
    fn where_it_is_mounted() {
        let info =
            "30 25 0:26 / /sys rw - sysfs sysfs rw\n31 30 0:27 / /sys/fs/resctrl rw - resctrl resctrl rw\n";
        assert_eq!(mount_point(info).unwrap(), Path::new("/sys/fs/resctrl"));
        let e = mount_point("30 25 0:26 / /sys rw - sysfs sysfs rw\n").unwrap_err().to_string();
        assert_eq!(e, "intelRdt is specified in config, but Intel RDT is not enabled");
    }

    #[test]
    fn a_group_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let group = apply(root.path(), &asked(None, &["L3:0=f", "MB:0=70"], false), 42).unwrap();
        let read = |name: &str| fs::read_to_string(group.path.join(name)).unwrap();
        assert_eq!((read("schemata").as_str(), read("tasks").as_str()), ("L3:0=f\nMB:0=70\n", "42"));
        assert_eq!(group.made, [root.path().join("c1")]);
        update(&group.path, &["MB:0=10".into()]).unwrap();
        assert_eq!(read("schemata"), "MB:0=10\n");
    }

    #[test]
    fn a_shared_class_outlives_the_container() {
        let root = tempfile::tempdir().unwrap();
        let e = apply(root.path(), &asked(Some("gold"), &[], false), 42).unwrap_err().to_string();
        assert!(e.contains("linux.intelRdt.closID"), "{e}");
        let group = apply(root.path(), &asked(Some("gold"), &["L3:0=f"], false), 42).unwrap();
        assert!(group.made.is_empty());
        // The real file system brings this directory with the group.
        fs::create_dir(root.path().join("gold/mon_groups")).unwrap();
        let group = apply(root.path(), &asked(Some("gold"), &[], true), 43).unwrap();
        assert_eq!(group.monitoring, root.path().join("gold/mon_groups/c1"));
        assert_eq!(group.made, std::slice::from_ref(&group.monitoring));
    }

    #[test]
    fn nothing_is_left_of_a_failure() {
        let root = tempfile::tempdir().unwrap();
        // Without the kernel there are no monitoring groups.
        let failed = apply(root.path(), &asked(None, &[], true), 42);
        // What a plain directory keeps, the real one does not: its files go with it.
        fs::remove_file(root.path().join("c1/tasks")).unwrap();
        assert!(failed.is_err());
    }
}
