//! What can go wrong with a cgroup. Messages carry the file and the value, as the last line is all that a caller shows.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::error::io_text;

/// Result of a cgroup operation.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed cgroup operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// systemd is not there, or does not do what it is asked for.
    #[error("{0}")]
    Systemd(String),
    /// A limit needs a controller that the host has not mounted or not enabled.
    #[error("cannot set {controller} limit: container could not join or create cgroup ({what})")]
    NoController {
        /// The controller, e.g. `memory`.
        controller: String,
        /// The limit that was asked for, by its config.json name.
        what: String,
    },
    /// A value of config.json (or of `update`) that the kernel cannot take.
    #[error("invalid {field}: {reason}")]
    Invalid {
        /// Name of the field in config.json.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The cgroup (or its hierarchy) is not there.
    #[error("cgroup not exist: {0}")]
    NotExist(String),
    /// A call on a cgroup file failed.
    #[error("{call} {}: {}", path.display(), io_text(source))]
    Io {
        /// The call, with what was written if any.
        call: String,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A cgroup file says something that this program does not understand.
    #[error("cannot parse {}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Several things failed, each of which was tried.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
    /// An operation did not come to its end in time.
    #[error("{0}")]
    Timeout(String),
}

impl Error {
    /// An I/O failure of `call` on `path`.
    pub fn io(call: impl Into<String>, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Error::Io { call: call.into(), path: path.into(), source: source.into() }
    }

    /// A value that cannot be used.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Invalid { field: field.into(), reason: reason.into() }
    }

    /// All failures of a job that goes on past one.
    pub fn all(results: impl IntoIterator<Item = Result<()>>) -> Result<()> {
        let mut errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Error::Several(errors)),
        }
    }

    /// The kernel's error number, if it is a failed call.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Io { source, .. } => source.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }

    /// Whether it is a lack of permission, in the loose sense: an unprivileged user on a read-only mount, too.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno(), Some(Errno::EPERM | Errno::EACCES | Errno::EROFS))
    }

    /// Whether the kernel answered that the file is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
            || matches!(self, Error::NotExist(_))
    }
}
