//! All containers with how they fare: records, tasks and kept states joined.

use std::collections::HashMap;
use std::time::SystemTime;

use container::Container;
use errors::Result;
use ids::{ContainerId, Namespace};
use task::{Process, Status};

use crate::config::{ContainerConfig, State};
use crate::{Flows, tables};

/// docker's words for what a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Never started.
    Created,
    /// Runs.
    Running,
    /// Frozen.
    Paused,
    /// Ended.
    Exited,
    /// Its shim does not answer, and nothing else is known.
    Dead,
}

/// A container and how it fares.
#[derive(Debug, Clone)]
pub struct Line {
    /// The record.
    pub container: Container,
    /// What the engine knows of it; `None` when another client made it.
    pub config: Option<ContainerConfig>,
    /// What it does.
    pub phase: Phase,
    /// Its kept state; for a container of another client, what its task tells.
    pub state: State,
    /// Its first process while it runs.
    pub pid: u32,
    /// Its shim does not answer: the rest is what was last known.
    pub unanswered: bool,
}

impl Phase {
    /// As docker writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Exited => "exited",
            Phase::Dead => "dead",
        }
    }
}

impl Line {
    /// The name; the id for a container of another client.
    pub fn name(&self) -> &str {
        self.config.as_ref().map_or(self.container.id.as_str(), |config| config.name.as_str())
    }

    /// Does it run, frozen or not?
    pub fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Paused)
    }
}

impl Flows {
    /// All containers of the namespace, newest first.
    pub async fn list(&self, namespace: &Namespace) -> Result<Vec<Line>> {
        let mut tasks: HashMap<ContainerId, Process> = self
            .rooms()
            .tasks
            .list(namespace)
            .await?
            .into_iter()
            .map(|task| (task.id.clone(), task))
            .collect();
        let mut lines = Vec::new();
        for container in self.rooms().containers.list(namespace, &[])? {
            let task = tasks.remove(&container.id);
            lines.push(self.line(namespace, container, task)?);
        }
        lines.sort_by_key(|line| std::cmp::Reverse(line.container.created_at));
        Ok(lines)
    }

    /// One container as it fares now.
    pub async fn line_of(&self, namespace: &Namespace, id: &ContainerId) -> Result<Line> {
        let container = self.rooms().containers.get(namespace, id)?;
        let task = match self.rooms().tasks.get(namespace, id, "").await {
            Err(error) if error.is_not_found() => None,
            task => Some(task?),
        };
        self.line(namespace, container, task)
    }

    fn line(&self, namespace: &Namespace, container: Container, task: Option<Process>) -> Result<Line> {
        let config = ContainerConfig::of(&container)?;
        let kept = tables::state(&self.rooms().store, namespace, &container.id)?;
        let unanswered = task.as_ref().is_some_and(|task| task.status == Status::Unknown);
        let (phase, state, pid) = join(kept, task);
        Ok(Line { container, config, phase, state, pid, unanswered })
    }
}

/// A task, while there is one, knows better than the kept state, but for an end that is noted already.
fn join(kept: Option<State>, task: Option<Process>) -> (Phase, State, u32) {
    let mut state = kept.unwrap_or_default();
    let Some(task) = task else {
        let phase = if state.started_at.is_some() { Phase::Exited } else { Phase::Created };
        return (phase, state, 0);
    };
    // A shim that hangs does not take its container down: what was last known goes on.
    let status = if task.status == Status::Unknown { task.known } else { task.status };
    let phase = match status {
        Status::Created => Phase::Created,
        Status::Running => Phase::Running,
        Status::Paused | Status::Pausing => Phase::Paused,
        Status::Stopped => Phase::Exited,
        Status::Unknown => Phase::Dead,
    };
    if let Some(exit) = task.exit.filter(|_| phase == Phase::Exited) {
        state.exit_code = exit.status;
        state.finished_at = Some(exit.at);
        state.started_at.get_or_insert(SystemTime::UNIX_EPOCH);
    }
    let pid = if matches!(phase, Phase::Running | Phase::Paused) { task.pid } else { 0 };
    (phase, state, pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(status: Status) -> Process {
        Process {
            id: ContainerId::parse("a").unwrap(),
            exec_id: String::new(),
            pid: 7,
            status,
            known: status,
            io: task::Io::default(),
            exit: None,
            bundle: "/".into(),
        }
    }

    #[test]
    fn a_task_knows_better_than_the_record() {
        let ended = State { started_at: Some(SystemTime::UNIX_EPOCH), exit_code: 3, ..State::default() };
        assert_eq!(join(Some(ended.clone()), None), (Phase::Exited, ended.clone(), 0));
        assert_eq!(join(Some(ended.clone()), Some(task(Status::Running))).0, Phase::Running);
        assert_eq!(join(None, Some(task(Status::Paused))).2, 7);
        assert_eq!(join(None, None).0, Phase::Created);
        let hung = Process { status: Status::Unknown, ..task(Status::Running) };
        assert_eq!((join(None, Some(hung.clone())).0, join(None, Some(hung)).2), (Phase::Running, 7));
        assert_eq!(join(None, Some(task(Status::Unknown))).0, Phase::Dead);
    }
}
