//! Kernel namespaces that something keeps alive (namespaces(7)): a process or a thread in one, an open descriptor of one, a mount of one.

use std::collections::BTreeMap;
use std::fs::{self, read_dir, read_link};
use std::path::Path;

use anyhow::Result;

use super::{command, pids};

/// As `/proc/PID/ns` has them, but for those that tell of children to come.
const KINDS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

/// Whoever looks: what it is in is the host's.
type Own = BTreeMap<&'static str, String>;

/// The namespaces beyond this program's own that a scene keeps: those that its processes and their threads are in, those that its daemon,
/// shims and executors have open, and those that are mounted below its root, in whatever tree of mounts.
pub(super) fn of_scene(root: &str, namespace: &str) -> Result<Vec<String>> {
    let own = inside(Path::new("/proc/self/ns"));
    let mut found = Vec::new();
    for pid in pids()? {
        let folder = format!("/proc/{pid}");
        let command = command(&pid);
        let works = command.contains(root) || command.contains(namespace);
        if works {
            found.extend(
                threads(Path::new(&folder), &own).into_iter().map(|what| held(&what, &pid, &command)),
            );
            found.extend(open(Path::new(&folder)).into_iter().map(|what| held(&what, &pid, &command)));
        }
        let elsewhere = beyond(&inside(&Path::new(&folder).join("ns")), &own);
        if elsewhere.is_empty() {
            continue;
        }
        let mounts = fs::read_to_string(format!("{folder}/mountinfo")).unwrap_or_default();
        if works || stands_on(&mounts, root) || is_in_cgroup(&folder, namespace) {
            found.extend(elsewhere.iter().map(|what| held(what, &pid, &command)));
            found.extend(mounted(&mounts).into_iter().map(|what| held(&what, &pid, &command)));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let pinned = mounts.lines().filter(|line| line.contains(root));
    found.extend(pinned.flat_map(mounted).map(|what| format!("namespace {what}")));
    found.sort();
    found.dedup();
    Ok(found)
}

fn held(what: &str, pid: &str, command: &str) -> String {
    format!("namespace {what} of process {pid} {command}")
}

/// What a process or thread is in, by kind. One that has gone is in none; one that has ended and waits for its parent names a pid namespace
/// alone, and is not counted: some parents take their time.
fn inside(folder: &Path) -> Own {
    let named = |kind: &&'static str| Some((*kind, read_link(folder.join(kind)).ok()?.display().to_string()));
    let found: Own = KINDS.iter().filter_map(named).collect();
    if found.contains_key("mnt") { found } else { Own::new() }
}

fn beyond(found: &Own, own: &Own) -> Vec<String> {
    found.iter().filter(|(kind, name)| own.get(*kind) != Some(name)).map(|(_, name)| name.clone()).collect()
}

/// What threads are in that have gone elsewhere, and have not come back.
fn threads(process: &Path, own: &Own) -> Vec<String> {
    let entries = read_dir(process.join("task")).into_iter().flatten().flatten();
    entries.flat_map(|thread| beyond(&inside(&thread.path().join("ns")), own)).collect()
}

/// What a process has open: nsfs has no other links than `KIND:[NUMBER]`.
fn open(process: &Path) -> Vec<String> {
    let entries = read_dir(process.join("fd")).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| Some(read_link(entry.path()).ok()?.display().to_string()));
    names
        .filter(|name| KINDS.iter().any(|kind| is_of(name, kind)))
        .map(|name| format!("{name} (open)"))
        .collect()
}

fn is_of(name: &str, kind: &str) -> bool {
    name.strip_prefix(kind).is_some_and(|rest| rest.starts_with(":["))
}

/// What is mounted: in mountinfo (proc_pid_mountinfo(5)) a mount of nsfs has the namespace for its root.
fn mounted(mountinfo: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let words: Vec<&str> = mount.split(' ').collect();
        if let (true, [_, _, _, name, point, ..]) = (source.starts_with("nsfs "), words.as_slice()) {
            found.push(format!("{name} (mounted at {point})"));
        }
    }
    found
}

/// Is the root that a process sees one of the scene? Others may have copies of the host's mounts, and so of the scene's.
fn stands_on(mountinfo: &str, root: &str) -> bool {
    mountinfo.lines().any(|line| line.split(' ').nth(4) == Some("/") && line.contains(root))
}

fn is_in_cgroup(process: &str, namespace: &str) -> bool {
    let groups = fs::read_to_string(format!("{process}/cgroup")).unwrap_or_default();
    groups.lines().any(|line| line.split('/').any(|part| part == namespace))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Something that waits for the end of its input.
    fn wait(program: &str, args: &[&str]) -> Child {
        Command::new(program).args(args).stdin(Stdio::piped()).spawn().unwrap()
    }

    fn end(mut child: Child) {
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    fn until(root: &str, done: impl Fn(&[String]) -> bool) -> Vec<String> {
        for _ in 0..3000 {
            let found = of_scene(root, "no-such-namespace").unwrap();
            if done(&found) {
                return found;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{:?}", of_scene(root, "no-such-namespace"));
    }

    #[test]
    fn namespaces_are_told_with_who_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().display().to_string();
        let read = "read line; : $0";
        // Somebody else's is not looked at.
        let other = wait("unshare", &["--net", "sh", "-c", read]);
        let inside = wait("unshare", &["--net", "--uts", "sh", "-c", read, &root]);
        let found = until(&root, |found| found.len() == 2);
        assert!(
            found[0].starts_with("namespace net:[") && found[1].starts_with("namespace uts:["),
            "{found:?}"
        );
        let name = format!("/proc/{}/ns/net", inside.id());
        let opener = wait("sh", &["-c", &format!("exec 7<{name}; read line; : $0"), &root]);
        let is_open = |found: &[String]| found.iter().any(|line| line.contains("(open)"));
        until(&root, is_open);
        end(inside);
        // The descriptor alone keeps it now.
        until(&root, |found| found.len() == 1 && is_open(found));
        let pin = folder.path().join("pin");
        std::fs::write(&pin, "").unwrap();
        let mount = ["--bind", "/proc/self/fd/7", &pin.display().to_string()];
        let source = format!("/proc/{}/fd/7", opener.id());
        crate::sh::run(Command::new("mount").args(["--bind", &source, mount[2]])).unwrap();
        end(opener);
        until(&root, |found| found.len() == 1 && found[0].contains("(mounted at "));
        crate::sh::run(Command::new("umount").arg(&pin)).unwrap();
        until(&root, <[String]>::is_empty);
        end(other);
    }
}
