//! Who waits for which process; one Wait call to the shim for each process, however many wait.

use std::time::SystemTime;

use errors::{Error, Kind, Result};

use super::{Actor, CALLS, Done, Phase};
use crate::process::{Proc, Reply};
use crate::types::{Exit, Status};

impl Actor {
    pub(super) fn on_wait(&mut self, exec_id: String, reply: Reply<Exit>) {
        if !self.procs.contains_key(&exec_id) && self.unknown_execs() >= CALLS {
            let text = format!("shim of task {}: {CALLS} waits are unanswered", self.key.1);
            let _ = reply.send(Err(Error::unavailable(text)));
            return;
        }
        let process = self.procs.entry(exec_id.clone()).or_insert_with(Proc::unknown);
        process.wait(reply);
        let ended = process.exit().is_some();
        // A created exec is watched from its start on; what an earlier daemon made, from the first question
        // on.
        match process.status() {
            _ if ended => {}
            _ if self.phase == Phase::Lost => self.forget_exec(&exec_id),
            Status::Created => {}
            _ => self.watch(&exec_id),
        }
    }

    /// How many names were asked for that the shim has not told anything of yet.
    fn unknown_execs(&self) -> usize {
        let unknown =
            self.procs.iter().filter(|(id, process)| !id.is_empty() && process.status() == Status::Unknown);
        unknown.count()
    }

    /// Has the shim say when a process ends; once for each.
    pub(super) fn watch(&mut self, exec_id: &str) {
        let Some(conn) = self.conn.clone() else { return };
        let Some(process) = self.procs.get_mut(exec_id) else { return };
        if process.watched || process.exit().is_some() {
            return;
        }
        process.watched = true;
        let (exec_id, pid) = (exec_id.to_owned(), process.pid());
        self.jobs.spawn(async move {
            let result = conn.wait(&exec_id).await;
            Done::Ended { exec_id, pid, result }
        });
    }

    pub(super) fn on_ended(&mut self, exec_id: &str, pid: u32, result: Result<(u32, SystemTime)>) {
        let Some(process) = self.procs.get_mut(exec_id) else { return };
        if pid != 0 && pid != process.pid() {
            // Of an earlier exec of that name.
            return;
        }
        process.watched = false;
        match result {
            Ok((status, at)) => {
                process.ended(status, at);
            }
            // The connection is lost, and with it maybe the shim: that is told in its own way.
            Err(error) if error.kind() == Kind::Unavailable => {}
            Err(error) => {
                tracing::debug!(id = %self.key.1, exec_id, %error, "wait for a process");
                process.fail_waiting(|| Error::new(error.kind(), error.chain()));
                if !exec_id.is_empty() && process.status() == Status::Unknown {
                    self.procs.remove(exec_id);
                }
            }
        }
    }

    /// Watches init, and every exec that was started.
    pub(super) fn watch_all(&mut self) {
        let ids: Vec<String> = self.procs.keys().cloned().collect();
        for exec_id in ids {
            let status = self.procs.get(&exec_id).map_or(Status::Unknown, Proc::status);
            if exec_id.is_empty() || status != Status::Created {
                self.watch(&exec_id);
            }
        }
    }
}
