//! The connection to the shim is lost: is the shim, too? Then what it left is cleaned, and its exits are made
//! known.

use std::sync::Arc;
use std::time::Duration;

use errors::{Error, Result};

use super::delete::Deleted;
use super::{Actor, Done, Phase, no_process};
use crate::bundle::Ended;
use crate::call::{Answer, Call};
use crate::process::{Proc, Reply};
use crate::shim_conn::{ShimConn, may_pass};
use crate::table::blocking;
use crate::types::{Exit, Status};
use crate::{shim_delete, shim_end, state};

/// How often a lost connection is replaced before a shim that takes connections, and answers nothing, counts
/// as dead.
const RETRIES: u32 = 3;

/// How long to leave a shim alone whose queue of connections is full; doubled up to [`SLOWEST`].
const PAUSE: Duration = Duration::from_millis(250);

/// The longest pause.
const SLOWEST: Duration = Duration::from_secs(30);

/// The status of a process that was killed with its container.
const KILLED: u32 = 137;

/// What came of it.
pub(super) enum Loss {
    /// The shim lives: a new connection.
    Back(ShimConn),
    /// It is dead; how init ended, as far as `shim delete` could say.
    Dead(Exit),
}

impl Actor {
    /// Looks into why there is no connection.
    pub(super) fn begin_loss(&mut self) {
        self.phase = Phase::Losing;
        let (shared, key, bundle) = (self.shared.clone(), self.key.clone(), self.bundle.clone());
        let bootstrap = self.bootstrap.clone();
        let again = self.retries < RETRIES;
        let (pid, known) = (self.describe("").map_or(0, |init| init.pid), self.init_exit());
        let (reported, clearing) = (self.ledger.holds(""), self.clearing.clone());
        self.retries += 1;
        self.jobs.spawn(async move {
            let (namespace, id) = &key;
            if again {
                let (address, version) = (&bootstrap.address, bootstrap.version);
                let connect = || ShimConn::connect(address, version, namespace, id, shared.config.timeouts);
                if let Ok(conn) = patiently(connect).await {
                    return Done::Loss(Loss::Back(conn));
                }
            }
            let clearing = clearing.lock().await;
            shim_end::clear_strays(bundle.path(), id).await;
            let exit = match shim_delete::delete(&shared.config, namespace, id, &bundle).await {
                Ok(exit) => Exit { pid: if exit.pid == 0 { pid } else { exit.pid }, ..exit },
                Err(error) => {
                    tracing::warn!(%namespace, %id, error = %error.chain(), "clean after a dead shim");
                    shim_delete::unknown(pid)
                }
            };
            drop(clearing);
            shim_end::remove_socket(&bootstrap.address);
            // Kept before anybody hears of it: the shim cannot be asked again.
            let exit = known.unwrap_or(exit);
            let ended = Ended::new(exit, true, reported);
            if let Err(error) = blocking(move || bundle.write_exit(&ended)).await {
                tracing::warn!(%namespace, %id, error = %error.chain(), "keep the exit of a dead shim's task");
            }
            Done::Loss(Loss::Dead(exit))
        });
    }

    /// Ends the shim without asking it: then its connection is lost, and what follows follows. Refused where it serves other tasks, too.
    pub(super) fn on_end_shim(&mut self, reply: Reply<()>) {
        if !self.company().is_alone() {
            let text = format!("the shim of task {} serves other tasks, too", self.key.1);
            let _ = reply.send(Err(Error::precondition(text)));
            return;
        }
        let (namespace, id) = &self.key;
        tracing::warn!(%namespace, %id, "the shim is ended");
        let (conn, shim_pid) = (self.conn.clone(), self.shim_pid);
        let (bundle, id, clearing) = (self.bundle.clone(), id.clone(), self.clearing.clone());
        self.jobs.spawn(async move {
            if let (Some(conn), Some(pid)) = (conn, shim_pid) {
                shim_end::force(&conn, Some(pid)).await;
            }
            let _clearing = clearing.lock().await;
            // One that has never told its pid.
            shim_end::clear_strays(bundle.path(), &id).await;
            let _ = reply.send(Ok(()));
            Done::ShimEnded
        });
    }

    pub(super) fn on_loss(&mut self, loss: Loss) {
        match loss {
            Loss::Back(conn) => self.take_connection(conn),
            Loss::Dead(exit) => self.take_loss(exit),
        }
        self.go_on_deleting();
    }

    fn take_connection(&mut self, conn: ShimConn) {
        let conn = Arc::new(conn);
        self.conn = Some(conn.clone());
        self.phase = Phase::Live;
        let (bundle, id) = (self.bundle.clone(), self.key.1.clone());
        self.jobs.spawn(async move {
            let mut identity = conn.identify().await;
            if identity.as_ref().is_err_and(Error::is_not_found) {
                // It may be about to create what an earlier daemon has asked for.
                shim_end::executors_done(bundle.path(), &id).await;
                identity = conn.identify().await;
            }
            Done::Identified(identity)
        });
    }

    /// The shim is dead. Execs end before init, as always.
    fn take_loss(&mut self, exit: Exit) {
        let (namespace, id) = &self.key;
        tracing::warn!(%namespace, %id, "the shim is dead");
        self.conn = None;
        self.phase = Phase::Lost;
        self.end_execs(exit);
        let Some(init) = self.procs.get_mut("") else { return };
        if init.exit().is_none() && exit.pid != 0 {
            init.set_pid(exit.pid);
        }
        let exit = init.ended(exit.status, exit.at);
        self.publish_exit("", exit);
        self.note(exit, true);
        self.settle();
    }

    fn end_execs(&mut self, exit: Exit) {
        let execs: Vec<String> = self.procs.keys().filter(|exec_id| !exec_id.is_empty()).cloned().collect();
        for exec_id in execs {
            let Some(process) = self.procs.get_mut(&exec_id) else { continue };
            if matches!(process.status(), Status::Created | Status::Unknown) {
                self.forget_exec(&exec_id);
                continue;
            }
            let exit = process.ended(KILLED, exit.at);
            self.publish_exit(&exec_id, exit);
        }
    }

    /// Answers in place of a dead shim.
    pub(super) fn answer_lost(&mut self, call: &Call) -> Result<Answer> {
        let exec_id = call.exec_id();
        match call {
            Call::State { exec_id } => self.describe(exec_id).map(Answer::Process),
            Call::DeleteProcess { .. } => {
                let exit = self.procs.get(exec_id).and_then(Proc::exit).ok_or_else(|| no_process(exec_id))?;
                self.forget_exec(exec_id);
                Ok(Answer::Exit(exit))
            }
            Call::Kill { .. } => Err(Error::not_found("process already finished: not found")),
            Call::Stats => Err(Error::not_found("cgroup does not exist: not found")),
            _ => {
                state::check(call, Status::Stopped, !exec_id.is_empty())?;
                Err(Error::precondition("container not running: failed precondition"))
            }
        }
    }

    /// The shim knows no such task: it was half made, or half deleted. Everything goes.
    pub(super) fn begin_reap(&mut self) {
        self.phase = Phase::Deleting;
        let (namespace, id) = self.key.clone();
        tracing::warn!(%namespace, %id, "the shim has no such task; it is removed");
        let (conn, shim_pid, company) = (self.conn.clone(), self.shim_pid, self.company());
        let (shared, bundle, bootstrap) = (self.shared.clone(), self.bundle.clone(), self.bootstrap.clone());
        let (exit, clearing) = (self.init_exit(), self.clearing.clone());
        self.jobs.spawn(async move {
            if let Some(conn) = conn {
                // Should it have come into being this moment.
                let _ = conn.delete("").await;
                shim_end::end(&conn, shim_pid, || company.is_alone()).await;
            }
            let clearing = clearing.lock().await;
            // The shim of others may have been started for this one, and works in its bundle.
            if company.is_alone() {
                shim_end::clear_strays(bundle.path(), &id).await;
            }
            let told = shim_delete::delete(&shared.config, &namespace, &id, &bundle).await;
            drop(clearing);
            shim_end::remove_socket(&bootstrap.address);
            let removed = blocking(move || bundle.remove()).await;
            if let Err(error) = removed {
                tracing::warn!(%namespace, %id, error = %error.chain(), "remove a half made task");
            }
            let exit = exit.or(told.ok()).unwrap_or_else(|| shim_delete::unknown(0));
            Done::Deleted(Ok(Deleted::whole(exit)))
        });
    }
}

/// Connects; waits, and tries again, while the shim may live: it takes no connection, or the daemon lacks what it takes to make one.
async fn patiently<F: Future<Output = Result<ShimConn>>>(connect: impl Fn() -> F) -> Result<ShimConn> {
    let mut pause = PAUSE;
    loop {
        match connect().await {
            // The kernel tells nobody when a listener's queue has room again.
            Err(error) if may_pass(&error) => tokio::time::sleep(pause).await,
            other => return other,
        }
        pause = (pause * 2).min(SLOWEST);
    }
}
