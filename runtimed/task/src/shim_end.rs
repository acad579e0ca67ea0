//! The end of a shim: asked to leave, its death awaited, killed when it does not go.
//!
//! A shim is named by a pidfd: the pid it told of itself is taken only while its connection is open, and so
//! is still its own.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use ids::ContainerId;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use crate::shim_conn::ShimConn;
use crate::shim_socket;

/// How long executors without a shim may take to end by themselves.
const LIMIT: Duration = Duration::from_secs(3);

/// How long the kernel may take to end a killed process.
const KILLED: Duration = Duration::from_secs(2);

/// How often to look for processes that fork faster than they are found.
const SWEEPS: u32 = 10;

/// When to look again at somebody who does not belong there; longer than a fork takes to become a program.
const SECOND_LOOK: Duration = Duration::from_millis(5);

/// A process that cannot be mistaken for another.
pub(crate) struct Held(AsyncFd<OwnedFd>);

/// Ends the shim behind `conn`. `is_alone` says whether it serves no other task: then its death is awaited and, if
/// need be, forced. Otherwise it takes note, and stays.
pub(crate) async fn end(conn: &ShimConn, shim_pid: Option<u32>, is_alone: impl Fn() -> bool) {
    let alone = is_alone();
    let held = if alone { hold(conn, shim_pid).await } else { None };
    if let Err(error) = conn.shutdown().await {
        // A shim may leave before it answers.
        tracing::debug!(%error, "shutdown of a shim");
    }
    if !alone {
        return;
    }
    let gone = async {
        match &held {
            Some(held) => held.ended().await,
            None => conn.closed().await,
        }
    };
    // Somebody may have come meanwhile, for whom it has stayed.
    if tokio::time::timeout(conn.limits().shutdown, gone).await.is_err() && is_alone() {
        kill(held.as_ref()).await;
    }
}

/// Kills the shim behind `conn` without asking.
pub(crate) async fn force(conn: &ShimConn, shim_pid: Option<u32>) {
    let held = hold(conn, shim_pid).await;
    // One that has died meanwhile is what was wanted.
    if held.is_some() || !conn.is_closed() {
        kill(held.as_ref()).await;
    }
}

pub(crate) async fn kill(held: Option<&Held>) {
    let Some(held) = held else {
        tracing::warn!("a shim neither leaves nor tells its pid; it is left behind");
        return;
    };
    held.kill();
    if tokio::time::timeout(KILLED, held.ended()).await.is_err() {
        tracing::warn!("a shim is killed, but does not end");
    }
}

/// Takes hold of the shim; `None` when it is gone, or has not told its pid and does not answer.
async fn hold(conn: &ShimConn, shim_pid: Option<u32>) -> Option<Held> {
    let pid = match shim_pid {
        Some(pid) => pid,
        None => tokio::time::timeout(conn.limits().shutdown, conn.shim_pid()).await.ok()?.ok()?,
    };
    let held = Held::open(pid)?;
    // Had the shim been dead when its pid was looked up, the connection would be over by now.
    (!conn.is_closed()).then_some(held)
}

impl Held {
    /// Takes hold of whoever has `pid` now; never of the system's init, nor of the daemon, whatever a shim says.
    pub(crate) fn open(pid: u32) -> Option<Held> {
        if pid <= 1 || pid == std::process::id() {
            return None;
        }
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types that may close their descriptor; this one cannot"
        )]
        AsyncFd::with_interest(fd, Interest::READABLE).ok().map(Held)
    }

    /// Resolves when the process has ended (pidfd_open(2): it becomes readable).
    pub(crate) async fn ended(&self) {
        if let Err(error) = self.0.readable().await {
            tracing::warn!(%error, "wait for a shim's end");
        }
    }

    /// Has it not ended?
    pub(crate) fn lives(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(self.0.get_ref(), PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0)
    }

    /// Kills it; one that has ended stays ended.
    pub(crate) fn kill(&self) {
        if let Err(error) = rustix::process::pidfd_send_signal(self.0.get_ref(), Signal::KILL) {
            tracing::debug!(%error, "kill a shim");
        }
    }
}

/// Who works in a bundle that nobody is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stray {
    /// A shim, or its start command: killed.
    Shim,
    /// The executor that a shim had called: it ends by itself, and must. Killed half way, it would leave a cgroup that
    /// no later call of it knows of.
    Executor,
    /// Somebody else; or a child of the dead daemon that is about to become a shim, and still looks like the daemon.
    Other,
}

/// Clears a bundle of processes: those that work in the folder and have the task's id among their arguments. So the
/// shim is found that was started a moment before the daemon died, and whose address nobody wrote down.
pub(crate) async fn clear_strays(bundle: &Path, id: &ContainerId) {
    // As the kernel tells it. Who has no folder has no strays.
    let Ok(folder) = bundle.canonicalize() else { return };
    // For all together: how many there are, others may decide.
    let until = Instant::now() + LIMIT;
    // A process that was forked while the others were looked at is found the next time.
    for _ in 0..SWEEPS {
        let (place, name) = (folder.clone(), id.clone());
        let found = tokio::task::spawn_blocking(move || strays(&place, &name)).await;
        let mut found = found.ok().and_then(Result::ok).unwrap_or_default();
        if found.is_empty() {
            return;
        }
        if found.iter().all(|(_, stray)| *stray == Stray::Other) {
            // The kernel tells nobody when a process becomes another program.
            tokio::time::sleep(SECOND_LOOK).await;
        }
        // Shims first: they start executors.
        found.sort_by_key(|(_, stray)| *stray != Stray::Shim);
        for (pid, _) in found {
            clear_stray(pid, &folder, id, until).await;
        }
    }
}

/// Waits for what a shim has called in the bundle, but not for ever: until then it may not know how a creation ends
/// that the daemon before had asked for.
pub(crate) async fn executors_done(bundle: &Path, id: &ContainerId) {
    let Ok(folder) = bundle.canonicalize() else { return };
    let (name, until) = (id.clone(), Instant::now() + LIMIT);
    let found = tokio::task::spawn_blocking(move || strays(&folder, &name)).await;
    let found = found.ok().and_then(Result::ok).unwrap_or_default();
    for (pid, _) in found.into_iter().filter(|(_, stray)| *stray == Stray::Executor) {
        if let Some(held) = Held::open(pid) {
            // One that hangs is looked after by whoever clears the bundle.
            let _ = timeout_at(until, held.ended()).await;
        }
    }
}

async fn clear_stray(pid: u32, folder: &Path, id: &ContainerId, until: Instant) {
    let Some(held) = Held::open(pid) else { return };
    // Looked at again, now that the pid cannot change hands.
    let Some(stray) = is_stray(pid, folder, id).filter(|stray| *stray != Stray::Other) else { return };
    let ends = stray == Stray::Executor && timeout_at(until, held.ended()).await.is_ok();
    if !ends {
        tracing::warn!(pid, bundle = %folder.display(), ?stray, "kill a stray process");
        kill(Some(&held)).await;
    }
}

/// Removes the socket of a dead shim, which cannot do so itself. A socket that somebody listens on stays.
pub(crate) fn remove_socket(address: &str) {
    let Some(path) = address.strip_prefix("unix://").filter(|path| path.starts_with('/')) else { return };
    if shim_socket::is_dead(Path::new(path))
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::debug!(path, %error, "remove a dead shim's socket");
    }
}

fn strays(folder: &Path, id: &ContainerId) -> io::Result<Vec<(u32, Stray)>> {
    let processes = std::fs::read_dir("/proc")?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid| Some((pid, is_stray(pid, folder, id)?))).collect())
}

/// Does it see the files that the daemon sees? A path within another root, such as a container's, is another folder, whatever it is called.
fn is_at_our_root(pid: u32) -> bool {
    let root = |process: &str| {
        std::fs::metadata(format!("/proc/{process}/root")).ok().map(|meta| (meta.dev(), meta.ino()))
    };
    root("self").is_some_and(|own| root(&pid.to_string()) == Some(own))
}

fn is_stray(pid: u32, folder: &Path, id: &ContainerId) -> Option<Stray> {
    let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    if !is_at_our_root(pid) {
        return None;
    }
    // A folder that was removed, and made again, is not the same (proc_pid_cwd(5)).
    let removed = || cwd.to_str().and_then(|cwd| cwd.strip_suffix(" (deleted)")).map(Path::new);
    if cwd != folder && removed() != Some(folder) {
        return None;
    }
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let parts: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let Some(place) = parts.iter().position(|part| *part == id.as_str().as_bytes()) else {
        return Some(Stray::Other);
    };
    let flagged = place > 0 && matches!(parts[place - 1], b"-id" | b"--id");
    Some(if flagged { Stray::Shim } else { Stray::Executor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn strays_are_found_by_where_they_work_and_for_whom() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let wait = |folder: &Path, arguments: [&str; 2]| {
            let mut command = tokio::process::Command::new("sh");
            command.args(["-c", "read line", "sh"]).args(arguments).stdin(std::process::Stdio::piped());
            command.current_dir(folder).kill_on_drop(true).spawn().unwrap()
        };
        let mut shim = wait(here.path(), ["-id", "c"]);
        let mut executor = wait(here.path(), ["create", "c"]);
        let mut others = [wait(there.path(), ["-id", "c"]), wait(here.path(), ["-id", "d"])];
        let id = ContainerId::parse("c").unwrap();
        clear_strays(Path::new("/none/at/all"), &id).await;
        // Waiting for a child closes its stdin, at which it would end.
        let _held = shim.stdin.take();
        let clearing = clear_strays(here.path(), &id);
        tokio::pin!(clearing);
        use std::os::unix::process::ExitStatusExt;
        tokio::select! {
            // Does not end while the executor works.
            () = &mut clearing => panic!("the executor was not waited for"),
            status = shim.wait() => assert_eq!(status.unwrap().signal(), Some(9)),
        }
        drop(executor.stdin.take());
        clearing.await;
        assert_eq!(executor.wait().await.unwrap().code(), Some(1));
        for other in &mut others {
            assert!(other.try_wait().unwrap().is_none());
        }
    }

    #[test]
    fn only_a_dead_socket_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let address = format!("unix://{}", path.display());
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        remove_socket(&address);
        assert!(path.exists());
        drop(listener);
        // A child that another test has just made may hold it for a moment.
        let begun = std::time::Instant::now();
        while path.exists() && begun.elapsed() < Duration::from_secs(30) {
            remove_socket(&address);
        }
        assert!(!path.exists());
        std::fs::write(&path, "no socket").unwrap();
        remove_socket("unix://relative");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn an_end_is_seen_through_the_descriptor() {
        let mut child = tokio::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let held = Held::open(child.id().unwrap()).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), held.ended()).await.is_err());
        assert!(held.lives());
        held.kill();
        held.ended().await;
        assert!(!held.lives());
        child.wait().await.unwrap();
        for nobody in [0, 1, std::process::id()] {
            assert!(Held::open(nobody).is_none());
        }
    }
}
