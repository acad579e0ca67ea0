//! What goes wrong, in runc's words: other programs match these texts.

use std::fmt;
use std::io;

/// Result of most functions here.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure. Its text is one line, the root cause last.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No state directory, or nothing in it.
    #[error("container does not exist")]
    NotExist,
    /// `create` with an id that is taken.
    #[error("container with given ID already exists")]
    AlreadyExists,
    /// An id that cannot be a directory's name.
    #[error("invalid container ID format")]
    InvalidId,
    /// `kill` and others on a container without processes.
    #[error("container not running")]
    NotRunning,
    /// `resume` of one that is not.
    #[error("container not paused")]
    NotPaused,
    /// A command line that cannot be read: the help is shown with it.
    #[error("{0}")]
    Usage(String),
    /// Anything else.
    #[error("{0}")]
    Message(String),
    /// A failure with what was being done in front.
    #[error("{what}: {source}")]
    Context {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: Box<Error>,
    },
}

impl Error {
    /// A failure with a text of its own.
    pub fn new(text: impl Into<String>) -> Self {
        Error::Message(text.into())
    }

    /// A command line that cannot be read.
    pub fn usage(text: impl Into<String>) -> Self {
        Error::Usage(text.into())
    }

    /// Whether the container has no processes (any more), whatever was being done.
    pub fn is_not_running(&self) -> bool {
        match self {
            Error::NotRunning => true,
            Error::Context { source, .. } => source.is_not_running(),
            _ => false,
        }
    }

    /// A system call's failure: the call with its arguments, then the kernel's answer.
    pub fn call(call: impl fmt::Display, cause: impl Into<io::Error>) -> Self {
        Error::Message(format!("{call}: {}", io_text(&cause.into())))
    }
}

impl From<io::Error> for Error {
    fn from(e: io::Error) -> Self {
        Error::Message(io_text(&e))
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(e: rustix::io::Errno) -> Self {
        Error::Message(errno_text(e.raw_os_error()))
    }
}

impl From<nix::errno::Errno> for Error {
    fn from(e: nix::errno::Errno) -> Self {
        Error::Message(errno_text(e as i32))
    }
}

impl From<marks::Fault> for Error {
    fn from(fault: marks::Fault) -> Self {
        Error::Message(fault.to_string())
    }
}

impl From<crate::cgroup::Error> for Error {
    fn from(e: crate::cgroup::Error) -> Self {
        Error::Message(e.to_string())
    }
}

/// Puts what was being done in front of a failure.
pub trait Context<T> {
    /// `what: cause`.
    fn context(self, what: impl fmt::Display) -> Result<T>;
    /// The same, with the text made only when needed.
    fn with_context<S: fmt::Display>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl fmt::Display) -> Result<T> {
        self.with_context(|| what)
    }

    fn with_context<S: fmt::Display>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::Context { what: what().to_string(), source: Box::new(e.into()) })
    }
}

/// The text of an I/O failure as Go prints it: the kernel's words in lower case, without a number.
pub fn io_text(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(number) => errno_text(number),
        None => e.to_string(),
    }
}

/// The text of an error number as Go prints it: the C library's, which begins with a small letter unless that is an
/// abbreviation's.
pub fn errno_text(number: i32) -> String {
    let text = io::Error::from_raw_os_error(number).to_string();
    let text = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text);
    if text.starts_with("Unknown error") {
        return format!("errno {number}");
    }
    match text.as_bytes() {
        [first, second, ..] if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            format!("{}{}", char::from(first.to_ascii_lowercase()), text.get(1..).unwrap_or_default())
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_callers_match() {
        assert_eq!(errno_text(2), "no such file or directory");
        assert_eq!(errno_text(13), "permission denied");
        assert_eq!(errno_text(20), "not a directory");
        assert_eq!(errno_text(1), "operation not permitted");
        assert_eq!(errno_text(8), "exec format error");
        assert_eq!(errno_text(12), "cannot allocate memory");
        assert_eq!(errno_text(16), "device or resource busy");
        assert_eq!(errno_text(30), "read-only file system");
        assert_eq!(errno_text(34), "numerical result out of range");
        assert_eq!(errno_text(40), "too many levels of symbolic links");
        assert_eq!(errno_text(7), "argument list too long");
        assert_eq!(errno_text(4000), "errno 4000");
        assert_eq!(errno_text(3), "no such process");
        assert_eq!(errno_text(16), "device or resource busy");
        assert_eq!(errno_text(21), "is a directory");
    }

    #[test]
    fn context_goes_in_front() {
        let failed: Result<()> = Err(io::Error::from_raw_os_error(2)).context("open /x");
        assert_eq!(failed.unwrap_err().to_string(), "open /x: no such file or directory");
        let failed: Result<()> = Err(Error::NotExist).context("a");
        assert_eq!(failed.unwrap_err().to_string(), "a: container does not exist");
    }
}
