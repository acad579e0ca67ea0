//! The standard streams an executor is started with. For `create` and `exec` they become the container's own.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

/// Descriptors for an executor's standard streams; what is absent is /dev/null.
#[derive(Debug, Default)]
pub struct ExecutorStdio {
    /// Open for reading.
    pub stdin: Option<OwnedFd>,
    /// Open for writing.
    pub stdout: Option<OwnedFd>,
    /// Open for writing.
    pub stderr: Option<OwnedFd>,
}

impl ExecutorStdio {
    pub(crate) fn apply(self, command: &mut Command) {
        let or_null = |fd: Option<OwnedFd>| fd.map_or_else(Stdio::null, Stdio::from);
        command.stdin(or_null(self.stdin)).stdout(or_null(self.stdout)).stderr(or_null(self.stderr));
    }
}
