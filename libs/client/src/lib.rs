//! Typed gRPC client of the daemon: rctl, the tests and other programs embed it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use errors::{Error, Kind, Result};
use hyper_util::rt::TokioIo;
use proto_containerd::services;
use proto_engine::v1;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};

/// How long a daemon whose queue of connections is full may stay so.
const QUEUED: Duration = Duration::from_secs(30);
/// When to try again: the kernel tells nobody when there is room.
const AGAIN: Duration = Duration::from_millis(20);

/// The largest message either way, in bytes: containerd's.
const MESSAGE_LIMIT: usize = 16 << 20;

/// Puts the namespace, and the lease and the trace if there are such, into every call's headers.
#[derive(Clone, Debug)]
pub struct Headers {
    namespace: MetadataValue<Ascii>,
    lease: Option<MetadataValue<Ascii>>,
    trace: Option<MetadataValue<Ascii>>,
}

/// A connection in one namespace. Cheap to clone; calls run side by side on it.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    headers: Headers,
}

/// What every typed client speaks through.
pub type Transport = InterceptedService<Channel, Headers>;

macro_rules! typed {
    ($($(#[$doc:meta])* $name:ident: $client:ty;)+) => {
        impl Client {$(
            $(#[$doc])*
            pub fn $name(&self) -> $client {
                <$client>::new(InterceptedService::new(self.channel.clone(), self.headers.clone()))
                    .max_decoding_message_size(MESSAGE_LIMIT)
                    .max_encoding_message_size(MESSAGE_LIMIT)
            }
        )+}
    };
}

impl Client {
    /// Makes a client of the daemon at `socket`. The connection is made now: when nobody answers, the error of kind `Unavailable` names the socket.
    pub async fn connect(socket: &Path, namespace: &str) -> Result<Client> {
        let header = |value: &str| {
            MetadataValue::try_from(value).map_err(|error| {
                Error::with_source(Kind::InvalidArgument, format!("namespace {value:?}"), error)
            })
        };
        let headers = Headers { namespace: header(namespace)?, lease: None, trace: None };
        let path: PathBuf = socket.to_owned();
        let dial = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { dial(&path).await.map(TokioIo::new) }
        });
        // The authority is of no meaning on a unix socket, but HTTP/2 wants a well-formed one.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector(dial).await.map_err(
            |error| Error::with_source(Kind::Unavailable, format!("connect to {}", socket.display()), error),
        )?;
        Ok(Client { channel, headers })
    }

    /// The same connection under a lease: what calls make is held by it.
    pub fn with_lease(&self, lease: &str) -> Result<Client> {
        let mut client = self.clone();
        client.headers.lease =
            Some(MetadataValue::try_from(lease).map_err(|error| {
                Error::with_source(Kind::InvalidArgument, format!("lease {lease:?}"), error)
            })?);
        Ok(client)
    }

    /// The same connection, its calls traced by the daemon under `id`: 1 to 64 hexadecimal digits.
    pub fn traced(&self, id: &str) -> Result<Client> {
        let mut client = self.clone();
        client.headers.trace =
            Some(MetadataValue::try_from(id).map_err(|error| {
                Error::with_source(Kind::InvalidArgument, format!("trace {id:?}"), error)
            })?);
        Ok(client)
    }
}

async fn dial(path: &Path) -> std::io::Result<UnixStream> {
    let begun = Instant::now();
    loop {
        match UnixStream::connect(path).await {
            // A full queue answers EAGAIN (unix(7)).
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && begun.elapsed() < QUEUED => {
                tokio::time::sleep(AGAIN).await;
            }
            other => return other,
        }
    }
}

typed! {
    /// The engine's containers.
    engine_containers: v1::containers_client::ContainersClient<Transport>;
    /// The engine's images.
    engine_images: v1::images_client::ImagesClient<Transport>;
    /// The daemon itself.
    engine_system: v1::system_client::SystemClient<Transport>;
    /// The daemon's traces.
    engine_traces: v1::traces_client::TracesClient<Transport>;
    /// containerd's containers.
    containers: services::containers::containers_client::ContainersClient<Transport>;
    /// containerd's content.
    content: services::content::content_client::ContentClient<Transport>;
    /// containerd's diff.
    diff: services::diff::diff_client::DiffClient<Transport>;
    /// containerd's events.
    events: services::events::events_client::EventsClient<Transport>;
    /// containerd's images.
    images: services::images::images_client::ImagesClient<Transport>;
    /// containerd's introspection.
    introspection: services::introspection::introspection_client::IntrospectionClient<Transport>;
    /// containerd's leases.
    leases: services::leases::leases_client::LeasesClient<Transport>;
    /// containerd's namespaces.
    namespaces: services::namespaces::namespaces_client::NamespacesClient<Transport>;
    /// containerd's snapshots.
    snapshots: services::snapshots::snapshots_client::SnapshotsClient<Transport>;
    /// containerd's tasks.
    tasks: services::tasks::tasks_client::TasksClient<Transport>;
    /// containerd's version.
    version: services::version::version_client::VersionClient<Transport>;
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("containerd-namespace", self.namespace.clone());
        if let Some(lease) = &self.lease {
            request.metadata_mut().insert("containerd-lease", lease.clone());
        }
        if let Some(trace) = &self.trace {
            request.metadata_mut().insert("runtimed-trace", trace.clone());
        }
        Ok(request)
    }
}
