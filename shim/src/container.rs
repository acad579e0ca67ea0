//! One container: its bundle, its executor, its processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use errors::{Error, Result};
use runc_client::{Ready, Runc};
use tokio::task::JoinHandle;

use crate::bundle::Bundle;
use crate::cgroup::Cgroup;
use crate::options::Options;
use crate::process::Process;
use crate::sync::lock;

/// A container that has been created.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) bundle: Bundle,
    pub(crate) options: Options,
    pub(crate) runc: Runc,
    pub(crate) init: Arc<Process>,
    /// Known from its init, once that is there to ask.
    cgroup: OnceLock<Cgroup>,
    /// What its start restores, where it was made from a checkpoint.
    checkpoint: Option<PathBuf>,
    /// The kernel ends all its processes with its init.
    pub(crate) has_own_pid_namespace: bool,
    /// Programs are run when it is deleted, which may look at its root.
    pub(crate) has_poststop_hooks: bool,
    /// What a start takes beyond opening the gate is nothing.
    pub(crate) starts_at_gate: bool,
    /// An executor that waits to delete it, once it has ended.
    pub(crate) undertaker: Mutex<Option<Ready>>,
    /// Whoever had it made deletes it when it has ended, whatever comes.
    pub(crate) goes_with_its_end: bool,
    /// Its deletion, where that was begun before it was asked for.
    pub(crate) deletion: Mutex<Option<JoinHandle<Result<Result<()>>>>>,
    /// Init was reaped: nothing may be started any more.
    init_ended: AtomicBool,
    execs: Mutex<BTreeMap<String, Arc<Process>>>,
}

/// What a container is made of.
pub(crate) struct Parts {
    pub(crate) id: String,
    pub(crate) namespace: String,
    pub(crate) bundle: Bundle,
    pub(crate) options: Options,
    pub(crate) runc: Runc,
    pub(crate) init: Arc<Process>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) checkpoint: Option<PathBuf>,
    pub(crate) has_own_pid_namespace: bool,
    pub(crate) has_poststop_hooks: bool,
    pub(crate) starts_at_gate: bool,
    pub(crate) goes_with_its_end: bool,
}

impl Container {
    pub(crate) fn new(parts: Parts) -> Container {
        Container {
            id: parts.id,
            namespace: parts.namespace,
            bundle: parts.bundle,
            options: parts.options,
            runc: parts.runc,
            init: parts.init,
            cgroup: parts.cgroup.map(OnceLock::from).unwrap_or_default(),
            checkpoint: parts.checkpoint,
            has_own_pid_namespace: parts.has_own_pid_namespace,
            has_poststop_hooks: parts.has_poststop_hooks,
            starts_at_gate: parts.starts_at_gate,
            undertaker: Mutex::default(),
            goes_with_its_end: parts.goes_with_its_end,
            deletion: Mutex::default(),
            init_ended: AtomicBool::new(false),
            execs: Mutex::default(),
        }
    }

    /// Its cgroup, if that is known.
    pub(crate) fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.get()
    }

    pub(crate) fn set_cgroup(&self, cgroup: Cgroup) {
        // A container has one init, which is asked once.
        let _ = self.cgroup.set(cgroup);
    }

    /// The images that its start has to restore; none once it has processes.
    pub(crate) fn to_be_restored(&self) -> Option<&Path> {
        self.checkpoint.as_deref().filter(|_| self.init.pid() == 0)
    }

    /// The process of an exec id; init for an empty one.
    ///
    /// # Errors
    /// NotFound.
    pub(crate) fn process(&self, exec_id: &str) -> Result<Arc<Process>> {
        if exec_id.is_empty() {
            return Ok(self.init.clone());
        }
        let found = lock(&self.execs).get(exec_id).cloned();
        found.ok_or_else(|| Error::not_found(format!("process does not exist {exec_id}: not found")))
    }

    /// Adds a process.
    ///
    /// # Errors
    /// AlreadyExists.
    pub(crate) fn add(&self, process: Arc<Process>) -> Result<()> {
        let mut execs = lock(&self.execs);
        if execs.contains_key(&process.exec_id) {
            return Err(Error::already_exists(format!("id {}: already exists", process.exec_id)));
        }
        execs.insert(process.exec_id.clone(), process);
        Ok(())
    }

    pub(crate) fn remove(&self, exec_id: &str) {
        lock(&self.execs).remove(exec_id);
    }

    /// All processes but init.
    pub(crate) fn execs(&self) -> Vec<Arc<Process>> {
        lock(&self.execs).values().cloned().collect()
    }

    pub(crate) fn init_has_ended(&self) -> bool {
        self.init_ended.load(Ordering::Relaxed)
    }

    pub(crate) fn set_init_ended(&self) {
        self.init_ended.store(true, Ordering::Relaxed);
    }
}
