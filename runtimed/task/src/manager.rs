//! The room's front: from a task's name to its actor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use errors::{Error, Result};
use events::{Bus, Envelope};
use ids::{ContainerId, Namespace};
use prost_types::Any;
use proto_containerd::events::{TaskExit, TaskPaused, TaskResumed};
use proto_containerd::unpack;

use crate::actor::{Request, Told};
use crate::call::{Answer, Call};
use crate::create;
use crate::departure::Departure;
use crate::restore;
use crate::shim_info;
use crate::table::{Handle, Key, Table};
use crate::types::{Config, Create, Exec, Exit, Process, Ran};

/// The tasks of all namespaces. Cheap to clone; when the last clone is dropped, the shims are let go of and
/// live on.
#[derive(Clone)]
pub struct Tasks {
    table: Arc<Table>,
}

impl Tasks {
    /// Finds the shims of an earlier daemon again, takes up exits that happened meanwhile, and cleans what
    /// was half made. Answers when every shim has answered or its time is over; one dead or hung shim delays
    /// no other.
    ///
    /// Exits that were not reported before are published on `events` now, so whoever keeps records subscribes
    /// first. An exit is reported at least once, and twice only if the daemon dies between the report and its
    /// note in the bundle. A task whose shim died stays, stopped, with the status that `shim delete` told,
    /// until it is deleted. A task whose shim hangs is listed with
    /// [`Status::Unknown`](crate::Status::Unknown), and known as soon as the shim goes on.
    ///
    /// # Errors
    /// If the state folder cannot be read. A bundle that cannot be read is left alone, and logged.
    pub async fn open(config: Config, events: Bus) -> Result<Tasks> {
        let table = Arc::new(Table::new(config, events));
        restore::restore(&table).await?;
        Ok(Tasks { table })
    }

    /// Ends the shim that stands by for the next container. Shims that have one live on.
    pub async fn close(&self) {
        self.table.shared.spares.close().await;
    }

    /// What each task's actor is at; one that does not say so within `patience` does not answer.
    pub async fn tell(&self, patience: Duration) -> Vec<(Namespace, ContainerId, String)> {
        let mut told = Vec::new();
        for ((namespace, id), handle) in self.table.all() {
            let asked = handle.ask(&id, |reply| Request::Tell { reply });
            let says = match tokio::time::timeout(patience, asked).await {
                Ok(Ok(says)) => says,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "does not answer".to_owned(),
            };
            told.push((namespace, id, says));
        }
        told
    }

    /// For a task that ran when an earlier daemon died, and whose bundle was not found by [`open`](Tasks::open): ends what is left of it, and
    /// says how it ended. `None` if there is such a task, or nothing left of it.
    pub async fn clear_lost(&self, namespace: &Namespace, id: &ContainerId) -> Result<Option<Exit>> {
        restore::clear_lost(&self.table, &(namespace.clone(), id.clone())).await
    }

    /// The namespaces that had a task since this daemon was started, or since one before it that could not
    /// [forget](Tasks::forget_namespace) them, whether or not they have one still.
    pub fn namespaces(&self) -> Vec<Namespace> {
        self.table.used()
    }

    /// The tasks of an earlier daemon that were [run](Tasks::run) to be cleared at their end. One without a container has ended, and was about
    /// to be deleted.
    pub fn auto_removed(&self) -> Vec<(Namespace, ContainerId)> {
        self.table.auto_removed().clone()
    }

    /// Begins the deletion of a task that has ended: from now on nobody finds it. `NotFound`.
    pub fn depart(&self, namespace: &Namespace, id: &ContainerId) -> Result<Departure> {
        let key = (namespace.clone(), id.clone());
        let handle = self.table.find(&key)?;
        let leaving = self.table.leave(&key, handle.ledger.clone());
        Ok(Departure { table: self.table.clone(), key, handle, leaving })
    }

    /// What the shim that stands for `runtime` says of itself and its executor, given these options: a `containerd.types.RuntimeInfo`.
    /// `NotFound` when there is no such shim.
    pub async fn runtime_info(&self, runtime: &str, options: Option<&Any>) -> Result<Any> {
        shim_info::info(&self.table.shared.config, runtime, options).await
    }

    /// Nothing is left of a namespace without tasks, so that the next daemon need not look after it.
    pub fn forget_namespace(&self, namespace: &Namespace) {
        self.table.forget(namespace);
    }

    /// Starts a shim and creates the task; returns init's pid. Undoes everything on failure, and also when
    /// the caller does not wait for the answer. `AlreadyExists` "task ID: already exists".
    pub async fn create(&self, namespace: &Namespace, id: &ContainerId, create: Create) -> Result<u32> {
        let key = (namespace.clone(), id.clone());
        let ledger = self.table.reserve(&key).await?;
        create::create(self.table.clone(), key, ledger, create, create::Wish::default())
            .await
            .map(|ran| ran.pid)
    }

    /// Creates a task and starts it, in one call where the shim can do that; with `attach`, a connection to its streams is made
    /// before. With `clear`, the caller deletes the task when it has ended, whatever comes, so that the shim may begin with that on its own.
    /// What was not done yet is for the caller to do. Undone as [`create`](Tasks::create) is.
    pub async fn run(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        create: Create,
        attach: bool,
        clear: bool,
    ) -> Result<Ran> {
        let key = (namespace.clone(), id.clone());
        let ledger = self.table.reserve(&key).await?;
        create::create(self.table.clone(), key, ledger, create, create::Wish { start: true, attach, clear })
            .await
    }

    /// Starts init (`exec_id` empty) or an exec; returns the pid.
    pub async fn start(&self, namespace: &Namespace, id: &ContainerId, exec_id: &str) -> Result<u32> {
        match self.call(namespace, id, Call::Start { exec_id: exec_id.to_owned() }).await? {
            Answer::Pid(pid) => Ok(pid),
            other => Err(unexpected("start", &other)),
        }
    }

    /// Deletes a stopped task; `FailedPrecondition` while it runs. Its shim and its bundle go after the answer, and its id can be used again
    /// at once: a [`create`](Tasks::create) waits until they are gone.
    pub async fn delete(&self, namespace: &Namespace, id: &ContainerId) -> Result<Exit> {
        self.find(namespace, id)?.ask(id, |reply| Request::Delete { reply }).await
    }

    /// Deletes a stopped exec.
    pub async fn delete_process(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        exec_id: &str,
    ) -> Result<Exit> {
        if exec_id.is_empty() {
            return self.delete(namespace, id).await;
        }
        match self.call(namespace, id, Call::DeleteProcess { exec_id: exec_id.to_owned() }).await? {
            Answer::Exit(exit) => Ok(exit),
            other => Err(unexpected("delete process", &other)),
        }
    }

    /// What the shim says of init or an exec. If it does not answer in time: what was last known, with status
    /// unknown.
    pub async fn get(&self, namespace: &Namespace, id: &ContainerId, exec_id: &str) -> Result<Process> {
        match self.call(namespace, id, Call::State { exec_id: exec_id.to_owned() }).await? {
            Answer::Process(process) => Ok(process),
            other => Err(unexpected("get", &other)),
        }
    }

    /// All tasks of the namespace, in id order, as last known: a hung shim delays nobody.
    pub async fn list(&self, namespace: &Namespace) -> Result<Vec<Process>> {
        let handles = self.table.of_namespace(namespace);
        let mut processes = Vec::with_capacity(handles.len());
        for (id, handle) in handles {
            match handle.ask(&id, |reply| Request::Look { reply }).await {
                Ok(process) => processes.push(process),
                // Deleted a moment ago.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(processes)
    }

    /// Ends a shim that does not answer, without asking it: its container is killed, and the task has ended as [`wait`](Tasks::wait) then
    /// tells. `FailedPrecondition` if other tasks share the shim.
    pub async fn end_shim(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        self.find(namespace, id)?.ask(id, |reply| Request::EndShim { reply }).await
    }

    /// Sends `signal`, to all processes of the container if `all`.
    pub async fn kill(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        exec_id: &str,
        signal: u32,
        all: bool,
    ) -> Result<()> {
        self.command(namespace, id, Call::Kill { exec_id: exec_id.to_owned(), signal, all }).await
    }

    /// Adds a process; it runs once started. Its id must not be the container's, since events tell init by
    /// that.
    pub async fn exec(&self, namespace: &Namespace, id: &ContainerId, exec: Exec) -> Result<()> {
        if exec.exec_id == *id {
            return Err(Error::already_exists(format!("id {id}: already exists")));
        }
        self.command(namespace, id, Call::Exec(exec)).await
    }

    /// Resizes the terminal.
    pub async fn resize(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        exec_id: &str,
        width: u32,
        height: u32,
    ) -> Result<()> {
        self.command(namespace, id, Call::Resize { exec_id: exec_id.to_owned(), width, height }).await
    }

    /// Closes stdin.
    pub async fn close_io(&self, namespace: &Namespace, id: &ContainerId, exec_id: &str) -> Result<()> {
        self.command(namespace, id, Call::CloseIo { exec_id: exec_id.to_owned() }).await
    }

    /// Freezes the container.
    pub async fn pause(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        self.command(namespace, id, Call::Pause).await
    }

    /// Thaws the container.
    pub async fn resume(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        self.command(namespace, id, Call::Resume).await
    }

    /// The pids in the container, each with what the shim tells of it.
    pub async fn pids(&self, namespace: &Namespace, id: &ContainerId) -> Result<Vec<(u32, Option<Any>)>> {
        match self.call(namespace, id, Call::Pids).await? {
            Answer::Pids(pids) => Ok(pids),
            other => Err(unexpected("pids", &other)),
        }
    }

    /// Checkpoints into the folder `path`.
    pub async fn checkpoint(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        path: &str,
        options: Option<Any>,
    ) -> Result<()> {
        self.command(namespace, id, Call::Checkpoint { path: path.to_owned(), options }).await
    }

    /// Changes resources (`LinuxResources`, JSON in an `Any`).
    pub async fn update(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        resources: Any,
        annotations: BTreeMap<String, String>,
    ) -> Result<()> {
        self.command(namespace, id, Call::Update { resources, annotations }).await
    }

    /// The shim's metrics message.
    pub async fn stats(&self, namespace: &Namespace, id: &ContainerId) -> Result<Any> {
        match self.call(namespace, id, Call::Stats).await? {
            Answer::Metrics(metrics) => Ok(metrics),
            other => Err(unexpected("stats", &other)),
        }
    }

    /// Waits for the end of init or an exec; at once when it has ended.
    pub async fn wait(&self, namespace: &Namespace, id: &ContainerId, exec_id: &str) -> Result<Exit> {
        let exec_id = exec_id.to_owned();
        self.find(namespace, id)?.ask(id, |reply| Request::Wait { exec_id, reply }).await
    }

    /// Takes an event that a shim sent: keeps the actor's knowledge up to date. The caller forwards it to the
    /// bus if this returns true; false means that this exit was reported before.
    pub fn shim_event(&self, envelope: &Envelope) -> bool {
        let Some((id, told)) = read(envelope) else { return true };
        let key: Key = (envelope.namespace.clone(), id);
        if let Told::Exited { exec_id, pid, .. } = &told
            && let Some(ledger) = self.table.ledger(&key)
            && !ledger.claim(exec_id, *pid)
        {
            return false;
        }
        if let Ok(handle) = self.table.find(&key) {
            // A full queue loses nothing: the shim's answers say the same.
            let _ = handle.requests.try_send((Request::Told(told), None));
        }
        true
    }

    fn find(&self, namespace: &Namespace, id: &ContainerId) -> Result<Handle> {
        self.table.find(&(namespace.clone(), id.clone()))
    }

    async fn call(&self, namespace: &Namespace, id: &ContainerId, call: Call) -> Result<Answer> {
        self.find(namespace, id)?.call(id, call).await
    }

    async fn command(&self, namespace: &Namespace, id: &ContainerId, call: Call) -> Result<()> {
        self.call(namespace, id, call).await.map(drop)
    }
}

/// What an event says to an actor, if it does.
fn read(envelope: &Envelope) -> Option<(ContainerId, Told)> {
    let (id, told) = if let Ok(Some(exit)) = unpack::<TaskExit>(&envelope.event) {
        let at = exit.exited_at.and_then(|at| at.try_into().ok()).unwrap_or(envelope.timestamp);
        let exec_id = if exit.id == exit.container_id { String::new() } else { exit.id };
        (exit.container_id, Told::Exited { exec_id, pid: exit.pid, status: exit.exit_status, at })
    } else if let Ok(Some(paused)) = unpack::<TaskPaused>(&envelope.event) {
        (paused.container_id, Told::Paused)
    } else if let Ok(Some(resumed)) = unpack::<TaskResumed>(&envelope.event) {
        (resumed.container_id, Told::Resumed)
    } else {
        return None;
    };
    ContainerId::parse(&id).ok().map(|id| (id, told))
}

fn unexpected(call: &str, answer: &Answer) -> Error {
    Error::internal(format!("{call} was answered {answer:?}"))
}
