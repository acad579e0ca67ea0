//! The one place where children are waited for.
//!
//! The shim is a subreaper: init processes, whose parent was the executor, become its children when the
//! executor ends, and so does whatever they leave behind. So any child may end at any time, known or not. On
//! SIGCHLD everything that has ended is reaped; whoever asked for a pid is told, and while somebody is about
//! to learn a pid (a [`Watch`]) exits of strangers are kept for them: a process that ends before its pid is
//! known is not lost.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use runc_client::{Running, Spawner};
use rustix::process::{WaitOptions, WaitStatus};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::sync::lock;

/// Exits kept for whoever may yet claim them. The one that counts is among the youngest.
const MOST_STRANGERS: usize = 4096;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) pid: u32,
    /// The exit code, or 128 and the signal.
    pub(crate) status: u32,
    pub(crate) at: SystemTime,
}

/// A process whose exit was asked for.
pub(crate) struct Pending {
    told: oneshot::Receiver<Exit>,
    reaped: Arc<AtomicBool>,
}

/// Makes sure that exits from now on are kept until a pid is claimed.
pub(crate) struct Watch {
    reaper: Reaper,
    since: u64,
}

/// The owner of SIGCHLD. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Reaper {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    waiting: HashMap<u32, (oneshot::Sender<Exit>, Arc<AtomicBool>)>,
    watches: usize,
    /// Exits nobody has asked for, with their number in the order of reaping; empty while there is no watch.
    strangers: Vec<(u64, Exit)>,
    reaped: u64,
}

impl Reaper {
    /// Reaps on every SIGCHLD, forever.
    ///
    /// # Errors
    /// Fails if the signal cannot be listened to.
    pub(crate) fn run(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let mut children = signal(SignalKind::child())?;
        let reaper = self.clone();
        Ok(async move {
            reaper.reap();
            while children.recv().await.is_some() {
                reaper.reap();
            }
        })
    }

    /// To be called before a process is started whose pid is learned only afterwards.
    pub(crate) fn watch(&self) -> Watch {
        let mut inner = lock(&self.inner);
        inner.watches += 1;
        Watch { reaper: self.clone(), since: inner.reaped }
    }

    /// Reaps every child that has ended.
    fn reap(&self) {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.settle(pid.as_raw_nonzero().get().unsigned_abs(), status),
                Err(rustix::io::Errno::INTR) => {}
                // Nothing has ended, or there is no child at all.
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn settle(&self, pid: u32, status: WaitStatus) {
        let Some(code) = code_of(status) else { return };
        let exit = Exit { pid, status: code, at: SystemTime::now() };
        let mut inner = lock(&self.inner);
        inner.reaped += 1;
        if let Some((tell, reaped)) = inner.waiting.remove(&pid) {
            reaped.store(true, Ordering::Relaxed);
            // Whoever asked may have lost interest.
            let _ = tell.send(exit);
        } else if inner.watches > 0 {
            let number = inner.reaped;
            if inner.strangers.len() == MOST_STRANGERS {
                inner.strangers.remove(0);
            }
            inner.strangers.push((number, exit));
        }
    }

    fn expect(&self, pid: u32) -> Pending {
        let (tell, told) = oneshot::channel();
        let reaped = Arc::new(AtomicBool::new(false));
        lock(&self.inner).waiting.insert(pid, (tell, reaped.clone()));
        Pending { told, reaped }
    }
}

impl Spawner for Reaper {
    /// Nothing is reaped between the fork and the registration, since reaping happens on this thread too.
    fn spawn(&self, mut command: Command) -> io::Result<Running> {
        let mut child = with_huge_pages(|| command.spawn())?;
        drop(command);
        let pid = child.id();
        let pending = self.expect(pid);
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let exit = Box::pin(async move {
            let exit = pending.wait().await;
            Ok(ExitStatus::from_raw(raw_of(exit.status)))
        });
        Ok(Running { pid, stdin, stdout, stderr, exit })
    }
}

impl Watch {
    /// Names the process that was started. Its exit is told even if it has come already.
    pub(crate) fn claim(self, pid: u32) -> Pending {
        let pending = self.reaper.expect(pid);
        let mut inner = lock(&self.reaper.inner);
        let found = inner.strangers.iter().position(|(number, exit)| *number > self.since && exit.pid == pid);
        if let Some(index) = found {
            let (_, exit) = inner.strangers.swap_remove(index);
            if let Some((tell, reaped)) = inner.waiting.remove(&pid) {
                reaped.store(true, Ordering::Relaxed);
                // The receiver is held right here.
                let _ = tell.send(exit);
            }
        }
        drop(inner);
        pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = lock(&self.reaper.inner);
        inner.watches -= 1;
        if inner.watches == 0 {
            inner.strangers = Vec::new();
        }
    }
}

impl Pending {
    /// Set as soon as the process is reaped: from then on its pid may mean another.
    pub(crate) fn reaped(&self) -> Arc<AtomicBool> {
        self.reaped.clone()
    }

    /// Waits for the end.
    pub(crate) async fn wait(self) -> Exit {
        match self.told.await {
            Ok(exit) => exit,
            // Only if the same pid was claimed anew, so that this process must have ended: its status is not
            // known.
            Err(_) => Exit { pid: 0, status: 255, at: SystemTime::now() },
        }
    }
}

fn code_of(status: WaitStatus) -> Option<u32> {
    let signal = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signal).map(i32::unsigned_abs)
}

/// The wait(2) status of a code; a signal is told as the shell tells it.
fn raw_of(code: u32) -> i32 {
    i32::try_from(code & 0xff).unwrap_or(0xff) << 8
}

/// Set once this process has given up huge pages for itself.
static WITHOUT_HUGE_PAGES: AtomicBool = AtomicBool::new(false);

/// Gives up transparent huge pages for this process: each would cost two megabytes.
pub(crate) fn give_up_huge_pages() {
    use nix::sys::prctl;
    // If they were off already, children get what the shim got.
    if prctl::get_thp_disable() == Ok(false) && prctl::set_thp_disable(true).is_ok() {
        WITHOUT_HUGE_PAGES.store(true, Ordering::Relaxed);
    }
}

/// The flag is inherited through exec; containers decide for themselves.
fn with_huge_pages<T>(spawn: impl FnOnce() -> T) -> T {
    use nix::sys::prctl;
    if !WITHOUT_HUGE_PAGES.load(Ordering::Relaxed) {
        return spawn();
    }
    // Failing to switch costs speed or memory, nothing else.
    let _ = prctl::set_thp_disable(false);
    let result = spawn();
    let _ = prctl::set_thp_disable(true);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, since all children of the test process are reaped.
    #[tokio::test]
    #[expect(clippy::zombie_processes, reason = "the reaper under test waits")]
    async fn no_exit_is_lost() {
        let reaper = Reaper::default();
        tokio::spawn(reaper.run().unwrap());

        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let running = reaper.spawn(shell("exit 7")).unwrap();
        assert_eq!(running.exit.await.unwrap().code(), Some(7));

        // Ends, and is reaped, before it is claimed.
        let watch = reaper.watch();
        let early = shell("kill -9 $$").spawn().unwrap();
        let marker = reaper.spawn(shell("exit 0")).unwrap();
        marker.exit.await.unwrap();
        while !lock(&reaper.inner).strangers.iter().any(|(_, exit)| exit.pid == early.id()) {
            tokio::task::yield_now().await;
        }
        let pending = watch.claim(early.id());
        assert!(pending.reaped().load(Ordering::Relaxed));
        let exit = pending.wait().await;
        assert_eq!((exit.pid, exit.status), (early.id(), 137));
        assert!(lock(&reaper.inner).strangers.is_empty(), "kept for nobody");

        // Claimed while it runs.
        let watch = reaper.watch();
        let late = shell("read line; exit 3").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pending = watch.claim(late.id());
        assert!(!pending.reaped().load(Ordering::Relaxed));
        drop(late.stdin);
        assert_eq!(pending.wait().await.status, 3);

        // An exit from before the watch is not mistaken for one of the same pid after it.
        let keeper = reaper.watch();
        let stale = shell("exit 5").spawn().unwrap();
        while !lock(&reaper.inner).strangers.iter().any(|(_, exit)| exit.pid == stale.id()) {
            tokio::task::yield_now().await;
        }
        let pending = reaper.watch().claim(stale.id());
        assert!(!pending.reaped().load(Ordering::Relaxed));
        drop(keeper);
    }
}
