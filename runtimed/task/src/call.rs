//! The closed list of what a task's shim can be asked once the task is created.

use std::collections::BTreeMap;

use prost_types::Any;

use crate::process::Seen;
use crate::types::{Exec, Exit, Process};

/// One call; `exec_id` is empty for init. When each is legal is said in [`crate::state`].
#[derive(Debug, Clone)]
pub(crate) enum Call {
    /// Run init's or an exec's program.
    Start { exec_id: String },
    /// Forget an exec that has ended.
    DeleteProcess { exec_id: String },
    /// Tell all that is known of a process.
    State { exec_id: String },
    /// Send a signal.
    Kill { exec_id: String, signal: u32, all: bool },
    /// Add a process.
    Exec(Exec),
    /// Set the size of the terminal, in characters.
    Resize { exec_id: String, width: u32, height: u32 },
    /// Close the write end of stdin.
    CloseIo { exec_id: String },
    /// Freeze.
    Pause,
    /// Thaw.
    Resume,
    /// List the pids of the container.
    Pids,
    /// Write a checkpoint into a folder.
    Checkpoint { path: String, options: Option<Any> },
    /// Change resources.
    Update { resources: Any, annotations: BTreeMap<String, String> },
    /// Read the metrics.
    Stats,
}

/// What a call was answered.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing but success.
    Done,
    /// `Start`.
    Pid(u32),
    /// `DeleteProcess`.
    Exit(Exit),
    /// `State`, from the shim.
    Seen(Seen),
    /// `State`, from the actor.
    Process(Process),
    /// `Pids`.
    Pids(Vec<(u32, Option<Any>)>),
    /// `Stats`.
    Metrics(Any),
}

impl Call {
    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Call::Start { .. } => "start",
            Call::DeleteProcess { .. } => "delete process",
            Call::State { .. } => "state",
            Call::Kill { .. } => "kill",
            Call::Exec(_) => "exec",
            Call::Resize { .. } => "resize",
            Call::CloseIo { .. } => "close io",
            Call::Pause => "pause",
            Call::Resume => "resume",
            Call::Pids => "pids",
            Call::Checkpoint { .. } => "checkpoint",
            Call::Update { .. } => "update",
            Call::Stats => "stats",
        }
    }

    /// The process that the call is about; empty for init and for the container as a whole.
    pub(crate) fn exec_id(&self) -> &str {
        match self {
            Call::Start { exec_id }
            | Call::DeleteProcess { exec_id }
            | Call::State { exec_id }
            | Call::Kill { exec_id, .. }
            | Call::Resize { exec_id, .. }
            | Call::CloseIo { exec_id } => exec_id,
            Call::Exec(_)
            | Call::Pause
            | Call::Resume
            | Call::Pids
            | Call::Checkpoint { .. }
            | Call::Update { .. }
            | Call::Stats => "",
        }
    }
}
