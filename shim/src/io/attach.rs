//! Live clients of a process: any number of them may follow its output and feed its stdin through a unix
//! socket.
//!
//! Both ways go frames: one byte that says what it is, a length (u32, big-endian, at most 64 KiB), and that
//! many bytes.
//!
//! | byte | from the client | to the client |
//! |---|---|---|
//! | 0 | stdin | |
//! | 1 | | stdout (of a terminal: everything) |
//! | 2 | | stderr |
//! | 3 | stdin has ended | |
//! | 4 | reopen the log file, which was moved away | it was reopened |
//! | 5 | | what comes after is not sent: this client was too slow |
//! | 6 | | this was all |
//!
//! When all output has ended and was delivered, the shim says so and closes the connection; one that ends otherwise has broken. A client that
//! does not read is dropped: its queue is bounded, and once full all clients together have [`PATIENCE`] to take a frame. It still gets what is
//! in its queue, and then the word that it was dropped. Who runs the container in the foreground is no such client: its connection was made before
//! the container was, and the container waits for it as for the reader of a pipe. A client that hangs up is forgotten at once, and with
//! it what it had sent, as far as the process does not take it. Whoever connects before `start` misses
//! nothing, since waiting connections are taken in before output is passed on.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use errors::{Context, Result};
use runc_client::async_fd;
use rustix::net::SocketFlags;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::log_sink::SharedLog;
use crate::cri_log::Stream;
use crate::sync::lock;
use crate::{log, socket};

/// The longest payload of a frame.
const LONGEST: usize = 64 << 10;
/// Frames that wait for a client; output comes in pieces of at most 16 KiB.
const QUEUE: usize = 64;
/// Frames of stdin that wait for the process.
const STDIN_QUEUE: usize = 4;
/// Connections at once; further ones are closed as they come. Those count too that were dropped and have not hung up: each may still hold
/// a full queue.
const CLIENTS: usize = 1024;
/// How long a client with a full queue may take for one frame.
const PATIENCE: Duration = Duration::from_secs(2);

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STDIN_END: u8 = 3;
const REOPEN: u8 = 4;
const LOST: u8 = 5;
const END: u8 = 6;

type Frame = Arc<[u8]>;

/// The clients of one process.
pub(crate) struct Hub {
    path: PathBuf,
    listener: UnixListener,
    state: Mutex<State>,
    patience: Duration,
}

#[derive(Default)]
struct State {
    clients: Vec<Client>,
    /// `None` if stdin does not come from here, or has ended.
    stdin: Option<mpsc::Sender<Vec<u8>>>,
    /// Logs that can be reopened.
    logs: Vec<SharedLog>,
    ended: bool,
    accepting: Option<AbortHandle>,
    next: u64,
    /// Connections that are open.
    open: usize,
}

#[derive(Clone)]
struct Client {
    id: u64,
    frames: mpsc::Sender<Frame>,
    /// It was dropped.
    slow: Arc<AtomicBool>,
    /// It is who runs the container in the foreground: its output waits for as long as that takes, as in a pipe.
    is_waited_for: bool,
}

impl Hub {
    /// Listens at `path`.
    pub(crate) fn bind(path: &Path) -> Result<Arc<Hub>> {
        Hub::bind_with(path, PATIENCE)
    }

    fn bind_with(path: &Path, patience: Duration) -> Result<Arc<Hub>> {
        let named = || format!("listen at {}", path.display());
        let listener: StdListener = socket::bind_anew(path)?;
        listener.set_nonblocking(true).context(named)?;
        let listener = UnixListener::from_std(listener).context(named)?;
        let hub = Arc::new(Hub { path: path.to_owned(), listener, state: Mutex::default(), patience });
        let accepting = tokio::spawn(accept(hub.clone()));
        lock(&hub.state).accepting = Some(accepting.abort_handle());
        Ok(hub)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets clients feed stdin; what they write arrives here.
    pub(crate) fn take_stdin(&self) -> mpsc::Receiver<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(STDIN_QUEUE);
        lock(&self.state).stdin = Some(sender);
        receiver
    }

    /// Lets clients have `log` reopened.
    pub(super) fn add_log(&self, log: SharedLog) {
        lock(&self.state).logs.push(log);
    }

    /// Ends stdin once what was fed has been read.
    pub(crate) fn end_stdin(&self) {
        lock(&self.state).stdin = None;
    }

    /// Passes output on to every client. Waits for slow ones, as long for all as for one, and drops stuck ones; but not who runs the container,
    /// as a pipe does not.
    pub(super) async fn broadcast(self: &Arc<Hub>, stream: Stream, output: &[u8]) {
        self.take_in();
        let mut clients = lock(&self.state).clients.clone();
        if clients.is_empty() {
            return;
        }
        let kind = match stream {
            Stream::Stdout => STDOUT,
            Stream::Stderr => STDERR,
        };
        for piece in output.chunks(LONGEST) {
            let frame = frame(kind, piece);
            let until = Instant::now() + self.patience;
            let mut left = Vec::with_capacity(clients.len());
            for client in clients {
                if self.pass_on(&client, frame.clone(), until).await {
                    left.push(client);
                }
            }
            clients = left;
        }
    }

    /// Has the client got it? Otherwise it is one no more.
    async fn pass_on(&self, client: &Client, frame: Frame, until: Instant) -> bool {
        let sent = match client.is_waited_for {
            true => Ok(client.frames.send(frame).await),
            false => timeout_at(until, client.frames.send(frame)).await,
        };
        if sent.is_err() {
            client.slow.store(true, Ordering::Relaxed);
            log::warning!("an attached client does not read: dropped");
        }
        let sent = matches!(sent, Ok(Ok(())));
        if !sent {
            self.forget(client.id);
        }
        sent
    }

    /// All output has ended: clients are let go when they have got all of it, and new ones at once.
    pub(super) fn end_output(self: &Arc<Hub>) {
        self.take_in();
        let mut state = lock(&self.state);
        state.ended = true;
        // Their queues end with the senders.
        state.clients.clear();
        state.stdin = None;
    }

    /// Stops listening and removes the socket.
    pub(crate) fn remove(&self) {
        let mut state = lock(&self.state);
        if !state.ended {
            // What was not read yet never will be: this is not all.
            state.clients.iter().for_each(|client| client.slow.store(true, Ordering::Relaxed));
        }
        state.clients.clear();
        state.ended = true;
        if let Some(accepting) = state.accepting.take() {
            accepting.abort();
        }
        // The daemon may have removed it already.
        let _ = std::fs::remove_file(&self.path);
    }

    /// Accepts whoever waits, now.
    pub(super) fn take_in(self: &Arc<Hub>) {
        while let Ok(stream) =
            rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
        {
            match UnixStream::from_std(stream.into()) {
                Ok(stream) => self.welcome(stream, false),
                Err(error) => log::warning!("attach: {error}"),
            }
        }
    }

    /// Takes in a client whose connection was made elsewhere, before the container began: it runs it, and is waited for.
    pub(super) fn take_over(self: &Arc<Hub>, client: std::os::unix::net::UnixStream) -> io::Result<()> {
        client.set_nonblocking(true)?;
        self.welcome(UnixStream::from_std(client)?, true);
        Ok(())
    }

    fn welcome(self: &Arc<Hub>, stream: UnixStream, is_waited_for: bool) {
        let (reader, writer) = stream.into_split();
        let (frames, queue) = mpsc::channel(QUEUE);
        let slow = Arc::new(AtomicBool::new(false));
        let id = {
            let mut state = lock(&self.state);
            if state.ended {
                return drop(writer.try_write(&frame(END, &[])));
            }
            if state.open >= CLIENTS {
                return log::warning!("attach: {CLIENTS} clients are connected: another one is sent away");
            }
            state.open += 1;
            state.next += 1;
            let id = state.next;
            state.clients.push(Client { id, frames: frames.clone(), slow: slow.clone(), is_waited_for });
            id
        };
        let weak = Arc::downgrade(self);
        // The queue must end when the list of clients lets go of it.
        let answers = frames.downgrade();
        drop(frames);
        let reading = tokio::spawn(async move {
            let line = reader.as_ref().as_fd().try_clone_to_owned().ok();
            let gone = || hung_up(line.as_ref());
            if let Err(error) = listen_to(reader, answers, gone, || weak.upgrade()).await {
                log::debug!("attached client {id}: {error}");
            }
            // It says nothing more, but it may still listen.
            hung_up(line.as_ref()).await;
            if let Some(hub) = weak.upgrade() {
                hub.forget(id);
            }
        });
        let weak = Arc::downgrade(self);
        tokio::spawn(async move {
            deliver(queue, writer, &slow).await;
            reading.abort();
            if let Some(hub) = weak.upgrade() {
                hub.forget(id);
                lock(&hub.state).open -= 1;
            }
        });
    }

    fn forget(&self, id: u64) {
        lock(&self.state).clients.retain(|client| client.id != id);
    }

    /// Passes input on; false when `gone` resolved before the process took it.
    async fn feed(&self, input: Vec<u8>, gone: impl Future<Output = ()>) -> bool {
        let stdin = lock(&self.state).stdin.clone();
        let Some(stdin) = stdin else { return true };
        match stdin.try_send(input) {
            Err(mpsc::error::TrySendError::Full(input)) => tokio::select! {
                // A process that has closed its stdin does not want it.
                _ = stdin.send(input) => true,
                () = gone => false,
            },
            _ => true,
        }
    }

    fn reopen_logs(&self) -> io::Result<()> {
        let logs = lock(&self.state).logs.clone();
        logs.iter().try_for_each(|log| lock(log).reopen())
    }
}

/// Takes clients in until [`Hub::remove`].
async fn accept(hub: Arc<Hub>) {
    loop {
        match hub.listener.accept().await {
            Ok((stream, _)) => hub.welcome(stream, false),
            // Out of descriptors, say: others may go before the next one comes.
            Err(error) => {
                log::warning!("attach: {error}");
                tokio::time::sleep(PATIENCE).await;
            }
        }
    }
}

/// Writes frames until the queue ends or the client goes; then closes the connection, not without telling that this was all, or that it was not.
async fn deliver(mut queue: mpsc::Receiver<Frame>, mut writer: OwnedWriteHalf, slow: &AtomicBool) {
    while let Some(frame) = queue.recv().await {
        if writer.write_all(&frame).await.is_err() {
            return;
        }
    }
    let last = if slow.load(Ordering::Relaxed) { LOST } else { END };
    // The client may have gone meanwhile.
    let _ = writer.write_all(&frame(last, &[])).await;
    let _ = writer.shutdown().await;
}

/// Resolves when the other side has closed the connection as a whole, rather than its writing half alone. `line` is a descriptor of its
/// own, since whoever writes to the connection has its own idea of whether that is possible now.
async fn hung_up(line: Option<&OwnedFd>) {
    if let Some(Ok(watched)) = line.map(|line| line.try_clone().and_then(async_fd)) {
        while let Ok(mut ready) = watched.ready(Interest::WRITABLE).await {
            if ready.ready().is_write_closed() {
                return;
            }
            ready.clear_ready();
        }
    }
    // Without a descriptor to watch, the next output will tell.
    std::future::pending().await
}

/// Reads frames until the client says nothing more, or is `gone` while the process does not take its input.
pub(crate) async fn listen_to<F: Future<Output = ()>>(
    mut reader: impl AsyncRead + Unpin,
    answers: mpsc::WeakSender<Frame>,
    gone: impl Fn() -> F,
    hub: impl Fn() -> Option<Arc<Hub>>,
) -> io::Result<()> {
    let mut header = [0u8; 5];
    loop {
        match reader.read_exact(&mut header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => drop(result?),
        }
        let [kind, length @ ..] = header;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST {
            return Err(io::Error::other(format!("a frame of {length} bytes is too long")));
        }
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload).await?;
        let Some(hub) = hub() else { return Ok(()) };
        match kind {
            STDIN => {
                if !hub.feed(payload, gone()).await {
                    return Ok(());
                }
            }
            STDIN_END => hub.end_stdin(),
            REOPEN => {
                hub.reopen_logs()?;
                if let Some(answers) = answers.upgrade() {
                    // A client that has stopped reading gets no answer.
                    let _ = answers.send(frame(REOPEN, &[])).await;
                }
            }
            other => return Err(io::Error::other(format!("frames of kind {other} are not known"))),
        }
    }
}

fn frame(kind: u8, payload: &[u8]) -> Frame {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    [&[kind], &length[..], payload].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_frame(stream: &mut UnixStream) -> Option<(u8, Vec<u8>)> {
        let mut header = [0; 5];
        stream.read_exact(&mut header).await.ok()?;
        let mut payload = vec![0; u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        Some((header[0], payload))
    }

    async fn connect(hub: &Arc<Hub>) -> UnixStream {
        UnixStream::connect(hub.path()).await.unwrap()
    }

    #[tokio::test]
    async fn all_clients_get_all_output_and_then_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::bind(&dir.path().join("attach")).unwrap();
        let (mut first, mut second) = (connect(&hub).await, connect(&hub).await);
        hub.broadcast(Stream::Stdout, b"out").await;
        hub.broadcast(Stream::Stderr, b"err").await;
        hub.end_output();
        for client in [&mut first, &mut second] {
            assert_eq!(read_frame(client).await, Some((STDOUT, b"out".to_vec())));
            assert_eq!(read_frame(client).await, Some((STDERR, b"err".to_vec())));
            assert_eq!(read_frame(client).await, Some((END, Vec::new())));
            assert_eq!(read_frame(client).await, None);
        }
        let mut late = connect(&hub).await;
        assert_eq!(read_frame(&mut late).await, Some((END, Vec::new())), "too late");
        assert_eq!(read_frame(&mut late).await, None);
        hub.remove();
        assert!(!hub.path().exists());
    }

    #[tokio::test]
    async fn clients_feed_stdin_and_end_it() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::bind(&dir.path().join("attach")).unwrap();
        let mut stdin = hub.take_stdin();
        let mut client = connect(&hub).await;
        client.write_all(&frame(STDIN, b"input")).await.unwrap();
        assert_eq!(stdin.recv().await.as_deref(), Some(&b"input"[..]));
        client.write_all(&frame(STDIN_END, b"")).await.unwrap();
        assert_eq!(stdin.recv().await, None);
        // The connection goes on.
        hub.broadcast(Stream::Stdout, b"still here").await;
        assert_eq!(read_frame(&mut client).await, Some((STDOUT, b"still here".to_vec())));
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_dropped_and_the_others_miss_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::bind_with(&dir.path().join("attach"), Duration::from_millis(100)).unwrap();
        let stuck = connect(&hub).await;
        let mut good = connect(&hub).await;
        let counting = tokio::spawn(async move {
            let mut bytes = 0;
            while let Some((_, payload)) = read_frame(&mut good).await {
                bytes += payload.len();
            }
            bytes
        });
        let piece = vec![0; 16 << 10];
        for _ in 0..200 {
            hub.broadcast(Stream::Stdout, &piece).await;
        }
        assert_eq!(lock(&hub.state).clients.len(), 1);
        hub.end_output();
        assert_eq!(counting.await.unwrap(), 200 * piece.len());
        // It is told, once it reads on.
        let mut stuck = stuck;
        let mut last = None;
        while let Some((kind, _)) = read_frame(&mut stuck).await {
            last = Some(kind);
        }
        assert_eq!(last, Some(LOST));
    }

    #[tokio::test]
    async fn who_runs_the_container_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::bind_with(&dir.path().join("attach"), Duration::from_millis(10)).unwrap();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        hub.take_over(theirs.into_std().unwrap()).unwrap();
        let stuck = connect(&hub).await;
        let piece = vec![0; 16 << 10];
        let writing = tokio::spawn({
            let (hub, piece) = (hub.clone(), piece.clone());
            async move {
                for _ in 0..200 {
                    hub.broadcast(Stream::Stdout, &piece).await;
                }
                hub.end_output();
            }
        });
        // The other one was dropped long ago by then, and nothing more is taken.
        let dropped = async {
            while lock(&hub.state).clients.len() != 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), dropped).await.unwrap();
        assert!(!writing.is_finished());
        let mut bytes = 0;
        while let Some((STDOUT, payload)) = read_frame(&mut ours).await {
            bytes += payload.len();
        }
        writing.await.unwrap();
        assert_eq!(bytes, 200 * piece.len());
        drop(stuck);
    }

    /// Waits until nobody is connected any more; nothing is ever written meanwhile.
    async fn until_forgotten(hub: &Hub) {
        let forgotten = async {
            while lock(&hub.state).open > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), forgotten).await.unwrap();
        assert!(lock(&hub.state).clients.is_empty());
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_is_forgotten_without_any_output() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::bind(&dir.path().join("attach")).unwrap();
        let mut client = connect(&hub).await;
        hub.take_in();
        assert_eq!(lock(&hub.state).clients.len(), 1);
        // One that says nothing more still listens.
        client.shutdown().await.unwrap();
        hub.broadcast(Stream::Stdout, b"x").await;
        assert_eq!(read_frame(&mut client).await, Some((STDOUT, b"x".to_vec())));
        assert_eq!(lock(&hub.state).clients.len(), 1);
        drop(client);
        until_forgotten(&hub).await;
        // One that talks nonsense is watched, too.
        let mut client = connect(&hub).await;
        client.write_all(&[0, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
        hub.take_in();
        drop(client);
        until_forgotten(&hub).await;
    }

    #[tokio::test]
    async fn a_client_that_hangs_up_while_its_input_waits_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::bind(&dir.path().join("attach")).unwrap();
        let mut stdin = hub.take_stdin();
        let mut client = connect(&hub).await;
        for number in 0..=STDIN_QUEUE {
            client.write_all(&frame(STDIN, &[number as u8])).await.unwrap();
        }
        hub.take_in();
        while stdin.len() < STDIN_QUEUE {
            tokio::task::yield_now().await;
        }
        drop(client);
        until_forgotten(&hub).await;
        // What had found room is there.
        assert_eq!(stdin.recv().await.as_deref(), Some(&[0][..]));
    }

    #[tokio::test]
    async fn too_many_clients_are_sent_away() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::bind(&dir.path().join("attach")).unwrap();
        let mut first = connect(&hub).await;
        hub.take_in();
        lock(&hub.state).open = CLIENTS;
        assert_eq!(read_frame(&mut connect(&hub).await).await, None);
        hub.broadcast(Stream::Stdout, b"x").await;
        assert_eq!(read_frame(&mut first).await, Some((STDOUT, b"x".to_vec())));
    }

    #[tokio::test]
    async fn nonsense_ends_the_reading_side_alone() {
        let dir = tempfile::tempdir().unwrap();
        let hub = Hub::bind(&dir.path().join("attach")).unwrap();
        let mut stdin = hub.take_stdin();
        let (mut bad, mut good) = (connect(&hub).await, connect(&hub).await);
        bad.write_all(&[0, 0xff, 0xff, 0xff, 0xff]).await.unwrap();
        good.write_all(&frame(STDIN, b"x")).await.unwrap();
        assert_eq!(stdin.recv().await.as_deref(), Some(&b"x"[..]));
    }
}
