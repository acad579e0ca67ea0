//! What the processes of a scene are doing just now: for whoever has to find out why something does not end.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::Scene;

/// So many lines of a kernel stack tell enough.
const STACK: usize = 6;

/// The processes of the scene: those that name its root in their command line or, as clients do, in their environment, and all in its cgroups.
pub fn processes(scene: &Scene) -> Vec<u32> {
    let root = scene.root().display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: u32, file: &str, text: &str| {
        let read = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&read).contains(text)
    };
    pids.filter(|pid| {
        ["cmdline", "environ"].iter().any(|file| holds(*pid, file, &root))
            || holds(*pid, "cgroup", scene.namespace())
    })
    .collect()
}

/// A line for each process of the scene, with its state and where it waits in the kernel, and one for each frozen cgroup.
pub fn of_scene(scene: &Scene) -> String {
    let mut text = String::new();
    let mut cgroups = BTreeSet::new();
    for pid in processes(scene) {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        let (line, places) = (read("cmdline").replace('\0', " "), read("cgroup"));
        let state = read("status");
        let state = state.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default();
        let stack: Vec<String> = read("stack").lines().take(STACK).map(symbol).collect();
        // Writing into a string does not fail.
        let _ = writeln!(text, "{pid} {}: {} [{}]", state.trim(), line.trim(), stack.join(" < "));
        cgroups.extend(places.lines().filter_map(frozen));
    }
    for cgroup in cgroups {
        let _ = writeln!(text, "frozen: {}", cgroup.display());
    }
    text
}

/// `[<0>] do_wait+0x1/0x2`.
fn symbol(line: &str) -> String {
    let name = line.rsplit(' ').next().unwrap_or_default();
    name.split('+').next().unwrap_or_default().to_owned()
}

/// The cgroup of a line of /proc/PID/cgroup, if it is frozen (cgroups(7)).
fn frozen(line: &str) -> Option<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
    let (folder, file, word) = match controllers {
        "freezer" => ("freezer", "freezer.state", "FRO"),
        "" => ("", "cgroup.freeze", "1"),
        _ => return None,
    };
    let folder = Path::new("/sys/fs/cgroup").join(folder).join(path);
    std::fs::read_to_string(folder.join(file)).ok()?.starts_with(word).then_some(folder)
}
