//! Deletes the task: in the shim, then the name of its bundle. That is what the caller waits for; the shim's end and the bundle's removal
//! come after the answer ([`Clearing`]), and a daemon that is started anew finds what is left of them by the bundle's hidden name.

use std::ops::ControlFlow;
use std::sync::Arc;

use errors::{Error, Kind, Result};

use super::{Actor, Done, Phase};
use crate::bundle::{Bundle, Hidden};
use crate::call::{Answer, Call};
use crate::process::Reply;
use crate::shim_conn::ShimConn;
use crate::table::{Company, blocking, not_found};
use crate::types::{Exit, Status};
use crate::{shim_delete, shim_end, shim_spare, state};

/// A task that is deleted.
pub(super) struct Deleted {
    exit: Exit,
    /// What is left to do, if there is something.
    clearing: Option<Clearing>,
}

impl Deleted {
    /// Nothing is left of it.
    pub(super) fn whole(exit: Exit) -> Deleted {
        Deleted { exit, clearing: None }
    }
}

/// What is left of a deleted task.
pub(super) struct Clearing {
    conn: Arc<ShimConn>,
    shim_pid: Option<u32>,
    company: Company,
    hidden: Hidden,
}

/// What a deletion works on.
struct Deletion {
    conn: Arc<ShimConn>,
    bundle: Bundle,
    shim_pid: Option<u32>,
    company: Company,
    /// The status as last known.
    status: Status,
    /// The exit, if it is known.
    exit: Option<Exit>,
}

impl Actor {
    pub(super) fn on_delete(&mut self, reply: Reply<Exit>) {
        self.deletes.push(reply);
        self.delete_trace = marks::current();
        self.go_on_deleting();
    }

    /// Begins a deletion if one is asked for and none is under way.
    pub(super) fn go_on_deleting(&mut self) {
        // A note would be written into a folder that is being removed.
        if self.deletes.is_empty() || self.notes > 0 {
            return;
        }
        match (self.phase, self.conn.clone()) {
            (Phase::Live, Some(conn)) => self.delete_live(conn),
            (Phase::Lost, _) => self.delete_lost(),
            // Comes back here when it is known what became of the shim.
            _ => {}
        }
    }

    fn delete_live(&mut self, conn: Arc<ShimConn>) {
        self.phase = Phase::Deleting;
        let deletion = Deletion {
            conn,
            bundle: self.bundle.clone(),
            shim_pid: self.shim_pid,
            company: self.company(),
            status: self.procs.get("").map_or(Status::Unknown, |init| init.status()),
            exit: self.init_exit(),
        };
        let deleting = async move { Done::Deleted(deletion.run().await) };
        self.jobs.spawn(marks::scope(self.delete_trace.take(), deleting));
    }

    fn delete_lost(&mut self) {
        self.phase = Phase::Deleting;
        let exit = self.init_exit().unwrap_or_else(|| shim_delete::unknown(0));
        self.publish_delete(exit);
        let bundle = self.bundle.clone();
        self.jobs.spawn(async move {
            remove(bundle).await;
            Done::Deleted(Ok(Deleted::whole(exit)))
        });
    }

    pub(super) fn on_deleted(&mut self, result: Result<Deleted>) -> ControlFlow<()> {
        match result {
            Ok(Deleted { exit, clearing }) => {
                self.leave(exit, clearing);
                ControlFlow::Break(())
            }
            Err(error) => {
                self.phase = Phase::Live;
                // A shim that died under the deletion is looked after first; then the deletion goes on.
                if error.kind() != Kind::Unavailable
                    || self.conn.as_ref().is_some_and(|conn| !conn.is_closed())
                {
                    for reply in self.deletes.drain(..) {
                        let _ = reply.send(Err(Error::new(error.kind(), error.chain())));
                    }
                }
                ControlFlow::Continue(())
            }
        }
    }

    /// There is no such task any more before anybody hears of it.
    fn leave(&mut self, exit: Exit, clearing: Option<Clearing>) {
        match (self.table.upgrade(), clearing) {
            (Some(table), Some(clearing)) => {
                let leaving = table.leave(&self.key, self.ledger.clone());
                let (key, log) = (self.key.clone(), self.log.take());
                let work = async move {
                    clearing.run().await;
                    table.remove(&key);
                    // Who waits for the id looks again now.
                    drop((leaving, log));
                    shim_spare::refill(&table.shared).await;
                };
                tokio::spawn(work);
            }
            (Some(table), None) => table.remove(&self.key),
            // The daemon goes; the next one clears up.
            (None, _) => {}
        }
        if let Some(init) = self.procs.get_mut("") {
            init.ended(exit.status, exit.at);
        }
        let mut replies = self.deletes.drain(..);
        if let Some(first) = replies.next() {
            let _ = first.send(Ok(exit));
        }
        for late in replies {
            let _ = late.send(Err(not_found(&self.key.1)));
        }
        self.settle();
    }

    pub(super) fn company(&self) -> Company {
        Company { table: self.table.clone(), key: self.key.clone(), address: self.bootstrap.address.clone() }
    }
}

impl Deletion {
    async fn run(self) -> Result<Deleted> {
        let mut step = marks::step("task.delete.check")?;
        self.check().await?;
        step.next("task.delete.call")?;
        let exit = match self.conn.delete("").await {
            Ok(exit) => exit,
            // An earlier deletion came as far as this.
            Err(error) if error.is_not_found() => self.exit.unwrap_or_else(|| shim_delete::unknown(0)),
            Err(error) => return Err(error),
        };
        drop(step);
        if !self.company.is_alone() {
            // It serves others, and takes note of the one that is gone.
            shim_end::end(&self.conn, self.shim_pid, || false).await;
            remove(self.bundle).await;
            return Ok(Deleted::whole(exit));
        }
        let step = marks::begun("task.delete.hide");
        let hidden = hide(self.bundle.clone()).await;
        drop(step);
        let Some(hidden) = hidden else {
            end_shim(&self.conn, self.shim_pid, &self.company).await;
            remove(self.bundle).await;
            return Ok(Deleted::whole(exit));
        };
        let clearing = Clearing { conn: self.conn, shim_pid: self.shim_pid, company: self.company, hidden };
        Ok(Deleted { exit, clearing: Some(clearing) })
    }

    /// Refuses while init may run. The shim is asked unless its answer could not change.
    async fn check(&self) -> Result<()> {
        if matches!(self.status, Status::Stopped | Status::Created) {
            return Ok(());
        }
        match self.conn.call(&Call::State { exec_id: String::new() }).await {
            Ok(Answer::Seen(seen)) => state::check_delete(seen.status),
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Clearing {
    async fn run(self) {
        let step = marks::begun("task.delete.shim");
        end_shim(&self.conn, self.shim_pid, &self.company).await;
        drop(step);
        let _step = marks::begun("task.delete.bundle");
        let Clearing { hidden, .. } = self;
        let path = hidden.path().to_owned();
        if let Err(error) = blocking(move || hidden.remove()).await {
            tracing::warn!(bundle = %path.display(), error = %error.chain(), "remove the bundle of a deleted task");
        }
    }
}

/// Ends a shim that serves nobody any more.
async fn end_shim(conn: &ShimConn, shim_pid: Option<u32>, company: &Company) {
    shim_end::end(conn, shim_pid, || company.is_alone()).await;
    // One that was killed on its way out could not take it along.
    shim_end::remove_socket(conn.address());
}

/// Hides the bundle; `None` if that cannot be done, and it can only be removed.
async fn hide(bundle: Bundle) -> Option<Hidden> {
    let path = bundle.path().to_owned();
    match blocking(move || bundle.hide()).await {
        Ok(hidden) => Some(hidden),
        Err(error) => {
            tracing::warn!(bundle = %path.display(), error = %error.chain(), "hide the bundle of a deleted task");
            None
        }
    }
}

/// Removes the bundle. What cannot be removed must not cost the caller the exit; the next task of that name,
/// or the next daemon, tries again.
async fn remove(bundle: Bundle) {
    let path = bundle.path().to_owned();
    if let Err(error) = blocking(move || bundle.remove()).await {
        tracing::warn!(bundle = %path.display(), error = %error.chain(), "remove a bundle");
    }
}
