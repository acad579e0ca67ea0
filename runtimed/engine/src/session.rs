//! The streams between a client and a process: what Run, Attach and Exec share.

use bytes::Bytes;
use errors::Result;
use flows::Flows;
use flows::attach::{Chunk, Input};
use ids::{ContainerId, Namespace};
use proto_engine::v1;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::caller::status;

/// Messages that may wait for a slow client; then its process's output is held back, or, over the attach socket, the client is let go.
const QUEUE: usize = 8;

/// What a client says while it is connected, whichever call it made.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Bytes for stdin.
    Stdin(Bytes),
    /// stdin has ended.
    CloseStdin,
    /// The terminal has another size.
    Resize(v1::Size),
    /// A signal for the process.
    Signal(String),
    /// A message that is of no use here, such as a second start.
    Nothing,
}

/// A request of a bidirectional call, once it is started.
pub trait Says {
    /// What it says.
    fn said(self) -> Said;
}

macro_rules! says {
    ($request:ident, $module:ident) => {
        impl Says for v1::$request {
            fn said(self) -> Said {
                use v1::$module::Request;
                match self.request {
                    Some(Request::Stdin(bytes)) => Said::Stdin(bytes.into()),
                    Some(Request::CloseStdin(_)) => Said::CloseStdin,
                    Some(Request::Resize(size)) => Said::Resize(size),
                    Some(Request::Signal(signal)) => Said::Signal(signal),
                    Some(Request::Start(_)) | None => Said::Nothing,
                }
            }
        }
    };
}

says!(RunRequest, run_request);
says!(AttachRequest, attach_request);
says!(ExecRequest, exec_request);

/// The answering half of a call.
pub type Answers<T> = ReceiverStream<Result<T, Status>>;

/// Makes the answering half; when the client vanishes, sending fails.
pub fn answers<T>() -> (mpsc::Sender<Result<T, Status>>, Answers<T>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    (sender, ReceiverStream::new(receiver))
}

/// Held for as long as a client is served; what listens to the client ends with it.
pub struct Session(watch::Sender<()>);

impl Session {
    /// Of a client that has just come.
    pub fn new() -> Session {
        Session(watch::Sender::new(()))
    }
}

/// The process that a client is connected to.
#[derive(Clone)]
pub struct Target {
    /// The flows.
    pub flows: Flows,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its container.
    pub id: ContainerId,
    /// Its exec, or empty.
    pub exec_id: String,
}

impl Target {
    /// Carries what the client says to the process, until the client has no more to say, or the session is over: then a process that does
    /// not read holds nothing of it any more.
    pub fn listen<R: Says + Send + 'static>(
        self,
        mut requests: Streaming<R>,
        mut input: Input,
        session: &Session,
    ) {
        let over = session.0.subscribe();
        tokio::spawn(async move {
            let mut ending = over.clone();
            let listening = async {
                while let Ok(Some(request)) = requests.message().await {
                    if let Err(error) = self.hear(request.said(), &mut input).await {
                        tracing::debug!(container = %self.id, error = %error.chain(), "a client's word did not reach its process");
                    }
                }
            };
            tokio::select! {
                () = listening => {}
                // Ends with the session, which never says anything.
                _ = ending.changed() => {}
            }
            // An exec is its client's: without one, nothing will ever be typed. A container's stdin outlives those who attach.
            if !self.exec_id.is_empty()
                && let Err(error) = self.hear(Said::CloseStdin, &mut input).await
            {
                tracing::debug!(container = %self.id, error = %error.chain(), "the stdin of an exec stays open");
            }
        });
    }

    async fn hear(&self, said: Said, input: &mut Input) -> Result<()> {
        match said {
            Said::Stdin(bytes) => input.write(&bytes).await,
            Said::CloseStdin => {
                if input.close().await? {
                    self.flows.rooms().tasks.close_io(&self.namespace, &self.id, &self.exec_id).await?;
                }
                Ok(())
            }
            Said::Resize(size) => {
                self.flows.resize(&self.namespace, &self.id, &self.exec_id, (size.width, size.height)).await
            }
            Said::Signal(signal) if self.exec_id.is_empty() => {
                self.flows.kill(&self.namespace, &self.id, &signal).await
            }
            Said::Signal(signal) => {
                let number = flows::parse_signal(&signal)?;
                self.flows.rooms().tasks.kill(&self.namespace, &self.id, &self.exec_id, number, false).await
            }
            Said::Nothing => Ok(()),
        }
    }
}

/// How far a process's output has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// All of it has.
    All,
    /// It broke off.
    Part,
    /// Nobody listens any more, or shall.
    Gone,
}

/// Sends everything that a process writes.
pub async fn send_output<T>(
    mut output: mpsc::Receiver<Chunk>,
    sender: &mpsc::Sender<Result<T, Status>>,
    wanted: (bool, bool),
    wrap: impl Fn(v1::Output) -> T,
) -> Sent {
    loop {
        let chunk = tokio::select! {
            chunk = output.recv() => chunk,
            // The client has gone, and a silent process would never tell.
            () = sender.closed() => return Sent::Gone,
        };
        let Some(chunk) = chunk else { return Sent::All };
        let (stream, data, want) = match chunk {
            Chunk::Stdout(data) => (v1::output::Stream::Stdout, data, wanted.0),
            Chunk::Stderr(data) => (v1::output::Stream::Stderr, data, wanted.1),
            Chunk::Lost => {
                let told = Status::data_loss(
                    "the output was read too slowly: what comes after is in the container's log alone, and the container goes on",
                );
                // A client that has gone needs no answer.
                let _ = sender.send(Err(told)).await;
                return Sent::Gone;
            }
            Chunk::Cut => return Sent::Part,
        };
        let message = v1::Output { stream: stream.into(), data: data.into() };
        if want && sender.send(Ok(wrap(message))).await.is_err() {
            return Sent::Gone;
        }
    }
}

/// Waits for the exit and sends the last word of a call: the exit, or why it is not known. Nobody takes output that broke off for the whole of
/// it: a code that says that all went well is not told then.
pub async fn send_exit<T>(
    sent: Sent,
    exit: impl Future<Output = Result<u32>>,
    sender: &mpsc::Sender<Result<T, Status>>,
    wrap: impl Fn(v1::Exit) -> T,
) {
    if sent == Sent::Gone {
        return;
    }
    let exit = tokio::select! {
        exit = exit => exit,
        // A process may go on long after it has closed its output.
        () = sender.closed() => return,
    };
    let last = match exit {
        Ok(0) if sent == Sent::Part => {
            Err(Status::data_loss("the output broke off before its end; the process ended with 0"))
        }
        exit => exit.map(|code| wrap(v1::Exit { code })).map_err(status),
    };
    // A client that has gone needs no answer.
    let _ = sender.send(last).await;
}
