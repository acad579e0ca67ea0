//! Where cgroups are mounted, from /proc/self/mountinfo (proc_pid_mountinfo(5)), without reading all of it.
//!
//! The kernel writes a line for every mount when it is read, and a host has a mount for every container, while the
//! hierarchies of cgroups were mounted when the machine came up. So reading ends with the last of them.

use std::io::{self, BufRead, BufReader, Read};

/// The kernel makes as many lines as fit into what it is given.
const PIECE: usize = 4096;
/// No host has more of it.
const LIMIT: u64 = 64 << 20;

/// The lines of `mountinfo` up to that which mounts the last of the hierarchies in `own` (the text of /proc/self/cgroup)
/// at or below `place`; all of them, if one of those is mounted nowhere there.
///
/// # Errors
/// Whatever reading says; `InvalidData` for text that is no UTF-8.
pub fn up_to_cgroups(mountinfo: impl Read, own: &str, place: &str) -> io::Result<String> {
    let mut missing: Vec<&str> = own.lines().filter_map(|line| line.split(':').nth(1)).collect();
    let mut reader = BufReader::with_capacity(PIECE, mountinfo.take(LIMIT));
    let mut text = String::new();
    while !missing.is_empty() {
        let start = text.len();
        if reader.read_line(&mut text)? == 0 {
            break;
        }
        if let Some(mounted) = hierarchy(&text[start..], place) {
            missing.retain(|controllers| !mounted.is(controllers));
        }
    }
    Ok(text)
}

/// A mounted hierarchy: the options of its super block; none for version 2.
struct Mounted<'a>(Option<&'a str>);

impl Mounted<'_> {
    /// Is it the hierarchy of these controllers? Version 2 is the one without.
    fn is(&self, controllers: &str) -> bool {
        match self.0 {
            None => controllers.is_empty(),
            Some(options) => {
                let has = |name: &str| options.split(',').any(|option| option == name);
                !controllers.is_empty() && controllers.split(',').all(has)
            }
        }
    }
}

fn hierarchy<'a>(line: &'a str, place: &str) -> Option<Mounted<'a>> {
    let (front, back) = line.trim_end().split_once(" - ")?;
    let mut back = back.split(' ');
    let kind = back.next().filter(|kind| kind.starts_with("cgroup"))?;
    front.split(' ').nth(4)?.starts_with(place).then_some(())?;
    Some(Mounted(if kind == "cgroup2" { None } else { Some(back.nth(1)?) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "30 25 0:26 / / rw - ext4 /dev/a rw\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        33 30 0:29 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n\
        33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
        32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
        40 30 0:50 / /run/c1/rootfs rw - overlay overlay rw,lowerdir=/a\n\
        41 30 0:51 / /run/c2/rootfs rw - overlay overlay rw,lowerdir=/b\n";

    fn lines(own: &str, place: &str) -> usize {
        up_to_cgroups(INFO.as_bytes(), own, place).unwrap().lines().count()
    }

    #[test]
    fn reading_ends_with_the_last_hierarchy() {
        let own = "3:name=systemd:/\n2:cpu,cpuacct:/a\n0::/\n";
        assert_eq!(lines(own, "/"), 5);
        assert_eq!(lines("0::/\n", "/"), 2);
        assert_eq!(lines("2:cpu,cpuacct:/a\n", "/"), 3);
        assert_eq!(lines("2:cpu,cpuacct:/a\n", "/sys/fs/cgroup"), 4);
    }

    #[test]
    fn what_is_mounted_nowhere_is_looked_for_to_the_end() {
        assert_eq!(lines("4:pids:/\n0::/\n", "/"), 7);
        assert_eq!(lines("2:cpu:/a\n", "/"), 3);
        assert_eq!(lines("", "/"), 0);
    }
}
