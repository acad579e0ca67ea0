//! Exits made known: to the event bus, once each, and to the bundle, for the next daemon.

use std::time::SystemTime;

use proto_containerd::events::{TaskDelete, TaskExit};

use super::{Actor, Done, Phase};
use crate::bundle::Ended;
use crate::types::{Exit, Status};

impl Actor {
    /// The shim itself has reported an exit; whoever called has claimed it.
    pub(super) fn on_exit_event(&mut self, exec_id: &str, pid: u32, status: u32, at: SystemTime) {
        let Some(process) = self.procs.get_mut(exec_id) else { return };
        let fits = match process.pid() {
            // It may end before its start is answered.
            0 => process.starting || process.status() != Status::Created,
            known => pid == 0 || pid == known,
        };
        if !fits {
            // Of an earlier exec of that name.
            return;
        }
        process.set_pid(pid.max(process.pid()));
        let exit = process.ended(status, at);
        if exec_id.is_empty() {
            self.note(exit, false);
        }
    }

    /// Reports init's exit, if it has ended and nobody has said so yet: it ended while no daemon ran.
    pub(super) fn report_known_exit(&mut self) {
        if let Some(exit) = self.init_exit()
            && self.publish_exit("", exit)
        {
            self.note(exit, self.phase == Phase::Lost);
        }
    }

    /// Publishes an exit unless it was reported before; says whether it did.
    pub(super) fn publish_exit(&self, exec_id: &str, exit: Exit) -> bool {
        if !self.ledger.claim(exec_id, exit.pid) {
            return false;
        }
        let (namespace, id) = &self.key;
        let name = if exec_id.is_empty() { id.as_str() } else { exec_id };
        let event = TaskExit {
            container_id: id.as_str().to_owned(),
            id: name.to_owned(),
            pid: exit.pid,
            exit_status: exit.status,
            exited_at: Some(exit.at.into()),
        };
        self.shared.bus.publish(namespace, "/tasks/exit", &event);
        true
    }

    /// Publishes the deletion of a task whose shim cannot.
    pub(super) fn publish_delete(&self, exit: Exit) {
        let (namespace, id) = &self.key;
        let event = TaskDelete {
            container_id: id.as_str().to_owned(),
            pid: exit.pid,
            exit_status: exit.status,
            exited_at: Some(exit.at.into()),
            ..TaskDelete::default()
        };
        self.shared.bus.publish(namespace, "/tasks/delete", &event);
    }

    /// Writes down that init's exit was reported. After the report, since twice is better than never.
    /// Not while the bundle is being removed.
    pub(super) fn note(&mut self, exit: Exit, lost: bool) {
        if self.phase == Phase::Deleting {
            return;
        }
        let bundle = self.bundle.clone();
        self.notes += 1;
        self.jobs.spawn_blocking(move || {
            match bundle.write_exit(&Ended::new(exit, lost, true)) {
                // The bundle may be on its way out.
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(error = %error.chain(), "note an exit");
                }
                _ => {}
            }
            Done::Noted
        });
    }
}
