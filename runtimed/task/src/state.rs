//! What may happen to a process in which state, as a pure table.
//!
//! ```text
//!             create                 start
//!    (nothing) ----> Created ----------------> Running <---- resume ---- Paused
//!                       |                        |  '------- pause ------> |
//!                       | kill                   | exits                   | kill -9, once thawed
//!                       v                        v                         v
//!                    Stopped <-------------------'<------------------------'
//!                       |
//!                       | delete
//!                       v
//!                   (nothing)             Unknown: the shim has not answered yet; everything is left to it.
//! ```
//!
//! The shim has the last word, since it alone sees the process: the daemon refuses by itself only what can
//! never become legal again, which is what is asked of a stopped process. Where the shim refuses without
//! giving a kind (containerd's shim does so for most illegal transitions), the table gives it one.

use errors::{Error, Kind};

use crate::call::Call;
use crate::types::Status;

/// Why `call` is illegal while its process is in `status`, in the words of containerd's shim; `None` if it is
/// legal. `exec` says that the process is not init.
fn refusal(call: &Call, status: Status, exec: bool) -> Option<&'static str> {
    use Status::{Created, Paused, Pausing, Running, Stopped, Unknown};
    match (call, status) {
        (_, Unknown) => None,
        (Call::Start { .. }, Running) => Some("cannot start a running process"),
        (Call::Start { .. }, Paused | Pausing) => Some("cannot start a paused process"),
        (Call::Start { .. }, Stopped) => Some("cannot start a stopped process"),
        (Call::DeleteProcess { .. }, Running | Paused | Pausing) if exec => {
            Some("cannot delete a running process")
        }
        (Call::Exec(_), Paused | Pausing) => Some("cannot exec in a paused state"),
        (Call::Exec(_), Stopped) => Some("cannot exec in a stopped state"),
        (Call::Pause, Created) => Some("cannot pause task in created state"),
        (Call::Pause, Paused | Pausing) => Some("cannot pause a paused container"),
        (Call::Pause, Stopped) => Some("cannot pause a stopped container"),
        (Call::Resume, Created) => Some("cannot resume task in created state"),
        (Call::Resume, Running) => Some("cannot resume a running process"),
        (Call::Resume, Stopped) => Some("cannot resume a stopped container"),
        (Call::Checkpoint { .. }, Created) => Some("cannot checkpoint a task in created state"),
        (Call::Checkpoint { .. }, Stopped) => Some("cannot checkpoint a stopped container"),
        (Call::Update { .. }, Stopped) => Some("cannot update a stopped container"),
        _ => None,
    }
}

/// Refuses what a stopped process can never do again.
pub(crate) fn check(call: &Call, status: Status, exec: bool) -> Result<(), Error> {
    match refusal(call, status, exec) {
        Some(text) if status == Status::Stopped => {
            Err(Error::precondition(format!("{text}: failed precondition")))
        }
        _ => Ok(()),
    }
}

/// Gives a shim's refusal of an illegal call its kind; its text stays.
pub(crate) fn refine(error: Error, call: &Call, status: Status, exec: bool) -> Error {
    if error.kind() == Kind::Unknown && refusal(call, status, exec).is_some() {
        return Error::precondition(error.chain());
    }
    error
}

/// The status after `call` has succeeded.
pub(crate) fn after(call: &Call, status: Status) -> Status {
    match call {
        Call::Start { .. } | Call::Resume => Status::Running,
        Call::Pause => Status::Paused,
        _ => status,
    }
}

/// Refuses to delete a task whose init may still run. Created is legal: containerd's shim deletes it, too.
pub(crate) fn check_delete(status: Status) -> Result<(), Error> {
    let name = match status {
        Status::Running => "running",
        Status::Paused => "paused",
        Status::Pausing => "pausing",
        Status::Created | Status::Stopped | Status::Unknown => return Ok(()),
    };
    Err(Error::precondition(format!("task must be stopped before deletion: {name}: failed precondition")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Exec;

    const ALL: [Status; 6] =
        [Status::Unknown, Status::Created, Status::Running, Status::Stopped, Status::Paused, Status::Pausing];

    fn init(call: Call) -> Vec<Status> {
        ALL.into_iter().filter(|status| refusal(&call, *status, false).is_none()).collect()
    }

    fn start() -> Call {
        Call::Start { exec_id: String::new() }
    }

    fn exec() -> Call {
        Call::Exec(Exec {
            exec_id: ids::ContainerId::parse("e").unwrap(),
            spec: prost_types::Any::default(),
            io: Default::default(),
        })
    }

    #[test]
    fn each_call_is_legal_where_containerds_shim_allows_it() {
        use Status::{Created, Paused, Pausing, Running, Unknown};
        let checkpoint = Call::Checkpoint { path: "/p".into(), options: None };
        let update = Call::Update { resources: prost_types::Any::default(), annotations: Default::default() };
        assert_eq!(init(start()), [Unknown, Created]);
        assert_eq!(init(exec()), [Unknown, Created, Running]);
        assert_eq!(init(Call::Pause), [Unknown, Running]);
        assert_eq!(init(Call::Resume), [Unknown, Paused, Pausing]);
        assert_eq!(init(checkpoint), [Unknown, Running, Paused, Pausing]);
        assert_eq!(init(update), [Unknown, Created, Running, Paused, Pausing]);
    }

    #[test]
    fn signals_and_questions_are_always_passed_on() {
        let kill = Call::Kill { exec_id: String::new(), signal: 9, all: true };
        for call in [kill, Call::State { exec_id: String::new() }, Call::Pids, Call::Stats] {
            assert_eq!(init(call), ALL);
        }
    }

    #[test]
    fn only_the_end_is_refused_without_asking() {
        assert!(check(&start(), Status::Running, false).is_ok());
        let error = check(&start(), Status::Stopped, false).unwrap_err();
        assert_eq!(error.kind(), Kind::FailedPrecondition);
        assert_eq!(error.message(), "cannot start a stopped process: failed precondition");
    }

    #[test]
    fn a_refusal_without_a_kind_gets_one() {
        let refused = || Error::new(Kind::Unknown, "cannot resume a running process");
        let error = refine(refused(), &Call::Resume, Status::Running, false);
        assert_eq!(
            (error.kind(), error.message()),
            (Kind::FailedPrecondition, "cannot resume a running process")
        );
        assert_eq!(refine(refused(), &Call::Resume, Status::Paused, false).kind(), Kind::Unknown);
    }

    #[test]
    fn a_task_is_deleted_only_when_nothing_runs() {
        for status in ALL {
            let legal = !matches!(status, Status::Running | Status::Paused | Status::Pausing);
            assert_eq!(check_delete(status).is_ok(), legal, "{status:?}");
        }
    }

    #[test]
    fn a_success_moves_the_state() {
        assert_eq!(after(&start(), Status::Created), Status::Running);
        assert_eq!(after(&Call::Pause, Status::Running), Status::Paused);
        assert_eq!(after(&Call::Resume, Status::Paused), Status::Running);
        assert_eq!(after(&Call::Stats, Status::Paused), Status::Paused);
    }
}
