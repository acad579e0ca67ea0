//! The two verbs that start a process in a container: `create` and `exec`.

use std::ffi::OsString;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::ready::Ready;
use crate::runc::Runc;
use crate::stdio::ExecutorStdio;

/// Options of `create`.
#[derive(Default)]
pub struct CreateOptions {
    /// Where the pid of the init process is written.
    pub pid_file: Option<PathBuf>,
    /// Where the master of the terminal is sent; required if the spec asks for a terminal.
    pub console_socket: Option<PathBuf>,
    /// Use MS_MOVE and chroot in place of pivot_root(2).
    pub no_pivot: bool,
    /// Leave the session keyring of the caller.
    pub no_new_keyring: bool,
    /// The container's standard streams, if it has no terminal.
    pub stdio: ExecutorStdio,
    /// The reading end of a pipe that is not closed on exec, on which a byte will say that the root is mounted. Only this project's own
    /// executor knows of it; others refuse it.
    pub await_root: Option<OwnedFd>,
    /// A process of the executor that waits for this.
    pub ready: Option<Ready>,
}

/// Options of `exec`.
#[derive(Debug, Default)]
pub struct ExecOptions {
    /// Where the pid of the new process is written.
    pub pid_file: Option<PathBuf>,
    /// Where the master of the terminal is sent; required if the process asks for a terminal.
    pub console_socket: Option<PathBuf>,
    /// The process's standard streams, if it has no terminal.
    pub stdio: ExecutorStdio,
}

impl Runc {
    /// Sets the container up and leaves its init waiting for [`start`](Runc::start).
    ///
    /// # Errors
    /// Whatever the executor says; nothing of the container is left behind then.
    pub async fn create(&self, id: &str, bundle: &Path, options: CreateOptions) -> Result<()> {
        self.set_up("create", id, bundle, options).await
    }

    /// Sets the container up and starts it, with one call of the executor; returns once it runs.
    ///
    /// # Errors
    /// Whatever the executor says; nothing of the container is left behind then.
    pub async fn run_detached(&self, id: &str, bundle: &Path, options: CreateOptions) -> Result<()> {
        self.set_up("run", id, bundle, options).await
    }

    async fn set_up(&self, verb: &str, id: &str, bundle: &Path, options: CreateOptions) -> Result<()> {
        let mut args: Vec<OsString> = vec![verb.into(), "--bundle".into(), bundle.into()];
        if verb == "run" {
            args.push("--detach".into());
        }
        push_path(&mut args, "--pid-file", options.pid_file.as_deref());
        push_path(&mut args, "--console-socket", options.console_socket.as_deref());
        if options.no_pivot {
            args.push("--no-pivot".into());
        }
        if options.no_new_keyring {
            args.push("--no-new-keyring".into());
        }
        if let Some(pipe) = &options.await_root {
            args.extend(["--await-root".into(), pipe.as_raw_fd().to_string().into()]);
        }
        args.push(id.into());
        self.run_with_stdio(args, options.stdio, options.await_root, options.ready).await
    }

    /// Starts another process in a running container and returns once it runs, detached. `process` is an OCI
    /// process as JSON; it passes through a private file in `scratch`.
    ///
    /// # Errors
    /// Whatever the executor says, such as that the program was not found.
    pub async fn exec(&self, id: &str, process: &[u8], scratch: &Path, options: ExecOptions) -> Result<()> {
        let file = ProcessFile::write(scratch, process).map_err(|error| {
            Error::io(
                format!("exec {id}"),
                format!("cannot write the process to {}", scratch.display()),
                error,
            )
        })?;
        let mut args: Vec<OsString> = vec!["exec".into(), "--process".into(), file.0.clone().into()];
        push_path(&mut args, "--console-socket", options.console_socket.as_deref());
        args.push("--detach".into());
        push_path(&mut args, "--pid-file", options.pid_file.as_deref());
        args.push(id.into());
        self.run_with_stdio(args, options.stdio, None, None).await
    }
}

fn push_path(args: &mut Vec<OsString>, flag: &str, path: Option<&Path>) {
    if let Some(path) = path {
        args.push(flag.into());
        args.push(path.into());
    }
}

/// A file that lives as long as the executor may read it.
struct ProcessFile(PathBuf);

impl ProcessFile {
    fn write(dir: &Path, process: &[u8]) -> std::io::Result<ProcessFile> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!(".process-{}-{}.json", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = dir.join(name);
        // It may hold secrets in its environment.
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let written = ProcessFile(path);
        file.write_all(process)?;
        Ok(written)
    }
}

impl Drop for ProcessFile {
    fn drop(&mut self) {
        // Nothing depends on it any more; the bundle's removal takes what stays.
        let _ = std::fs::remove_file(&self.0);
    }
}
