//! What went wrong with an executor.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitStatus;

/// The result of a verb.
pub type Result<T> = std::result::Result<T, Error>;

/// What sort of failure it was, told from the texts every runc-compatible executor uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The container does not exist.
    NotFound,
    /// A container of this id exists.
    AlreadyExists,
    /// The process, or the container's init, has ended.
    Finished,
    /// The container is not in a state that allows the verb.
    WrongState,
    /// The executor's program could not be started.
    Spawn,
    /// Something around the executor failed: a file, a pipe, its answer.
    Io,
    /// The executor did not end in time, and was killed.
    TimedOut,
    /// The executor failed for another reason.
    Failed,
}

/// A failed verb.
pub struct Error {
    kind: Kind,
    command: String,
    message: String,
    source: Option<io::Error>,
}

impl Error {
    /// What sort of failure it was.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The command line that failed.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// What the executor said: its last error, or how it ended.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The program is named in quotes and its absence told in the words of shims in Go, which callers know.
    pub(crate) fn spawn(program: &Path, command: String, source: io::Error) -> Error {
        let bare = program.components().count() == 1;
        let reason = match source.kind() {
            io::ErrorKind::NotFound if bare => "executable file not found in $PATH",
            io::ErrorKind::NotFound => "no such file or directory",
            _ => "cannot start the executor",
        };
        let message = format!("exec: \"{}\": {reason}", program.display());
        Error { kind: Kind::Spawn, command, message, source: Some(source) }
    }

    pub(crate) fn io(command: String, message: impl Into<String>, source: io::Error) -> Error {
        Error { kind: Kind::Io, command, message: message.into(), source: Some(source) }
    }

    /// It took longer than `limit`.
    pub(crate) fn timed_out(command: String, limit: std::time::Duration) -> Error {
        let message = format!("the executor did not end within {limit:?} and was killed");
        Error { kind: Kind::TimedOut, command, message, source: None }
    }

    /// `said` is the executor's own text, which may be empty.
    pub(crate) fn failed(command: String, said: &str, status: ExitStatus) -> Error {
        let said = said.trim();
        let message = if said.is_empty() {
            format!("did not terminate successfully: {status}")
        } else {
            said.to_owned()
        };
        Error { kind: Kind::of_text(said), command, message, source: None }
    }
}

impl Kind {
    /// runc, crun and youki word these alike enough to be told apart.
    fn of_text(said: &str) -> Kind {
        let said = said.to_ascii_lowercase();
        let has = |text: &str| said.contains(text);
        if has("already finished") || has("no such process") || has("container not running") {
            Kind::Finished
        } else if has("container") && (has("already exists") || has("with given id") || has("id exists")) {
            Kind::AlreadyExists
        } else if has("container does not exist")
            || (has("container") && has("does not exist"))
            || has("error opening file") && has("state.json")
        {
            Kind::NotFound
        } else if has("cannot start an already running")
            || has("cannot start a container that has stopped")
            || has("container not paused")
            || has("container not running or created")
            || has("cannot exec in a stopped container")
            || has("cannot exec a container that has stopped")
            || has("is not stopped")
        {
            Kind::WrongState
        } else {
            Kind::Failed
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.command, self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_runc_and_crun_are_told_apart() {
        for (text, kind) in [
            ("container does not exist", Kind::NotFound),
            ("container \"c1\" does not exist", Kind::NotFound),
            ("error opening file `/run/crun/c1/status`: container `c1` does not exist", Kind::NotFound),
            ("container with given ID already exists", Kind::AlreadyExists),
            ("container with id exists: c1", Kind::AlreadyExists),
            ("container `c1` already exists", Kind::AlreadyExists),
            ("os: process already finished", Kind::Finished),
            ("container not running", Kind::Finished),
            ("kill container: No such process", Kind::Finished),
            ("cannot start an already running container", Kind::WrongState),
            ("container not paused", Kind::WrongState),
            (
                "unable to start container process: exec: \"x\": executable file not found in $PATH",
                Kind::Failed,
            ),
            ("open /dev/null: file does not exist", Kind::Failed),
        ] {
            assert_eq!(Kind::of_text(text), kind, "{text}");
        }
    }
}
