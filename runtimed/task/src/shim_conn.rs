//! One connection to one shim, for one task: calls and answers in the room's own types.
//!
//! The task services v2 and v3 have the same messages under two names; which one a shim serves is known from
//! its answer at start. The end of the connection is an event of its own ([`ShimConn::closed`]), noticed also
//! while no call is under way: a shim that dies is seen at once.

pub(crate) mod convert;
mod socket;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use errors::{Context as _, Error, Kind, Result};
use ids::{ContainerId, Namespace};
use proto_shim::task::{v2, v3};
use tokio::net::UnixStream;

use crate::call::{Answer, Call};
use crate::create::Wish;
use crate::process::Seen;
use crate::shim_socket;
use crate::types::{Create, Exit, Timeouts};
use socket::{Closed, Watched};

/// For calls that end when a process ends.
const FOREVER: Duration = Duration::ZERO;

/// The metadata key under which ttrpc servers look for the namespace.
const NAMESPACE: &str = "containerd-namespace-ttrpc";

/// A connection. Calls run side by side on it.
pub(crate) struct ShimConn {
    client: Client,
    namespace: Namespace,
    id: ContainerId,
    address: Box<str>,
    closed: Closed,
    limits: Timeouts,
    /// The last call was not answered in time.
    hangs: AtomicBool,
}

/// The task service, by version.
enum Client {
    V2(v2::TaskClient),
    V3(v3::TaskClient),
}

/// Makes one call on whichever version it is; the limit is also sent along, so that the shim gives up, too.
macro_rules! rpc {
    ($conn:expr, $limit:expr, $method:ident, $request:expr) => {
        rpc!($conn, $limit, $method, $request, Vec::new())
    };
    ($conn:expr, $limit:expr, $method:ident, $request:expr, $extra:expr) => {{
        let begun = Instant::now();
        let mut context = $conn.context($limit);
        let extra: Vec<(&str, &str)> = $extra;
        extra.into_iter().for_each(|(key, value)| context.add(key.to_owned(), value.to_owned()));
        let request = $request;
        let answer = match &$conn.client {
            Client::V2(client) => client.$method(context, &request).await,
            Client::V3(client) => client.$method(context, &request).await,
        };
        if !matches!(answer, Err(ttrpc::Error::Others(_))) {
            $conn.hangs.store(false, Ordering::Relaxed);
        }
        answer.map_err(|error| $conn.failure(stringify!($method), begun, $limit, error))
    }};
}

impl ShimConn {
    /// Connects to `address` (`unix://...`), where the task service of `version` is spoken.
    ///
    /// # Errors
    /// `NotFound` or `Unavailable` when nobody listens there any more; `Unavailable` also when the shim's
    /// queue is full, or a connection cannot be made now, which [`may_pass`] tells apart.
    pub(crate) async fn connect(
        address: &str,
        version: u32,
        namespace: &Namespace,
        id: &ContainerId,
        limits: Timeouts,
    ) -> Result<ShimConn> {
        let path = address.strip_prefix("unix://").ok_or_else(|| {
            Error::unimplemented(format!("shim address {address:?}: only unix:// is supported"))
        })?;
        let stream = open(path).context(|| format!("connect to shim at {address}"))?;
        let (socket, closed) = Watched::new(stream);
        let client = ttrpc::r#async::Client::new(ttrpc::r#async::transport::Socket::new(socket));
        let client = match version {
            2 => Client::V2(v2::TaskClient::new(client)),
            3 => Client::V3(v3::TaskClient::new(client)),
            other => return Err(Error::unimplemented(format!("shim of {id}: task service version {other}"))),
        };
        Ok(ShimConn {
            client,
            namespace: namespace.clone(),
            id: id.clone(),
            address: address.into(),
            closed,
            limits,
            hangs: AtomicBool::new(false),
        })
    }

    /// Where the shim listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Resolves when the shim has closed the connection.
    pub(crate) async fn closed(&self) {
        self.closed.wait().await;
    }

    /// Was the last call not answered in time?
    pub(crate) fn hangs(&self) -> bool {
        self.hangs.load(Ordering::Relaxed)
    }

    /// Is the connection over?
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_over()
    }

    /// Creates the task, and, of what is wished beyond that, does what our own shim alone understands; returns init's pid.
    pub(crate) async fn create(&self, bundle: &Path, create: &Create, wish: Wish) -> Result<u32> {
        let _step = marks::step("task.create.call")?;
        let request = convert::create(self.id.as_str(), bundle, create);
        let mut extra = Vec::new();
        if wish.start {
            extra.push((proto_shim::START_HEADER, "1"));
        }
        if wish.clear {
            extra.push((proto_shim::CLEAR_HEADER, "1"));
        }
        Ok(rpc!(self, self.limits.long_call, create, request, extra)?.pid)
    }

    /// The shim's own pid.
    pub(crate) async fn shim_pid(&self) -> Result<u32> {
        let request = v3::ConnectRequest { id: self.id(), ..Default::default() };
        Ok(rpc!(self, self.limits.call, connect, request)?.shim_pid)
    }

    /// What the shim says of init, and the shim's pid; waits for as long as it takes, since a shim that hangs
    /// may go on one day. `NotFound` when the shim knows no such task.
    pub(crate) async fn identify(&self) -> Result<(Seen, u32)> {
        let request = v3::ConnectRequest { id: self.id(), ..Default::default() };
        let shim_pid = rpc!(self, FOREVER, connect, request)?.shim_pid;
        let request = v3::StateRequest { id: self.id(), ..Default::default() };
        let state = rpc!(self, FOREVER, state, request)?;
        Ok((convert::seen(&state), shim_pid))
    }

    /// Waits for the end of a process: its status, and when it was.
    pub(crate) async fn wait(&self, exec_id: &str) -> Result<(u32, SystemTime)> {
        let request = v3::WaitRequest { id: self.id(), exec_id: exec_id.to_owned(), ..Default::default() };
        let answer = rpc!(self, FOREVER, wait, request)?;
        Ok((answer.exit_status, convert::time(answer.exited_at.as_ref())))
    }

    /// Deletes init (`exec_id` empty) or an exec.
    pub(crate) async fn delete(&self, exec_id: &str) -> Result<Exit> {
        let request = v3::DeleteRequest { id: self.id(), exec_id: exec_id.to_owned(), ..Default::default() };
        rpc!(self, self.limits.long_call, delete, request).map(|answer| convert::exit(&answer))
    }

    /// Asks the shim to leave; one that has other containers stays.
    pub(crate) async fn shutdown(&self) -> Result<()> {
        let request = v3::ShutdownRequest { id: self.id(), ..Default::default() };
        rpc!(self, self.limits.shutdown, shutdown, request).map(drop)
    }

    /// How long the shim may take for what.
    pub(crate) fn limits(&self) -> &Timeouts {
        &self.limits
    }

    /// Makes any other call.
    pub(crate) async fn call(&self, call: &Call) -> Result<Answer> {
        let _step = marks::step("task.call.shim")?;
        match call {
            Call::Start { exec_id } => {
                let request =
                    v3::StartRequest { id: self.id(), exec_id: exec_id.clone(), ..Default::default() };
                Ok(Answer::Pid(rpc!(self, self.limits.long_call, start, request)?.pid))
            }
            Call::DeleteProcess { exec_id } => self.delete(exec_id).await.map(Answer::Exit),
            Call::State { exec_id } => {
                let request =
                    v3::StateRequest { id: self.id(), exec_id: exec_id.clone(), ..Default::default() };
                Ok(Answer::Seen(convert::seen(&rpc!(self, self.limits.state, state, request)?)))
            }
            Call::Pids => {
                let request = v3::PidsRequest { id: self.id(), ..Default::default() };
                Ok(Answer::Pids(convert::pids(rpc!(self, self.limits.call, pids, request)?)))
            }
            Call::Stats => {
                let request = v3::StatsRequest { id: self.id(), ..Default::default() };
                Ok(Answer::Metrics(convert::metrics(rpc!(self, self.limits.call, stats, request)?)))
            }
            _ => self.command(call).await.map(|()| Answer::Done),
        }
    }

    /// Makes a call whose answer is success alone.
    async fn command(&self, call: &Call) -> Result<()> {
        let id = self.id();
        match call {
            Call::Kill { exec_id, signal, all } => {
                let request = convert::kill(id, exec_id, *signal, *all);
                rpc!(self, self.limits.call, kill, request)
            }
            Call::Exec(exec) => rpc!(self, self.limits.long_call, exec, convert::exec(id, exec)),
            Call::Resize { exec_id, width, height } => {
                let request = convert::resize(id, exec_id, *width, *height);
                rpc!(self, self.limits.call, resize_pty, request)
            }
            Call::CloseIo { exec_id } => {
                rpc!(self, self.limits.call, close_io, convert::close_io(id, exec_id))
            }
            Call::Pause => rpc!(self, self.limits.call, pause, v3::PauseRequest { id, ..Default::default() }),
            Call::Resume => {
                rpc!(self, self.limits.call, resume, v3::ResumeRequest { id, ..Default::default() })
            }
            Call::Checkpoint { path, options } => {
                rpc!(self, self.limits.long_call, checkpoint, convert::checkpoint(id, path, options.as_ref()))
            }
            Call::Update { resources, annotations } => {
                rpc!(self, self.limits.call, update, convert::update(id, resources, annotations))
            }
            Call::Start { .. }
            | Call::DeleteProcess { .. }
            | Call::State { .. }
            | Call::Pids
            | Call::Stats => {
                return Err(Error::internal(format!("{call:?} is not a plain command")));
            }
        }
        .map(drop)
    }

    fn id(&self) -> String {
        self.id.as_str().to_owned()
    }

    fn context(&self, limit: Duration) -> ttrpc::context::Context {
        let mut context = ttrpc::context::with_duration(limit);
        context.add(NAMESPACE.to_owned(), self.namespace.as_str().to_owned());
        if let Some(trace) = marks::current().as_ref().and_then(marks::Trace::path) {
            context.add(marks::trace::HEADER.to_owned(), trace.display().to_string());
        }
        context
    }

    /// Turns a failed call into an error; what the shim itself said stays word for word.
    fn failure(&self, method: &str, begun: Instant, limit: Duration, error: ttrpc::Error) -> Error {
        match error {
            ttrpc::Error::RpcStatus(status) => {
                let kind = Kind::from_grpc_code(proto_shim::Enum::value(&status.code()));
                Error::new(kind, status.message)
            }
            // A connection that is breaking is told by its channels first.
            ttrpc::Error::Others(text) if !self.is_closed() && !text.contains("channel closed") => {
                let call = format!("{method} of the shim of task {}", self.id);
                if limit > FOREVER && begun.elapsed() >= limit {
                    self.hangs.store(true, Ordering::Relaxed);
                    let text = format!("{call}: no answer in {limit:?}: context deadline exceeded");
                    return Error::new(Kind::DeadlineExceeded, text);
                }
                Error::internal(format!("{call}: {text}"))
            }
            _ => Error::unavailable(format!("{method} of the shim of task {}: ttrpc: closed", self.id)),
        }
    }
}

/// May there be a listener, although no connection came about? A full queue answers EAGAIN (unix(7)); and whoever has no descriptor or no
/// memory left to ask with knows nothing. Otherwise nobody listens at the address, now or ever.
pub(crate) fn may_pass(error: &Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, InvalidFilename, InvalidInput, NotADirectory, NotFound};
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| {
        !matches!(cause.kind(), ConnectionRefused | NotFound | NotADirectory | InvalidFilename | InvalidInput)
    })
}

/// A connection, made without waiting.
fn open(path: &str) -> std::io::Result<UnixStream> {
    UnixStream::from_std(shim_socket::connect(path)?)
}
