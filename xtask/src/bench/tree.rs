//! A cgroup of our own for each stack, and the CPU time of everything that ever ran in it.
//!
//! `NAME/tree` holds the daemon, its shims and its clients, since children stay where their parents are. Containers are told to be at
//! `NAME/<id>`. So the CPU time of `NAME` is that of the whole stack: client, daemon, shim, executor and container, what has ended
//! included. What the kernel does for it elsewhere (write-back, interrupts, teardown of namespaces by kernel threads) is not in it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// How often a tree that should come to rest is looked at.
const LOOK: Duration = Duration::from_millis(4);
/// What a tree at rest may use between two looks: daemons have timers.
const AT_REST: Duration = Duration::from_micros(100);
/// A tree that is never at rest is measured after this.
const PATIENCE: Duration = Duration::from_millis(400);

/// The cgroup, on version 1 in the hierarchy of `cpuacct`.
#[derive(Debug)]
pub struct Tree {
    top: PathBuf,
    unified: bool,
}

impl Tree {
    /// Makes it.
    pub fn make(name: &str) -> Result<Tree> {
        let (hierarchy, unified) = hierarchy(&std::fs::read_to_string("/proc/self/mountinfo")?)
            .context("this machine has neither version 2 of cgroups nor cpuacct of version 1")?;
        let tree = Tree { top: hierarchy.join(name), unified };
        std::fs::create_dir_all(tree.inside())
            .with_context(|| format!("make {}", tree.inside().display()))?;
        Ok(tree)
    }

    fn inside(&self) -> PathBuf {
        self.top.join("tree")
    }

    /// Whoever writes its pid here is in it.
    pub fn entrance(&self) -> PathBuf {
        self.inside().join("cgroup.procs")
    }

    /// Takes a process in, with all its threads.
    pub fn adopt(&self, pid: u32) -> Result<()> {
        std::fs::write(self.entrance(), pid.to_string())
            .with_context(|| format!("move {pid} into {}", self.top.display()))
    }

    /// The processes of daemon, shims and clients.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let text = std::fs::read_to_string(self.entrance())?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// The CPU time that everything in it has used so far.
    pub fn used(&self) -> Result<Duration> {
        if self.unified {
            let text = std::fs::read_to_string(self.top.join("cpu.stat"))?;
            let micros = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
            return Ok(Duration::from_micros(micros.context("usage_usec in cpu.stat")?.parse()?));
        }
        let text = std::fs::read_to_string(self.top.join("cpuacct.usage"))?;
        Ok(Duration::from_nanos(text.trim().parse()?))
    }

    /// The same, after what was begun has come to its end: what a daemon does after it has answered counts too, and must not disturb
    /// who is next.
    pub fn used_at_rest(&self) -> Result<Duration> {
        let began = Instant::now();
        let mut before = self.used()?;
        loop {
            std::thread::sleep(LOOK);
            let now = self.used()?;
            if now.saturating_sub(before) < AT_REST || began.elapsed() > PATIENCE {
                return Ok(now);
            }
            before = now;
        }
    }

    /// Lets the processes go back to the hierarchy's root, and removes it.
    pub fn dissolve(&self) -> Result<()> {
        let root = self.top.parent().unwrap_or(Path::new("/")).join("cgroup.procs");
        for pid in self.pids()? {
            // It may have ended meanwhile.
            let _ = std::fs::write(&root, pid.to_string());
        }
        let began = Instant::now();
        // The kernel lets a cgroup go a moment after the last process in it.
        while std::fs::remove_dir(self.inside()).and_then(|()| std::fs::remove_dir(&self.top)).is_err() {
            if !self.top.exists() {
                break;
            }
            ensure!(began.elapsed() < Duration::from_secs(5), "{} cannot be removed", self.top.display());
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

impl Drop for Tree {
    /// What failed in the middle leaves no cgroup.
    fn drop(&mut self) {
        if self.top.exists() {
            let _ = self.dissolve();
        }
    }
}

/// Where CPU time is accounted, and whether that is version 2.
fn hierarchy(mountinfo: &str) -> Option<(PathBuf, bool)> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        Some((before.split(' ').nth(4)?, kind, options))
    });
    let mut unified = None;
    for (point, kind, options) in mounts {
        if kind == "cgroup" && options.split(',').any(|option| option == "cpuacct") {
            return Some((point.into(), false));
        }
        if kind == "cgroup2" && point == "/sys/fs/cgroup" {
            unified = Some((point.into(), true));
        }
    }
    unified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_that_accounts_is_found() {
        let hybrid = "30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n31 29 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(hierarchy(hybrid), Some(("/sys/fs/cgroup/cpu,cpuacct".into(), false)));
        let pure = "30 29 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(hierarchy(pure), Some(("/sys/fs/cgroup".into(), true)));
        assert_eq!(hierarchy("1 1 0:1 / / rw - ext4 /dev/vda rw\n"), None);
    }

    #[test]
    fn what_runs_in_it_is_counted() -> Result<()> {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIP what_runs_in_it_is_counted: needs root");
            return Ok(());
        }
        let tree = Tree::make(&format!("bench-test-{}", std::process::id()))?;
        let before = tree.used()?;
        let script = format!("echo 0 > {}; while :; do :; done", tree.entrance().display());
        let mut child = std::process::Command::new("sh").args(["-c", &script]).spawn()?;
        let began = Instant::now();
        while tree.used()? < before + Duration::from_millis(5) {
            ensure!(began.elapsed() < Duration::from_secs(30), "a busy process is not counted");
        }
        assert_eq!(tree.pids()?, [child.id()]);
        child.kill()?;
        child.wait()?;
        tree.dissolve()
    }
}
