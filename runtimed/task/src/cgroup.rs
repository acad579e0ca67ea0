//! The last resort after a shim: what its own `delete` has not ended is ended by the container's cgroup.
//!
//! Where the cgroup is, the spec in the bundle says (`linux.cgroupsPath`; without one it is the container's id). Only a cgroup that bears
//! the container's id is taken for its own: then everything in it is killed, and it is removed. All calls here block.

use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use errors::{Error, Result};
use ids::ContainerId;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Deserialize;

/// Where the kernel shows cgroups: the only hierarchy, or one folder for each.
const TOP: &str = "/sys/fs/cgroup";

/// Far more than any spec.
const SPEC: u64 = 16 << 20;

/// How long killed processes may take to end.
const LIMIT: Duration = Duration::from_secs(5);

/// When to look again; version 1 tells nobody that a cgroup is empty.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Deserialize, Default)]
#[serde(default)]
struct Spec {
    linux: Option<Linux>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    cgroups_path: Option<String>,
}

/// Kills what is left of the container of `bundle`, waits for its end and removes its cgroup. Says how many processes there were. One that
/// is not to be found, or is not the container's alone, is left as it is.
///
/// # Errors
/// `DeadlineExceeded` if killed processes do not end.
pub(crate) fn clear(bundle: &Path, id: &ContainerId) -> Result<usize> {
    let Some(path) = own_path(&spec(bundle), id) else { return Ok(0) };
    let folders = folders(Path::new(TOP), &path);
    let begun = Instant::now();
    let mut killed = 0;
    loop {
        let pids: Vec<u32> = folders.iter().flat_map(|folder| processes(folder)).collect();
        if pids.is_empty() {
            break;
        }
        if begun.elapsed() > LIMIT {
            let text = format!("processes {pids:?} of {id} are killed and do not end");
            return Err(Error::new(errors::Kind::DeadlineExceeded, text));
        }
        killed = killed.max(pids.len());
        kill(&folders, &pids, &path);
        std::thread::sleep(PAUSE);
    }
    folders.iter().for_each(|folder| remove(folder));
    Ok(killed)
}

fn spec(bundle: &Path) -> Spec {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(bundle.join("config.json"));
    let read = file.and_then(|file| file.take(SPEC).read_to_end(&mut bytes));
    read.ok().and_then(|_| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// The cgroup's path below a hierarchy, if it is certain that it is this container's alone.
fn own_path(spec: &Spec, id: &ContainerId) -> Option<PathBuf> {
    let text = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref()).unwrap_or_default();
    let path = match text {
        "" => PathBuf::from(id.as_str()),
        // Of systemd: its slices are its own affair.
        text if text.contains(':') => return None,
        // Another is found from where its executor was.
        text => PathBuf::from(text.strip_prefix('/')?),
    };
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let name = path.file_name()?.to_str()?;
    let own = name == id.as_str() || name.ends_with(&format!("-{id}"));
    (plain && own && !name.ends_with(".slice") && !holds_us(&path)).then_some(path)
}

/// Is this process in the cgroup, or below it?
fn holds_us(path: &Path) -> bool {
    let lines = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut own = lines.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    own.any(|own| Path::new(own.trim_start_matches('/')).starts_with(path))
}

/// The cgroup in each hierarchy.
fn folders(top: &Path, path: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path());
    // A link to a hierarchy of several controllers is met again under their own name.
    let hierarchies = entries.filter(|folder| !folder.is_symlink()).chain([top.to_owned()]);
    hierarchies.map(|folder| folder.join(path)).filter(|folder| folder.is_dir()).collect()
}

/// The processes in a cgroup and below.
fn processes(folder: &Path) -> Vec<u32> {
    let list = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    let own = list.lines().filter_map(|line| line.parse().ok());
    own.chain(children(folder).iter().flat_map(|child| processes(child))).collect()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Kills those who are in the cgroup, frozen or not.
fn kill(folders: &[PathBuf], pids: &[u32], path: &Path) {
    for folder in folders {
        // Of version 2 and of the freezer of version 1 (cgroups(7)); elsewhere there are no such files, and nothing may be made.
        for (file, word) in [("cgroup.kill", "1"), ("freezer.state", "THAWED")] {
            let opened = std::fs::File::options().write(true).open(folder.join(file));
            // A process that stays is met again.
            let _ = opened.and_then(|mut file| std::io::Write::write_all(&mut file, word.as_bytes()));
        }
    }
    for pid in pids {
        let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) else { continue };
        let Ok(held) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { continue };
        // Now that the pid cannot change hands: is it still that process?
        let lines =
            std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).unwrap_or_default();
        let mut places = lines.lines().filter_map(|line| line.splitn(3, ':').nth(2));
        if places.any(|place| Path::new(place.trim_start_matches('/')).starts_with(path)) {
            let _ = rustix::process::pidfd_send_signal(&held, Signal::KILL);
        }
    }
}

fn remove(folder: &Path) {
    children(folder).iter().for_each(|child| remove(child));
    // One that is not empty after all stays.
    let _ = std::fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: Option<&str>, id: &str) -> Option<PathBuf> {
        let linux = Linux { cgroups_path: text.map(str::to_owned) };
        own_path(&Spec { linux: Some(linux) }, &ContainerId::parse(id).unwrap())
    }

    #[test]
    fn only_a_cgroup_that_bears_the_id_is_its_own() {
        assert_eq!(path(Some("/ns/c"), "c"), Some("ns/c".into()));
        assert_eq!(path(Some("/a/b/cri-c"), "c"), Some("a/b/cri-c".into()));
        assert_eq!(path(None, "c"), Some("c".into()));
        for bad in ["/", "/ns", "/ns/abc", "/ns/../c", "/../c", "ns/c", "system.slice:docker:c", "/x.slice"] {
            assert_eq!(path(Some(bad), "c"), None, "{bad}");
        }
        assert_eq!(path(None, "system.slice"), None);
    }

    #[test]
    fn everything_in_it_ends() {
        let hierarchy = [Path::new(TOP), &Path::new(TOP).join("pids")]
            .into_iter()
            .find(|folder| folder.join("cgroup.procs").exists())
            .map(Path::to_owned);
        let (Some(hierarchy), true) = (hierarchy, rustix::process::geteuid().is_root()) else {
            return eprintln!("skipped: needs root and cgroups");
        };
        let parent = format!("runtimed-tests-{}", std::process::id());
        let folder = hierarchy.join(&parent).join("c");
        std::fs::create_dir_all(folder.join("below")).unwrap();
        let bundle = tempfile::tempdir().unwrap();
        let spec = format!(r#"{{"linux":{{"cgroupsPath":"/{parent}/c"}}}}"#);
        std::fs::write(bundle.path().join("config.json"), spec).unwrap();
        let mut children: Vec<_> = [folder.clone(), folder.join("below")]
            .iter()
            .map(|folder| {
                let child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
                std::fs::write(folder.join("cgroup.procs"), child.id().to_string()).unwrap();
                child
            })
            .collect();
        // Whoever is killed has to be reaped before its cgroup is empty.
        let reaping = std::thread::spawn(move || {
            children.iter_mut().map(|child| child.wait().unwrap()).collect::<Vec<_>>()
        });
        let id = ContainerId::parse("c").unwrap();
        assert_eq!(clear(bundle.path(), &id).unwrap(), 2);
        use std::os::unix::process::ExitStatusExt;
        assert!(reaping.join().unwrap().iter().all(|status| status.signal() == Some(9)));
        assert!(!folder.exists());
        assert_eq!(clear(bundle.path(), &id).unwrap(), 0);
        std::fs::remove_dir(hierarchy.join(parent)).unwrap();
    }
}
