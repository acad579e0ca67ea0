//! One process of a container: its init, or one that was added.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use errors::{Error, Result};
use tokio::sync::watch;

use crate::io::{Prepared, ProcessIo, Stdio};
use crate::reaper::Exit;
use crate::state::{self, Status, Verb};
use crate::sync::lock;

/// The status of a process that could not be started: containerd's word for an unknown one.
const NOT_STARTED: u32 = 255;

/// A process. Its state changes in short steps under one lock; long ones are serialised by `operation`.
pub(crate) struct Process {
    /// Empty for init.
    pub(crate) exec_id: String,
    pub(crate) stdio: Stdio,
    /// The OCI process of an added one, as JSON.
    spec: Vec<u8>,
    /// Held while the executor changes this process: start, delete, pause, resume, update.
    pub(crate) operation: tokio::sync::Mutex<()>,
    /// Held from before the start until it has been published: an exit is told afterwards.
    pub(crate) starting: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    exited: watch::Sender<Option<Exit>>,
}

struct State {
    status: Status,
    pid: u32,
    /// The pid may belong to another process by now.
    reaped: Arc<AtomicBool>,
    /// Streams that are open before it is started: those with sockets, and those of what is to be restored.
    prepared: Option<Prepared>,
    io: Option<ProcessIo>,
    /// Stdin was to end before there were any streams: a client may be quicker than the executor.
    stdin_ended: bool,
}

impl Process {
    pub(crate) fn new(exec_id: &str, stdio: Stdio) -> Process {
        Process {
            exec_id: exec_id.to_owned(),
            stdio,
            spec: Vec::new(),
            operation: tokio::sync::Mutex::default(),
            starting: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                status: Status::Created,
                pid: 0,
                reaped: Arc::default(),
                prepared: None,
                io: None,
                stdin_ended: false,
            }),
            exited: watch::Sender::new(None),
        }
    }

    /// What an added process is to run: an OCI process as JSON.
    pub(crate) fn with_spec(mut self, spec: Vec<u8>) -> Process {
        self.spec = spec;
        self
    }

    pub(crate) fn spec(&self) -> &[u8] {
        &self.spec
    }

    pub(crate) fn is_init(&self) -> bool {
        self.exec_id.is_empty()
    }

    /// 0 until it has been started (an exec process) or created (init).
    pub(crate) fn pid(&self) -> u32 {
        lock(&self.state).pid
    }

    pub(crate) fn status(&self) -> Status {
        lock(&self.state).status
    }

    pub(crate) fn set_status(&self, status: Status) {
        lock(&self.state).status = status;
    }

    /// Its streams are open.
    pub(crate) fn set_prepared(&self, prepared: Prepared) {
        lock(&self.state).prepared = Some(prepared);
    }

    /// The streams to start it with.
    pub(crate) fn take_prepared(&self) -> Option<Prepared> {
        lock(&self.state).prepared.take()
    }

    /// It exists now.
    pub(crate) fn set_started(&self, pid: u32, reaped: Arc<AtomicBool>, io: ProcessIo) {
        let mut state = lock(&self.state);
        state.pid = pid;
        state.reaped = reaped;
        if state.stdin_ended {
            io.close_stdin();
        }
        state.io = Some(io);
    }

    /// It has ended: whoever waits is told.
    pub(crate) fn set_exited(&self, exit: Exit) {
        let mut state = lock(&self.state);
        state.status = Status::Stopped;
        if let Some(io) = &mut state.io {
            io.release_input();
        }
        drop(state);
        self.exited.send_replace(Some(exit));
    }

    /// It could not be started: whoever waits is let go, with a status that no start gives.
    pub(crate) fn set_failed(&self) {
        self.set_exited(Exit { pid: self.pid(), status: NOT_STARTED, at: SystemTime::now() });
    }

    /// An added process could not be started: whoever waits is let go, but it stays created, as in containerd's shim.
    pub(crate) fn set_refused(&self) {
        self.exited.send_replace(Some(Exit { pid: self.pid(), status: NOT_STARTED, at: SystemTime::now() }));
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exited.borrow()
    }

    /// Waits until it has ended.
    pub(crate) async fn wait(&self) -> Exit {
        let mut exited = self.exited.subscribe();
        loop {
            if let Some(exit) = *exited.borrow_and_update() {
                return exit;
            }
            if exited.changed().await.is_err() {
                // The sender is this very process.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Is `verb` allowed now?
    ///
    /// # Errors
    /// As [`state::init_allows`].
    pub(crate) fn allows(&self, verb: Verb) -> Result<()> {
        match self.is_init() {
            true => state::init_allows(self.status(), verb),
            false => state::exec_allows(self.status(), verb),
        }
    }

    /// Signals it directly: for processes the executor has no id for.
    ///
    /// # Errors
    /// NotFound if it has ended.
    pub(crate) fn signal(&self, signal: u32) -> Result<()> {
        let state = lock(&self.state);
        if state.pid == 0 {
            return Err(Error::precondition("process not created"));
        }
        if state.reaped.load(Ordering::Relaxed) {
            return Err(state::finished());
        }
        match sys::kill::kill(state.pid, signal) {
            Ok(()) => Ok(()),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Err(state::finished())
            }
            Err(error) => {
                let kind = errors::Kind::of_io(&error);
                Err(Error::with_source(kind, format!("send signal {signal} to process {}", state.pid), error))
            }
        }
    }

    /// Sets the size of its terminal.
    ///
    /// # Errors
    /// Whatever the terminal says.
    pub(crate) fn resize(&self, width: u32, height: u32) -> Result<()> {
        lock(&self.state).io.as_ref().map_or(Ok(()), |io| io.resize(width, height))
    }

    /// Lets its stdin end.
    pub(crate) fn close_stdin(&self) {
        let mut state = lock(&self.state);
        state.stdin_ended = true;
        if let Some(io) = &state.io {
            io.close_stdin();
        }
    }

    /// Takes in clients that wait at its socket.
    pub(crate) fn catch_up(&self) {
        if let Some(io) = &lock(&self.state).io {
            io.catch_up();
        }
    }

    /// Waits until its output is delivered and can be no more, or `patience` is over. False in the latter case.
    pub(crate) async fn drained(&self, patience: Duration) -> bool {
        let drained = lock(&self.state).io.as_ref().map(|io| io.drained(patience));
        match drained {
            Some(drained) => drained.await,
            None => true,
        }
    }

    /// Waits until what it has written is delivered, or `patience` is over. False in the latter case. Of one that
    /// has ended: whoever holds its streams in the background is not waited for.
    pub(crate) async fn caught_up(&self, patience: Duration) -> bool {
        let caught_up = lock(&self.state).io.as_ref().map(|io| io.caught_up(patience));
        match caught_up {
            Some(caught_up) => caught_up.await,
            None => true,
        }
    }

    /// Ends its streams.
    pub(crate) fn close_io(&self) {
        let mut state = lock(&self.state);
        let streams = (state.prepared.take(), state.io.take());
        drop(state);
        drop(streams);
    }
}
