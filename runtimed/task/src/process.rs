//! What the actor knows of one process: init or an exec.

use std::path::Path;
use std::time::SystemTime;

use errors::{Error, Result};
use ids::ContainerId;
use tokio::sync::oneshot;

use crate::shim_delete::UNKNOWN_STATUS;
use crate::types::{Exit, Io, Process, Status};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// A process as a shim's State call tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Its pid; 0 before start.
    pub(crate) pid: u32,
    /// What it does.
    pub(crate) status: Status,
    /// Its streams.
    pub(crate) io: Io,
    /// Status and time of its end, once it has ended.
    pub(crate) exit: Option<(u32, SystemTime)>,
}

/// A process, and who waits for it.
#[derive(Debug)]
pub(crate) struct Proc {
    seen: Seen,
    /// A Wait call to the shim is under way.
    pub(crate) watched: bool,
    /// A Start call to the shim was made.
    pub(crate) starting: bool,
    /// When the shim refused to start it: it stays created, as with containerd, and nobody waits for it any more.
    refused: Option<SystemTime>,
    waiting: Vec<Reply<Exit>>,
}

impl Proc {
    /// A process in `status`.
    pub(crate) fn new(pid: u32, status: Status, io: Io) -> Proc {
        Proc {
            seen: Seen { pid, status, io, exit: None },
            watched: false,
            starting: false,
            refused: None,
            waiting: Vec::new(),
        }
    }

    /// A process nothing is known of yet, such as one that an earlier daemon made.
    pub(crate) fn unknown() -> Proc {
        Proc::new(0, Status::Unknown, Io::default())
    }

    /// What it does.
    pub(crate) fn status(&self) -> Status {
        self.seen.status
    }

    /// Its pid; 0 if it is not known.
    pub(crate) fn pid(&self) -> u32 {
        self.seen.pid
    }

    /// How it ended.
    pub(crate) fn exit(&self) -> Option<Exit> {
        self.seen.exit.map(|(status, at)| Exit { pid: self.seen.pid, status, at })
    }

    /// Its pid is known now.
    pub(crate) fn set_pid(&mut self, pid: u32) {
        self.seen.pid = pid;
    }

    /// It does something else now; an end is never taken back.
    pub(crate) fn set_status(&mut self, status: Status) {
        if self.seen.exit.is_none() {
            self.seen.status = status;
        }
    }

    /// Takes over what the shim says, but for an end that is known already.
    pub(crate) fn take(&mut self, seen: Seen) {
        let ended = seen.exit;
        if self.seen.exit.is_none() {
            self.seen = Seen { exit: None, ..seen };
        }
        if let Some((status, at)) = ended {
            self.ended(status, at);
        }
    }

    /// It has ended: whoever waits is answered. The first report counts.
    pub(crate) fn ended(&mut self, status: u32, at: SystemTime) -> Exit {
        let (status, at) = *self.seen.exit.get_or_insert((status, at));
        self.seen.status = Status::Stopped;
        let exit = Exit { pid: self.seen.pid, status, at };
        for reply in self.waiting.drain(..) {
            // Whoever waited may be gone.
            let _ = reply.send(Ok(exit));
        }
        exit
    }

    /// It could not be started: whoever waits is let go, with a status that tells nothing.
    pub(crate) fn refuse(&mut self) {
        let at = SystemTime::now();
        self.refused = Some(at);
        for reply in self.waiting.drain(..) {
            // Whoever waited may be gone.
            let _ = reply.send(Ok(refusal(at)));
        }
    }

    /// It was started after all.
    pub(crate) fn accept(&mut self) {
        self.refused = None;
    }

    /// Answers `reply` when the process ends; at once when it has, or when it could not be started.
    pub(crate) fn wait(&mut self, reply: Reply<Exit>) {
        if let Some(exit) = self.exit().or_else(|| self.refused.map(refusal)) {
            let _ = reply.send(Ok(exit));
            return;
        }
        self.waiting.retain(|reply| !reply.is_closed());
        self.waiting.push(reply);
    }

    /// Nobody will ever know how it ended: tells all who wait so.
    pub(crate) fn fail_waiting(&mut self, error: impl Fn() -> Error) {
        for reply in self.waiting.drain(..) {
            let _ = reply.send(Err(error()));
        }
    }

    /// The process as callers see it.
    pub(crate) fn describe(&self, id: &ContainerId, exec_id: &str, bundle: &Path) -> Process {
        Process {
            id: id.clone(),
            exec_id: exec_id.to_owned(),
            pid: self.seen.pid,
            status: self.seen.status,
            known: self.seen.status,
            io: self.seen.io.clone(),
            exit: self.exit(),
            bundle: bundle.to_owned(),
        }
    }
}

fn refusal(at: SystemTime) -> Exit {
    Exit { pid: 0, status: UNKNOWN_STATUS, at }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[tokio::test]
    async fn the_first_exit_counts_and_everybody_hears_it() {
        let mut process = Proc::new(7, Status::Running, Io::default());
        let (before, answer_before) = oneshot::channel();
        process.wait(before);
        process.ended(3, at(1));
        process.ended(137, at(2));
        let (after, answer_after) = oneshot::channel();
        process.wait(after);
        let exit = Exit { pid: 7, status: 3, at: at(1) };
        assert_eq!(answer_before.await.unwrap().unwrap(), exit);
        assert_eq!(answer_after.await.unwrap().unwrap(), exit);
    }

    #[tokio::test]
    async fn nobody_waits_for_what_could_not_be_started() {
        let mut process = Proc::new(0, Status::Created, Io::default());
        let (before, answer_before) = oneshot::channel();
        process.wait(before);
        process.refuse();
        let (after, answer_after) = oneshot::channel();
        process.wait(after);
        assert_eq!(answer_before.await.unwrap().unwrap().status, 255);
        assert_eq!(answer_after.await.unwrap().unwrap().status, 255);
        assert_eq!((process.status(), process.exit()), (Status::Created, None));
    }

    #[test]
    fn an_end_is_never_taken_back() {
        let mut process = Proc::new(7, Status::Running, Io::default());
        process.ended(0, at(1));
        process.set_status(Status::Running);
        process.take(Seen { pid: 7, status: Status::Running, io: Io::default(), exit: None });
        assert_eq!(process.status(), Status::Stopped);
    }

    #[test]
    fn waiters_who_left_are_forgotten() {
        let mut process = Proc::new(7, Status::Running, Io::default());
        for _ in 0..1000 {
            let (reply, _) = oneshot::channel();
            process.wait(reply);
        }
        assert_eq!(process.waiting.len(), 1);
    }
}
