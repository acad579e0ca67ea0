//! One error type for the daemon's rooms.
//!
//! An [`Error`] says which call failed and with which arguments, carries a [`Kind`] that programs
//! decide by, and keeps its cause in `source()`. It is logged once, where it is handled.

use std::error::Error as StdError;
use std::fmt;

/// The result of a room's call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it was. The variants are gRPC's status codes, since every seam of the
/// daemon speaks them (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The caller went away.
    Cancelled,
    /// Nothing better is known.
    Unknown,
    /// The request is wrong whatever the state of the system.
    InvalidArgument,
    /// It took longer than the caller, or the configuration, allows.
    DeadlineExceeded,
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists.
    AlreadyExists,
    /// The caller may not do this.
    PermissionDenied,
    /// Some limit was reached: disk, memory, a quota.
    ResourceExhausted,
    /// The system is not in the state that the request needs.
    FailedPrecondition,
    /// A concurrent change got in the way.
    Aborted,
    /// Beyond the end of something.
    OutOfRange,
    /// Not served here.
    Unimplemented,
    /// A broken invariant, or a system call that should not have failed.
    Internal,
    /// Busy or gone for the moment; the same call may work later.
    Unavailable,
    /// What was stored is damaged.
    DataLoss,
    /// Credentials are missing or wrong.
    Unauthenticated,
}

/// A failed call: its kind, a message that names the call and its arguments, and its cause.
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync + 'static>>,
}

/// Adds the failed call to an error on its way up.
pub trait Context<T> {
    /// Wraps the error; its kind stays. `message` says the call with its arguments.
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

/// Turns errors that have no kind of their own into [`Error`]s.
pub trait WithKind<T> {
    /// Wraps the error under `kind`.
    fn kind<M: Into<String>>(self, kind: Kind, message: impl FnOnce() -> M) -> Result<T>;
}

impl Kind {
    /// The gRPC status code of this kind.
    pub fn grpc_code(self) -> i32 {
        match self {
            Kind::Cancelled => 1,
            Kind::Unknown => 2,
            Kind::InvalidArgument => 3,
            Kind::DeadlineExceeded => 4,
            Kind::NotFound => 5,
            Kind::AlreadyExists => 6,
            Kind::PermissionDenied => 7,
            Kind::ResourceExhausted => 8,
            Kind::FailedPrecondition => 9,
            Kind::Aborted => 10,
            Kind::OutOfRange => 11,
            Kind::Unimplemented => 12,
            Kind::Internal => 13,
            Kind::Unavailable => 14,
            Kind::DataLoss => 15,
            Kind::Unauthenticated => 16,
        }
    }

    /// The kind of a gRPC status code; unknown numbers are [`Kind::Unknown`].
    pub fn from_grpc_code(code: i32) -> Kind {
        match code {
            1 => Kind::Cancelled,
            3 => Kind::InvalidArgument,
            4 => Kind::DeadlineExceeded,
            5 => Kind::NotFound,
            6 => Kind::AlreadyExists,
            7 => Kind::PermissionDenied,
            8 => Kind::ResourceExhausted,
            9 => Kind::FailedPrecondition,
            10 => Kind::Aborted,
            11 => Kind::OutOfRange,
            12 => Kind::Unimplemented,
            13 => Kind::Internal,
            14 => Kind::Unavailable,
            15 => Kind::DataLoss,
            16 => Kind::Unauthenticated,
            _ => Kind::Unknown,
        }
    }

    /// The kind that an I/O error stands for.
    pub fn of_io(error: &std::io::Error) -> Kind {
        use std::io::ErrorKind as Io;
        match error.kind() {
            Io::NotFound => Kind::NotFound,
            Io::AlreadyExists => Kind::AlreadyExists,
            Io::PermissionDenied => Kind::PermissionDenied,
            Io::StorageFull | Io::QuotaExceeded | Io::OutOfMemory | Io::FileTooLarge => {
                Kind::ResourceExhausted
            }
            Io::InvalidInput => Kind::InvalidArgument,
            Io::TimedOut => Kind::DeadlineExceeded,
            Io::ConnectionRefused | Io::ConnectionReset | Io::NotConnected | Io::BrokenPipe => {
                Kind::Unavailable
            }
            _ => Kind::Internal,
        }
    }
}

impl Error {
    /// An error without a cause.
    pub fn new(kind: Kind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), source: None }
    }

    /// An error with its cause.
    pub fn with_source(
        kind: Kind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync + 'static>>,
    ) -> Error {
        Error { kind, message: message.into(), source: Some(source.into()) }
    }

    /// What sort of failure it was.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The message alone, without the causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The message and all causes, outermost first, joined by ": ": what a client is told.
    pub fn chain(&self) -> String {
        let mut text = self.message.clone();
        let mut next = self.source();
        while let Some(cause) = next {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            next = cause.source();
        }
        text
    }

    /// Is this [`Kind::NotFound`]?
    pub fn is_not_found(&self) -> bool {
        self.kind == Kind::NotFound
    }

    /// Is this [`Kind::AlreadyExists`]?
    pub fn is_already_exists(&self) -> bool {
        self.kind == Kind::AlreadyExists
    }

    /// [`Kind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, message)
    }

    /// [`Kind::AlreadyExists`].
    pub fn already_exists(message: impl Into<String>) -> Error {
        Error::new(Kind::AlreadyExists, message)
    }

    /// [`Kind::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Kind::InvalidArgument, message)
    }

    /// [`Kind::FailedPrecondition`].
    pub fn precondition(message: impl Into<String>) -> Error {
        Error::new(Kind::FailedPrecondition, message)
    }

    /// [`Kind::Unimplemented`].
    pub fn unimplemented(message: impl Into<String>) -> Error {
        Error::new(Kind::Unimplemented, message)
    }

    /// [`Kind::Internal`].
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(Kind::Internal, message)
    }

    /// [`Kind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Error {
        Error::new(Kind::Unavailable, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

impl<T> Context<T> for Result<T> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::with_source(error.kind, message(), error))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::with_source(Kind::of_io(&error), message(), error))
    }
}

impl<T, E: Into<Box<dyn StdError + Send + Sync + 'static>>> WithKind<T> for std::result::Result<T, E> {
    fn kind<M: Into<String>>(self, kind: Kind, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error::with_source(kind, message(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_names_every_cause_once() {
        let io = Err::<(), _>(std::io::Error::from(std::io::ErrorKind::NotFound));
        let error = io.context(|| "open /a/b").context(|| "read blob sha256:00").unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert_eq!(error.chain(), "read blob sha256:00: open /a/b: entity not found");
        assert_eq!(error.to_string(), "read blob sha256:00");
    }

    #[test]
    fn grpc_codes_round_trip() {
        for code in 1..=16 {
            assert_eq!(Kind::from_grpc_code(code).grpc_code(), code);
        }
    }
}
