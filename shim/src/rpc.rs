//! The task service as the wire knows it, once as version 2 and once as version 3. Their messages are the
//! same, so each is a list of delegations to [`Service`]; here errors get their code, and calls are kept
//! alive.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use errors::{Error, Kind};
use proto_shim::Empty;
use proto_shim::task::{v2, v3};
use ttrpc::r#async::TtrpcContext;

use crate::service::{More, Service};
use crate::{log, rest};

/// The service, served.
pub(crate) struct Rpc {
    service: Arc<Service>,
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Rpc {
    pub(crate) fn new(service: Arc<Service>) -> Rpc {
        Rpc { service }
    }

    /// Runs a call to its end, even if the daemon hangs up: half a create would leave a container nobody
    /// knows.
    async fn call<T, F>(
        &self,
        context: &TtrpcContext,
        name: &'static str,
        run: impl FnOnce(Arc<Service>) -> F,
    ) -> ttrpc::Result<T>
    where
        T: Send + 'static,
        F: Future<Output = errors::Result<T>> + Send + 'static,
    {
        let task = tokio::spawn(marks::scope(trace_of(context), run(self.service.clone())));
        // A wait changes nothing, and may go on for years after the daemon that asked.
        let _guard = (name == "wait").then(|| AbortOnDrop(task.abort_handle()));
        let result = match task.await {
            Ok(result) => result,
            Err(error) => Err(Error::with_source(Kind::Internal, "the call was lost", error)),
        };
        rest::soon();
        result.map_err(|error| {
            log::debug!("{name}: {error:?}");
            status(&error)
        })
    }
}

/// The trace that the daemon names, if its file is there.
fn trace_of(context: &TtrpcContext) -> Option<marks::Trace> {
    let path = context.metadata.get(marks::trace::HEADER)?.first()?;
    marks::Trace::open(path.as_ref()).ok()
}

fn status(error: &Error) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(code(error.kind()), error.chain()))
}

fn code(kind: Kind) -> ttrpc::Code {
    use ttrpc::Code;
    match kind {
        Kind::Cancelled => Code::CANCELLED,
        Kind::InvalidArgument => Code::INVALID_ARGUMENT,
        Kind::DeadlineExceeded => Code::DEADLINE_EXCEEDED,
        Kind::NotFound => Code::NOT_FOUND,
        Kind::AlreadyExists => Code::ALREADY_EXISTS,
        Kind::PermissionDenied => Code::PERMISSION_DENIED,
        Kind::ResourceExhausted => Code::RESOURCE_EXHAUSTED,
        Kind::FailedPrecondition => Code::FAILED_PRECONDITION,
        Kind::Aborted => Code::ABORTED,
        Kind::OutOfRange => Code::OUT_OF_RANGE,
        Kind::Unimplemented => Code::UNIMPLEMENTED,
        Kind::Internal => Code::INTERNAL,
        Kind::Unavailable => Code::UNAVAILABLE,
        Kind::DataLoss => Code::DATA_LOSS,
        Kind::Unauthenticated => Code::UNAUTHENTICATED,
        _ => Code::UNKNOWN,
    }
}

macro_rules! delegate {
    ($version:ident: $($verb:ident($request:ident) -> $response:ident;)*) => {
        #[async_trait]
        impl $version::Task for Rpc {
            $(async fn $verb(&self, context: &TtrpcContext, request: v3::$request) -> ttrpc::Result<delegate!(@ $response)> {
                self.call(context, stringify!($verb), |service| async move { service.$verb(request).await }).await
            })*

            async fn create(&self, context: &TtrpcContext, request: v3::CreateTaskRequest) -> ttrpc::Result<v3::CreateTaskResponse> {
                let asked = |header| context.metadata.contains_key(header);
                let more = More { start: asked(proto_shim::START_HEADER), clear: asked(proto_shim::CLEAR_HEADER) };
                self.call(context, "create", |service| service.create(request, more)).await
            }
        }
    };
    (@ Empty) => { Empty };
    (@ $response:ident) => { v3::$response };
}

macro_rules! task {
    ($version:ident) => {
        delegate! { $version:
            state(StateRequest) -> StateResponse;
            start(StartRequest) -> StartResponse;
            delete(DeleteRequest) -> DeleteResponse;
            pids(PidsRequest) -> PidsResponse;
            pause(PauseRequest) -> Empty;
            resume(ResumeRequest) -> Empty;
            checkpoint(CheckpointTaskRequest) -> Empty;
            kill(KillRequest) -> Empty;
            exec(ExecProcessRequest) -> Empty;
            resize_pty(ResizePtyRequest) -> Empty;
            close_io(CloseIORequest) -> Empty;
            update(UpdateTaskRequest) -> Empty;
            wait(WaitRequest) -> WaitResponse;
            stats(StatsRequest) -> StatsResponse;
            connect(ConnectRequest) -> ConnectResponse;
            shutdown(ShutdownRequest) -> Empty;
        }
    };
}

task!(v2);
task!(v3);
