//! Fifos between this program and a process that it follows, as `ctr` makes them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use client::Client;
use nix::sys::stat::Mode;
use proto_containerd::services::tasks as api;
use proto_containerd::types::task::Process;

use crate::failure::{Failure, Result};
use crate::session::{Said, Signals};
use crate::terminal;

/// Where `ctr` makes them, too.
pub const FOLDER: &str = "/run/containerd/fifo";

/// A process's streams by path; empty for those that it has not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fifos {
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
}

/// Copying of output that is under way.
pub struct Copying(Vec<JoinHandle<()>>);

impl Fifos {
    /// Makes three, or, with a terminal, two, in a folder of their own below `parent`.
    pub fn make(parent: &Path, tty: bool) -> Result<Fifos> {
        let number = uuid();
        let folder = parent.join(format!("rctl-{number}"));
        let failed =
            |error: std::io::Error| Failure::local(format!("make fifos in {}", folder.display()), error);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let fifo = |name: &str, wanted: bool| -> Result<String> {
            let path = folder.join(name);
            if !wanted {
                return Ok(String::new());
            }
            nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600))
                .map_err(|error| failed(error.into()))?;
            Ok(path.display().to_string())
        };
        Ok(Fifos {
            stdin: fifo("stdin", true)?,
            stdout: fifo("stdout", true)?,
            stderr: fifo("stderr", !tty)?,
        })
    }

    /// Those of a process that is there.
    ///
    /// # Errors
    /// When its streams lead elsewhere: then nobody can join in by fifo.
    pub fn of(process: &Process) -> Result<Fifos> {
        let fifos = Fifos {
            stdin: process.stdin.clone(),
            stdout: process.stdout.clone(),
            stderr: process.stderr.clone(),
        };
        for path in [&fifos.stdin, &fifos.stdout, &fifos.stderr] {
            if !path.is_empty() && !is_fifo(path) {
                return Err(Failure::Local(format!(
                    "cannot attach to task {}: {path} is no fifo (`rctl attach` joins containers that rctl made)",
                    process.id
                )));
            }
        }
        Ok(fifos)
    }

    /// Removes them, and the folder that was made for them.
    pub fn remove(&self) {
        let paths = [&self.stdin, &self.stdout, &self.stderr];
        for path in paths.into_iter().filter(|path| is_fifo(path)) {
            // Whoever made them may have removed them.
            let _ = std::fs::remove_file(path);
            if let Some(folder) = PathBuf::from(path).parent().filter(|folder| folder.starts_with(FOLDER)) {
                let _ = std::fs::remove_dir(folder);
            }
        }
    }

    /// Copies output here, and standard input there, on threads of their own: opening a fifo waits for the other side. `ended` is called
    /// when standard input has ended.
    pub fn copy(&self, ended: impl FnOnce() + Send + 'static) -> Copying {
        let mut outputs = Vec::new();
        if !self.stdout.is_empty() {
            let path = self.stdout.clone();
            outputs.push(std::thread::spawn(move || pump(&path, std::io::stdout())));
        }
        if !self.stderr.is_empty() {
            let path = self.stderr.clone();
            outputs.push(std::thread::spawn(move || pump(&path, std::io::stderr())));
        }
        if !self.stdin.is_empty() {
            let path = self.stdin.clone();
            std::thread::spawn(move || {
                if let Ok(mut fifo) = File::options().write(true).open(path) {
                    // A process that does not read any more ends this, too.
                    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut fifo);
                }
                ended();
            });
        }
        Copying(outputs)
    }
}

impl Copying {
    /// Waits until all output has come: the process is deleted by then.
    pub async fn ended(self) {
        let joined =
            tokio::task::spawn_blocking(move || self.0.into_iter().for_each(|copy| drop(copy.join())));
        let _ = joined.await;
    }
}

/// Waits for a process's end; meanwhile passes signals on to it, or, with a terminal, its size. The code is the process's.
pub async fn follow(client: &Client, id: &str, exec_id: &str, tty: bool, waiting: Waiting) -> Result<u32> {
    let mut signals = Signals::new(!tty, tty)?;
    let mut tasks = client.tasks();
    let (container_id, exec_id) = (id.to_owned(), exec_id.to_owned());
    if let (true, Some(size)) = (tty, terminal::size()) {
        resize(client, &container_id, &exec_id, size).await;
    }
    tokio::pin!(waiting);
    loop {
        let said = tokio::select! {
            ended = &mut waiting => {
                let ended = ended.map_err(|error| Failure::local("wait for the process", error))?;
                return Ok(ended?.into_inner().exit_status);
            }
            said = signals.next() => said,
        };
        match said {
            Said::Resize(size) => resize(client, &container_id, &exec_id, size).await,
            Said::Signal(name) => {
                let signal: nix::sys::signal::Signal =
                    format!("SIG{name}").parse().map_err(|error| Failure::local(name, error))?;
                let request = api::KillRequest {
                    container_id: container_id.clone(),
                    exec_id: exec_id.clone(),
                    signal: signal as u32,
                    all: false,
                };
                // It may have ended this moment.
                let _ = tasks.kill(request).await;
            }
        }
    }
}

/// A call that ends with a process.
pub type Waiting =
    tokio::task::JoinHandle<std::result::Result<tonic::Response<api::WaitResponse>, tonic::Status>>;

/// Begins to wait, before the process is started, so that its end cannot be missed.
pub fn wait(client: &Client, id: &str, exec_id: &str) -> Waiting {
    let mut tasks = client.tasks();
    let request = api::WaitRequest { container_id: id.to_owned(), exec_id: exec_id.to_owned() };
    tokio::spawn(async move { tasks.wait(request).await })
}

/// Tells the runtime that standard input has ended, once the returned function is called.
pub fn closer(client: &Client, id: &str, exec_id: &str) -> impl FnOnce() + Send + 'static {
    let mut tasks = client.tasks();
    let request =
        api::CloseIoRequest { container_id: id.to_owned(), exec_id: exec_id.to_owned(), stdin: true };
    let runtime = tokio::runtime::Handle::current();
    move || {
        // One that has ended has no stdin to close.
        runtime.spawn(async move { drop(tasks.close_io(request).await) });
    }
}

async fn resize(client: &Client, id: &str, exec_id: &str, size: proto_engine::v1::Size) {
    let (container_id, exec_id) = (id.to_owned(), exec_id.to_owned());
    let request = api::ResizePtyRequest { container_id, exec_id, width: size.width, height: size.height };
    // It may have ended this moment.
    let _ = client.tasks().resize_pty(request).await;
}

/// Copies until the last writer has gone.
fn pump(path: &str, mut out: impl Write) {
    let Ok(mut fifo) = File::open(path) else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(length @ 1..) = fifo.read(&mut buffer) {
        if out.write_all(&buffer[..length]).and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn is_fifo(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}

/// Different from those of other programs, and of this one before.
fn uuid() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", std::process::id(), since.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fifos_are_made_found_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let fifos = Fifos::make(folder.path(), false).unwrap();
        let mut process = Process {
            stdin: fifos.stdin.clone(),
            stdout: fifos.stdout.clone(),
            stderr: fifos.stderr.clone(),
            ..Default::default()
        };
        assert_eq!(Fifos::of(&process).unwrap(), fifos);
        assert!(Fifos::make(folder.path(), true).unwrap().stderr.is_empty());
        process.stdout = "log:///x".into();
        assert!(Fifos::of(&process).is_err());
        fifos.remove();
        assert!(!Path::new(&fifos.stdin).exists());
    }
}
