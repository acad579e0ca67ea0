//! The standard streams of a process: what the executor is started with, and the copying on this side of it.
//!
//! [`Prepared`] opens everything before the executor runs, so that a bad path fails early and clients can
//! attach; [`Prepared::run`] begins to copy; [`ProcessIo`] is what is left to hold.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use errors::{Context, Error, Result};
use runc_client::ExecutorStdio;
use rustix::pipe::PipeFlags;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::cri_log::{LogFile, Stream};
use crate::reaper::Reaper;

pub(crate) mod attach;
mod binary;
mod fifo;
mod file;
mod log_sink;
mod pty;
mod pump;
mod stdin;
pub(crate) mod uri;

use attach::Hub;
use pty::Console;
use uri::{Input, Output};

/// The streams as the daemon names them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stdio {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// Whose streams they are.
pub(crate) struct Owner<'a> {
    /// The container, or the exec process.
    pub(crate) id: &'a str,
    pub(crate) namespace: &'a str,
    /// Who owns the pipes, for containers whose root is somebody else.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) reaper: &'a Reaper,
}

/// Everything opened, nothing copied yet.
pub(crate) struct Prepared {
    terminal: bool,
    child: ExecutorStdio,
    input: Option<stdin::Source>,
    input_pipe: Option<pipe::Sender>,
    closer: Option<stdin::Closer>,
    outputs: Vec<(Option<pipe::Receiver>, pump::Sink)>,
    hubs: Hubs,
    logger: Option<binary::Logger>,
}

/// The streams of a process that has been started.
pub(crate) struct ProcessIo {
    console: Option<Arc<Console>>,
    closer: Option<stdin::Closer>,
    progress: watch::Receiver<pump::Progress>,
    tasks: Vec<AbortHandle>,
    hubs: Hubs,
    logger: Option<binary::Logger>,
}

/// Sockets that are removed together with the process, whichever way it goes.
#[derive(Default)]
struct Hubs(Vec<Arc<Hub>>);

/// What stdout and stderr share if they lead to the same place.
#[derive(Default)]
struct Shared {
    logs: Vec<(PathBuf, log_sink::SharedLog)>,
    fifos: Vec<(PathBuf, fifo::SharedWriter)>,
}

// === impl Stdio ===

impl Stdio {
    /// Do clients connect to a socket of the shim? They may do so before the process is started.
    ///
    /// # Errors
    /// InvalidArgument for what could never be opened.
    pub(crate) fn has_sockets(&self) -> Result<bool> {
        let (stdout, stderr, stdin) = self.parse()?;
        let is_served = |output: &Output| matches!(output, Output::Log(log) if log.attach.is_some());
        Ok(is_served(&stdout) || is_served(&stderr) || matches!(stdin, Input::Attach(_)))
    }

    /// Stdout, stderr and stdin.
    fn parse(&self) -> Result<(Output, Output, Input)> {
        let stdout = Output::parse(&self.stdout)?;
        let stderr = if self.terminal { Output::Nowhere } else { Output::parse(&self.stderr)? };
        Ok((stdout, stderr, Input::parse(&self.stdin)?))
    }
}

// === impl Prepared ===

impl Prepared {
    /// Opens all that the daemon named.
    ///
    /// # Errors
    /// Fails with the stream that cannot be opened.
    pub(crate) async fn open(stdio: &Stdio, owner: &Owner<'_>) -> Result<Prepared> {
        let (stdout, stderr, stdin) = stdio.parse()?;
        let mut prepared = Prepared {
            terminal: stdio.terminal,
            child: ExecutorStdio::default(),
            input: None,
            input_pipe: None,
            closer: None,
            outputs: Vec::new(),
            hubs: Hubs::default(),
            logger: None,
        };
        prepared.open_outputs(stdout, stderr, owner).await?;
        prepared.open_input(stdin, owner)?;
        Ok(prepared)
    }

    /// Takes in a client that is connected already.
    ///
    /// # Errors
    /// Fails if its connection cannot be polled.
    pub(crate) fn welcome(&self, client: std::os::unix::net::UnixStream) -> Result<()> {
        match self.hubs.0.first() {
            Some(hub) => hub.take_over(client).context(|| "take in the first client"),
            None => Ok(()),
        }
    }

    /// What the executor is started with; nothing if there is a terminal.
    pub(crate) fn child_stdio(&mut self) -> ExecutorStdio {
        std::mem::take(&mut self.child)
    }

    /// Begins to copy. `master` is the terminal's, if there is one.
    ///
    /// # Errors
    /// Fails if the terminal cannot be polled.
    pub(crate) fn run(mut self, master: Option<OwnedFd>) -> Result<ProcessIo> {
        let console = master.map(Console::new).transpose().context(|| "watch the terminal")?.map(Arc::new);
        let mut tasks = Vec::new();
        if let Some(source) = self.input.take() {
            let target = match (&console, self.input_pipe.take()) {
                (Some(console), _) => Some(stdin::Target::Console(console.clone())),
                (None, pipe) => pipe.map(stdin::Target::Pipe),
            };
            tasks.extend(target.map(|target| tokio::spawn(stdin::copy(source, target)).abort_handle()));
        }
        let (tell, progress) = watch::channel(pump::Progress::default());
        let mut pumps = Vec::new();
        for (pipe, sink) in std::mem::take(&mut self.outputs) {
            let source = match (pipe, &console) {
                (Some(pipe), _) => pump::Source::Pipe(pipe),
                (None, Some(console)) => pump::Source::Console(console.clone()),
                (None, None) => continue,
            };
            pumps.push(tokio::spawn(pump::copy(source, sink, tell.clone())));
        }
        tasks.extend(pumps.iter().map(tokio::task::JoinHandle::abort_handle));
        let hubs = self.hubs.0.clone();
        tokio::spawn(async move {
            for pump in pumps {
                // An aborted pump has ended, too.
                let _ = pump.await;
            }
            hubs.iter().for_each(Hub::end_output);
            tell.send_modify(|progress| progress.ended = true);
        });
        Ok(ProcessIo {
            console,
            closer: self.closer.take(),
            progress,
            tasks,
            hubs: std::mem::take(&mut self.hubs),
            logger: self.logger.take(),
        })
    }

    async fn open_outputs(&mut self, stdout: Output, stderr: Output, owner: &Owner<'_>) -> Result<()> {
        if let Output::Binary(binary) = &stdout {
            return self.open_logger(binary, owner).await;
        }
        let mut shared = Shared::default();
        if self.terminal || stdout != Output::Nowhere {
            let sink = self.sink(stdout, Stream::Stdout, &mut shared)?;
            let pipe = self.output_pipe(Stream::Stdout, owner)?;
            self.outputs.push((pipe, sink));
        }
        if stderr != Output::Nowhere {
            let sink = self.sink(stderr, Stream::Stderr, &mut shared)?;
            let pipe = self.output_pipe(Stream::Stderr, owner)?;
            self.outputs.push((pipe, sink));
        }
        Ok(())
    }

    /// A logging program reads the container's pipes itself, unless a terminal must be copied to it.
    async fn open_logger(&mut self, binary: &uri::Binary, owner: &Owner<'_>) -> Result<()> {
        let (logger, ends) = binary::Logger::start(binary, owner.id, owner.namespace, owner.reaper).await?;
        self.logger = Some(logger);
        if self.terminal {
            let pipe =
                pipe::Sender::from_owned_fd(ends.stdout).context(|| "watch the logging program's pipe")?;
            self.outputs.push((None, pump::Sink::Pipe(pipe)));
            return Ok(());
        }
        for end in [&ends.stdout, &ends.stderr] {
            give(end, owner)?;
        }
        self.child.stdout = Some(ends.stdout);
        self.child.stderr = Some(ends.stderr);
        Ok(())
    }

    fn sink(&mut self, output: Output, stream: Stream, shared: &mut Shared) -> Result<pump::Sink> {
        match output {
            Output::Nowhere => Ok(pump::Sink::Nowhere),
            Output::File(path) => {
                let file = file::Writer::create(&path).context(|| format!("open {}", path.display()))?;
                Ok(pump::Sink::File(file))
            }
            Output::Fifo(path) => shared.fifo(&path).context(|| format!("open {}", path.display())),
            Output::Log(log) => self.log_sink(log, stream, shared),
            Output::Binary(binary) => Err(Error::invalid(format!(
                "stderr leads to the logging program {}, stdout elsewhere",
                binary.program.display()
            ))),
        }
    }

    fn log_sink(&mut self, uri: uri::Log, stream: Stream, shared: &mut Shared) -> Result<pump::Sink> {
        let log = shared.log(&uri)?;
        let hub = uri.attach.as_deref().map(|path| self.hubs.at(path)).transpose()?;
        if let Some(hub) = &hub {
            hub.add_log(log.clone());
        }
        Ok(pump::Sink::Log(log_sink::Writer::new(stream, log, hub)))
    }

    /// The pipe an output comes through; none with a terminal.
    fn output_pipe(&mut self, stream: Stream, owner: &Owner<'_>) -> Result<Option<pipe::Receiver>> {
        if self.terminal {
            return Ok(None);
        }
        let (reader, writer) = new_pipe()?;
        give(&writer, owner)?;
        match stream {
            Stream::Stdout => self.child.stdout = Some(writer),
            Stream::Stderr => self.child.stderr = Some(writer),
        }
        pipe::Receiver::from_owned_fd(reader).map(Some).context(|| "watch an output pipe")
    }

    fn open_input(&mut self, input: Input, owner: &Owner<'_>) -> Result<()> {
        match input {
            Input::Nowhere => return Ok(()),
            Input::Fifo(path) => {
                let named = || format!("open {}", path.display());
                if !self.terminal && !fifo::is_fifo(&path).context(named)? {
                    self.child.stdin = Some(std::fs::File::open(&path).context(named)?.into());
                    return Ok(());
                }
                let (receiver, keeper) = fifo::open_input(&path).context(named)?;
                self.input = Some(stdin::Source::Fifo(receiver));
                self.closer = Some(stdin::Closer::Fifo(Mutex::new(Some(keeper))));
            }
            Input::Attach(path) => {
                let hub = self.hubs.at(&path)?;
                self.input = Some(stdin::Source::Attach(hub.take_stdin()));
                self.closer = Some(stdin::Closer::Attach(hub));
            }
        }
        if !self.terminal {
            let (reader, writer) = new_pipe()?;
            give(&reader, owner)?;
            self.child.stdin = Some(reader);
            self.input_pipe = Some(pipe::Sender::from_owned_fd(writer).context(|| "watch the stdin pipe")?);
        }
        Ok(())
    }
}

// === impl ProcessIo ===

impl ProcessIo {
    /// Sets the terminal's size; without a terminal this does nothing, as in containerd's shim.
    ///
    /// # Errors
    /// Whatever ioctl_tty(2) says.
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<()> {
        let Some(console) = &self.console else { return Ok(()) };
        let (Ok(width), Ok(height)) = (u16::try_from(width), u16::try_from(height)) else {
            return Err(Error::invalid(format!("a terminal of {width}x{height} characters is too large")));
        };
        console.resize(width, height).context(|| format!("resize the terminal to {width}x{height}"))
    }

    /// Lets stdin end.
    pub(crate) fn close_stdin(&self) {
        if let Some(closer) = &self.closer {
            closer.close();
        }
    }

    /// Takes in clients that have connected so far: they shall miss nothing of what comes.
    pub(crate) fn catch_up(&self) {
        self.hubs.0.iter().for_each(Hub::take_in);
    }

    /// Resolves once all output has been delivered and nobody is left to write more, or after `patience`. False if
    /// it took longer.
    pub(crate) fn drained(&self, patience: Duration) -> impl Future<Output = bool> + Send + use<> {
        come_to(self.progress.clone(), patience, |progress| progress.ended)
    }

    /// Resolves once the output so far has been delivered, or after `patience`. False if it took longer. To be
    /// asked after [`ProcessIo::drained`] has given up: what was written just now may not have been seen yet.
    pub(crate) fn caught_up(&self, patience: Duration) -> impl Future<Output = bool> + Send + use<> {
        come_to(self.progress.clone(), patience, pump::Progress::has_caught_up)
    }

    /// Lets go of stdin and the terminal once nobody is left to use them: it may be long before the process is
    /// deleted, if ever. Attached clients still find their socket.
    pub(crate) fn release_input(&mut self) {
        if self.progress.borrow().ended {
            self.tasks.drain(..).for_each(|task| task.abort());
            self.closer = None;
            self.console = None;
        }
    }
}

impl Drop for ProcessIo {
    /// Ends what still copies, and sees a logging program off.
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        if let Some(logger) = self.logger.take() {
            tokio::spawn(logger.leave());
        }
    }
}

impl Shared {
    fn log(&mut self, uri: &uri::Log) -> Result<log_sink::SharedLog> {
        if let Some((_, log)) = self.logs.iter().find(|(path, _)| *path == uri.path) {
            return Ok(log.clone());
        }
        let log = LogFile::open(&uri.path, uri.limits).context(|| format!("open {}", uri.path.display()))?;
        let log = Arc::new(Mutex::new(log));
        self.logs.push((uri.path.clone(), log.clone()));
        Ok(log)
    }

    /// A fifo, or whatever else is there to be written to.
    fn fifo(&mut self, path: &Path) -> io::Result<pump::Sink> {
        if !fifo::is_fifo(path)? {
            return Ok(pump::Sink::File(file::Writer::open(path)?));
        }
        if let Some((_, writer)) = self.fifos.iter().find(|(other, _)| other == path) {
            return Ok(pump::Sink::Fifo(writer.clone()));
        }
        let writer = Arc::new(tokio::sync::Mutex::new(fifo::Writer::open(path)?));
        self.fifos.push((path.to_owned(), writer.clone()));
        Ok(pump::Sink::Fifo(writer))
    }
}

impl Hubs {
    /// The hub at `path`, which is made if there is none yet.
    fn at(&mut self, path: &Path) -> Result<Arc<Hub>> {
        if let Some(hub) = self.0.iter().find(|hub| hub.path() == path) {
            return Ok(hub.clone());
        }
        let hub = Hub::bind(path)?;
        self.0.push(hub.clone());
        Ok(hub)
    }
}

impl Drop for Hubs {
    fn drop(&mut self) {
        self.0.iter().for_each(|hub| hub.remove());
    }
}

/// Does the output come as far as that within `patience`?
async fn come_to(
    mut progress: watch::Receiver<pump::Progress>,
    patience: Duration,
    there: impl FnMut(&pump::Progress) -> bool,
) -> bool {
    let come = tokio::time::timeout(patience, progress.wait_for(there)).await;
    come.is_ok_and(|told| told.is_ok())
}

fn new_pipe() -> Result<(OwnedFd, OwnedFd)> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from).context(|| "make a pipe")
}

/// A container whose root is not ours must own its ends, or it could not reopen /dev/stdout.
fn give(end: &OwnedFd, owner: &Owner<'_>) -> Result<()> {
    if (owner.uid, owner.gid) == (0, 0) {
        return Ok(());
    }
    std::os::unix::fs::fchown(end, Some(owner.uid), Some(owner.gid))
        .context(|| format!("give a pipe to {}:{}", owner.uid, owner.gid))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    /// Enough for what comes, on whatever machine.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// For what does not come.
    const MOMENT: Duration = Duration::from_millis(20);

    /// The streams of a process that was started, the end it writes to, and the fifo where that comes out.
    async fn started(dir: &tempfile::TempDir) -> (ProcessIo, std::fs::File, PathBuf) {
        let path = dir.path().join("out");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
        let stdio = Stdio { stdout: path.display().to_string(), ..Stdio::default() };
        let owner = Owner { id: "e1", namespace: "tests", uid: 0, gid: 0, reaper: &Reaper::default() };
        let mut prepared = Prepared::open(&stdio, &owner).await.unwrap();
        let written_to = prepared.child_stdio().stdout.unwrap().into();
        (prepared.run(None).unwrap(), written_to, path)
    }

    fn reader(path: &Path) -> std::fs::File {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        std::fs::File::options().read(true).custom_flags(nonblocking).open(path).unwrap()
    }

    /// The client reads as much as this, and it is this.
    async fn read_all(client: &mut std::fs::File, wanted: &[u8]) {
        let mut come = Vec::new();
        while come.len() < wanted.len() {
            let mut piece = [0; 4096];
            match client.read(&mut piece) {
                Ok(length) => come.extend_from_slice(&piece[..length]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            tokio::task::yield_now().await;
        }
        assert!(come == wanted);
    }

    #[tokio::test]
    async fn who_holds_the_streams_and_writes_nothing_is_waited_for_once() {
        let dir = tempfile::tempdir().unwrap();
        let (io, mut process, path) = started(&dir).await;
        let mut client = reader(&path);
        let background = process.try_clone().unwrap();
        process.write_all(b"done\n").unwrap();
        drop(process);
        read_all(&mut client, b"done\n").await;
        assert!(!io.drained(MOMENT).await, "somebody may write more");
        assert!(io.caught_up(PATIENCE).await, "it was waited for again");
        drop(background);
        assert!(io.drained(PATIENCE).await);
    }

    #[tokio::test]
    async fn output_on_its_way_to_a_slow_reader_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let (io, mut process, path) = started(&dir).await;
        let mut client = reader(&path);
        // Two pipes full: it comes to an end when the fifo is full and some of it is in the shim's hands.
        let output: Vec<u8> = (0..120_000u32).map(|number| number as u8).collect();
        let writing = std::thread::spawn({
            let output = output.clone();
            move || process.write_all(&output).map(|()| drop(process))
        });
        while !writing.is_finished() {
            tokio::task::yield_now().await;
        }
        writing.join().unwrap().unwrap();
        assert!(!io.drained(MOMENT).await);
        assert!(!io.caught_up(MOMENT).await, "some of it is lost");
        let caught_up = tokio::spawn(io.caught_up(PATIENCE));
        read_all(&mut client, &output).await;
        assert!(caught_up.await.unwrap());
    }
}
