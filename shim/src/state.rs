//! Which verb is allowed in which state. Pure; the sentences are those of containerd's shim, which callers match.
//!
//! ```text
//!            start              pause
//! Created ---------> Running <--------> Paused       exec processes are never paused themselves
//!    |                  |       resume     |
//!    |                  v                  |
//!    +-------------> Stopped <-------------+---> (deleted: forgotten)
//! ```

use errors::{Error, Result};

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Pausing,
    Paused,
    Stopped,
}

/// What is asked of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Start,
    Pause,
    Resume,
    Update,
    Exec,
    Kill,
    Delete,
    Resize,
    Checkpoint,
}

/// May init be asked for this now?
///
/// # Errors
/// FailedPrecondition; NotFound for a kill that comes too late.
pub(crate) fn init_allows(status: Status, verb: Verb) -> Result<()> {
    use Status::*;
    let refusal = match (verb, status) {
        (Verb::Start, Created)
        | (Verb::Pause, Running)
        | (Verb::Resume, Paused)
        | (Verb::Update, Created | Running | Pausing | Paused)
        | (Verb::Exec, Created | Running)
        | (Verb::Kill, Created | Running | Pausing | Paused)
        | (Verb::Delete, Created | Stopped)
        | (Verb::Checkpoint, Running | Paused)
        | (Verb::Resize, _) => return Ok(()),
        (Verb::Kill, Stopped) => return Err(finished()),
        (Verb::Start, other) => format!("cannot start a {} process", name(other)),
        (Verb::Delete, other) => format!("cannot delete a {} process", name(other)),
        (Verb::Pause, Created) => "cannot pause task in created state".into(),
        (Verb::Pause, other) => format!("cannot pause a {} container", name(other)),
        (Verb::Resume, Created) => "cannot resume task in created state".into(),
        (Verb::Resume, Running) => "cannot resume a running process".into(),
        (Verb::Resume, other) => format!("cannot resume a {} container", name(other)),
        (Verb::Update, Stopped) => "cannot update a stopped container".into(),
        (Verb::Checkpoint, Stopped) => "cannot checkpoint a stopped container".into(),
        (Verb::Checkpoint, other) => format!("cannot checkpoint a task in {} state", name(other)),
        (Verb::Exec, other) => format!("cannot exec in a {} state", name(other)),
    };
    Err(Error::precondition(refusal))
}

/// May an exec process be asked for this now? Only Start, Kill, Delete and Resize ever are.
///
/// # Errors
/// As [`init_allows`].
pub(crate) fn exec_allows(status: Status, verb: Verb) -> Result<()> {
    let refusal: &str = match (verb, status) {
        (Verb::Kill, Status::Created) => "process not created",
        (Verb::Resize, Status::Stopped) => "cannot resize a stopped container",
        _ => return init_allows(status, verb),
    };
    Err(Error::precondition(refusal))
}

/// What a kill that comes too late is told.
pub(crate) fn finished() -> Error {
    Error::not_found("process already finished: not found")
}

fn name(status: Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running => "running",
        Status::Pausing => "pausing",
        Status::Paused => "paused",
        Status::Stopped => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use errors::Kind;

    use super::*;

    const ALL: [Status; 5] =
        [Status::Created, Status::Running, Status::Pausing, Status::Paused, Status::Stopped];

    #[test]
    fn each_verb_has_its_states() {
        use Status::*;
        let table: [(Verb, &[Status]); 9] = [
            (Verb::Start, &[Created]),
            (Verb::Pause, &[Running]),
            (Verb::Resume, &[Paused]),
            (Verb::Update, &[Created, Running, Pausing, Paused]),
            (Verb::Exec, &[Created, Running]),
            (Verb::Kill, &[Created, Running, Pausing, Paused]),
            (Verb::Delete, &[Created, Stopped]),
            (Verb::Resize, &ALL),
            (Verb::Checkpoint, &[Running, Paused]),
        ];
        for (verb, allowed) in table {
            for status in ALL {
                assert_eq!(
                    init_allows(status, verb).is_ok(),
                    allowed.contains(&status),
                    "{verb:?} {status:?}"
                );
            }
        }
    }

    #[test]
    fn refusals_say_what_callers_match() {
        let said = |result: Result<()>| {
            result.map_err(|error| (error.kind(), error.message().to_owned())).unwrap_err()
        };
        assert_eq!(
            said(init_allows(Status::Running, Verb::Delete)),
            (Kind::FailedPrecondition, "cannot delete a running process".into())
        );
        assert_eq!(
            said(init_allows(Status::Stopped, Verb::Kill)),
            (Kind::NotFound, "process already finished: not found".into())
        );
        assert_eq!(
            said(init_allows(Status::Running, Verb::Start)),
            (Kind::FailedPrecondition, "cannot start a running process".into())
        );
        assert_eq!(
            said(exec_allows(Status::Created, Verb::Kill)),
            (Kind::FailedPrecondition, "process not created".into())
        );
        assert_eq!(
            said(init_allows(Status::Paused, Verb::Exec)),
            (Kind::FailedPrecondition, "cannot exec in a paused state".into())
        );
    }
}
