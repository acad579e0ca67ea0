//! Work on a cgroup's directory and those below it: make, list processes, remove.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Error, Result, file};

/// How long a directory may be in the way that is being removed.
const MAKE_WITHIN: Duration = Duration::from_secs(2);
/// How long removal waits for processes that are about to be gone.
const REMOVE_WITHIN: Duration = Duration::from_secs(2);
/// How deep a tree of cgroups is followed: more than the kernel's `cgroup.max.depth` in any sane setting.
const MAX_DEPTH: usize = 64;

/// Makes `dir` and its missing parents, with mode 0755.
pub fn make(dir: &Path) -> Result<()> {
    // Somebody may remove an empty parent in the moment before something is in it, and somebody else the one after. While the kernel is at
    // that, the name is there, and nothing can be made below it; nobody is told when it is gone.
    let begun = Instant::now();
    let mut made = fs::create_dir_all(dir);
    while made.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) && begun.elapsed() < MAKE_WITHIN {
        std::thread::sleep(Duration::from_millis(1));
        made = fs::create_dir_all(dir);
    }
    made.map_err(|e| Error::io("mkdir", dir, e))
}

/// Moves a process into a cgroup.
pub fn join(dir: &Path, pid: i32) -> Result<()> {
    // A task that the kernel has not woken up for the first time is refused with EINVAL; nothing tells when it is.
    const TRIES: u32 = 5;
    for attempt in 1.. {
        match file::write(dir, "cgroup.procs", &pid.to_string()) {
            Err(e) if e.errno() == Some(Errno::EINVAL) && attempt < TRIES => {
                std::thread::sleep(Duration::from_millis(10));
            }
            done => return done,
        }
    }
    Ok(())
}

/// Processes of `dir` and of every cgroup below it. Cgroups that vanish meanwhile are passed over.
pub fn pids(dir: &Path) -> Result<Vec<i32>> {
    let mut found = pids_of(dir)?;
    each_below(dir, 0, &mut |below| match pids_of(below) {
        Ok(pids) => {
            found.extend(pids);
            Ok(())
        }
        Err(e) if vanished(&e) => Ok(()),
        Err(e) => Err(e),
    })?;
    Ok(found)
}

/// Processes of `dir` alone.
fn pids_of(dir: &Path) -> Result<Vec<i32>> {
    let name = "cgroup.procs";
    let (name, text) = match file::read(dir, name) {
        // A threaded cgroup has no processes of its own to tell.
        Err(e) if e.errno() == Some(Errno::EOPNOTSUPP) => {
            ("cgroup.threads", file::read(dir, "cgroup.threads")?)
        }
        other => (name, other?),
    };
    text.split_ascii_whitespace().map(|pid| file::parse(dir, name, pid)).collect()
}

/// Removes `dir` and every cgroup below it, deepest first. No error when it is not there.
pub fn remove(dir: &Path) -> Result<()> {
    if matches!(rmdir(dir), Ok(())) {
        return Ok(());
    }
    if !dir.exists() {
        return Ok(());
    }
    let deadline = Instant::now() + REMOVE_WITHIN;
    each_below(dir, 0, &mut |below| rmdir_patiently(below, deadline))?;
    rmdir_patiently(dir, deadline)
}

/// Removes an empty cgroup; while the kernel says it is busy, waits for its processes to exit.
fn rmdir_patiently(dir: &Path, deadline: Instant) -> Result<()> {
    let mut pause = Duration::from_millis(1);
    loop {
        match rmdir(dir) {
            Err(e) if e.errno() == Some(Errno::EBUSY) && Instant::now() < deadline => {
                if !await_exit(dir, deadline)? {
                    // Nobody is listed, so a process is on its way out: no event tells when it is gone.
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(50));
                }
            }
            done => return done,
        }
    }
}

/// Waits until one of the cgroup's processes has exited, at most until `deadline`. False when none is listed.
fn await_exit(dir: &Path, deadline: Instant) -> Result<bool> {
    let pids = match pids_of(dir) {
        Err(e) if vanished(&e) => return Ok(false),
        other => other?,
    };
    let pidfds: Vec<_> =
        pids.iter().filter_map(|pid| pidfd_open(Pid::from_raw(*pid)?, PidfdFlags::empty()).ok()).collect();
    if pidfds.is_empty() {
        return Ok(false);
    }
    let mut polled: Vec<_> = pidfds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
    match poll(&mut polled, Some(&timeout)) {
        // An exited process that nobody has reaped stays listed, and the cgroup stays busy: only time helps.
        Ok(ready) => Ok(ready == 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(e) => Err(Error::io("poll processes of", dir, e)),
    }
}

fn rmdir(dir: &Path) -> Result<()> {
    match fs::remove_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|e| Error::io("rmdir", dir, e)),
    }
}

/// Calls `act` for every cgroup below `dir`, the deepest first.
fn each_below(dir: &Path, depth: usize, act: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::Timeout(format!("cgroup {} is nested too deeply", dir.display())));
    }
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|e| Error::io("read directory", dir, e))?,
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read directory", dir, e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            each_below(&entry.path(), depth + 1, act)?;
            act(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a cgroup was removed under our feet.
fn vanished(error: &Error) -> bool {
    error.is_not_found() || error.errno() == Some(Errno::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_processes_of_the_whole_tree_and_removes_it() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("a");
        make(&top.join("b/c")).unwrap();
        fs::write(top.join("cgroup.procs"), "1\n2\n").unwrap();
        fs::write(top.join("b/c/cgroup.procs"), "3\n").unwrap();
        let mut found = pids(&top).unwrap();
        found.sort_unstable();
        assert_eq!(found, [1, 2, 3]);
        // On a cgroup file system the files go with the directory.
        fs::remove_file(top.join("cgroup.procs")).unwrap();
        fs::remove_file(top.join("b/c/cgroup.procs")).unwrap();
        remove(&top).unwrap();
        assert!(!top.exists());
        remove(&top).unwrap();
    }

    #[test]
    fn garbage_in_the_process_list_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.procs"), "1\nx\n").unwrap();
        assert!(pids(dir.path()).unwrap_err().to_string().contains("cgroup.procs: \"x\" is not a number"));
    }
}
