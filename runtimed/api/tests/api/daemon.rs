//! A server for one test.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use errors::Result;
use flows::Rooms;
use gc::{Collector, Graph, Heap};
use hyper_util::rt::TokioIo;
use ids::Namespace;
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Request;
use tonic::transport::{Channel, Endpoint, Server, Uri};

/// The namespace of all tests.
pub const NAMESPACE: &str = "test";

/// Serves until it is dropped.
pub struct Daemon {
    pub rooms: Rooms,
    pub channel: Channel,
    pub root: TempDir,
    server: JoinHandle<()>,
    /// Takes the shims' events until it is dropped.
    _shims: ttrpc::asynchronous::Server,
}

/// Holds nothing, so nothing is ever collected.
struct Empty(watch::Sender<u64>);

impl Heap for Empty {
    fn graph(&self) -> Result<Graph> {
        Ok(Graph::default())
    }

    async fn sweep(&self) -> Result<usize> {
        Ok(0)
    }

    fn has_leftovers(&self) -> bool {
        false
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

impl Daemon {
    pub async fn start() -> Daemon {
        let root = TempDir::new().unwrap();
        let rooms = rooms(root.path()).await.unwrap();
        let socket = root.path().join("api.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let description = api::Server {
            version: "1.7.0".into(),
            revision: "r".into(),
            uuid: "00000000-0000-4000-8000-000000000000".into(),
            root: root.path().into(),
        };
        let routes = api::routes(&rooms, description);
        let serving =
            Server::builder().add_routes(routes).serve_with_incoming(UnixListenerStream::new(listener));
        let server = tokio::spawn(async move { serving.await.unwrap() });
        let channel = connect(socket).await;
        let _shims = shims(&rooms, root.path()).await;
        Daemon { rooms, channel, root, server, _shims }
    }

    pub fn namespace(&self) -> Namespace {
        Namespace::parse(NAMESPACE).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Where the shims' events are taken.
pub fn ttrpc_address(root: &Path) -> PathBuf {
    root.join("api.sock.ttrpc")
}

async fn shims(rooms: &Rooms, root: &Path) -> ttrpc::asynchronous::Server {
    let address = format!("unix://{}", ttrpc_address(root).display());
    let server = ttrpc::asynchronous::Server::new().bind(&address).unwrap();
    let mut server = server.register_service(api::ttrpc_services(rooms));
    server.start().await.unwrap();
    server
}

async fn connect(socket: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
}

async fn rooms(root: &Path) -> Result<Rooms> {
    let store = metadata::Store::open(&root.join("metadata"))?;
    let events = events::Bus::new();
    let content = content::Content::open(root, store.clone(), events.clone())?;
    let snapshotters = snapshot::Snapshotters::open(root, store.clone(), events.clone())?;
    let names = image::Names::new(store.clone(), events.clone());
    let config = image::RegistryConfig { scratch: Some(root.join("scratch")), ..Default::default() };
    let images = image::Images::new(config, names.clone(), content.clone(), snapshotters.clone());
    let scratch = root.join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    Ok(Rooms {
        events: events.clone(),
        namespaces: namespace::Namespaces::new(store.clone(), events.clone()),
        containers: container::Containers::new(store.clone(), events.clone()),
        content,
        snapshotters,
        names,
        images,
        leases: lease::Leases::new(store.clone()),
        tasks: task::Tasks::open(tasks(root), events).await?,
        collector: Collector::start(Arc::new(Empty(watch::Sender::new(0)))),
        store,
        scratch,
        layer_limits: ::diff::Limits { bytes: 1 << 30, entries: 100_000, ..Default::default() },
    })
}

fn tasks(root: &Path) -> task::Config {
    task::Config {
        state: root.join("state"),
        root: root.join("root"),
        address: root.join("api.sock"),
        ttrpc_address: ttrpc_address(root),
        binary: "/bin/false".into(),
        runtimes: Default::default(),
        shim_timeout: Duration::from_secs(20),
        timeouts: task::Timeouts::default(),
        debug: false,
        standby: false,
    }
}

/// A request in the tests' namespace.
pub fn asked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("containerd-namespace", NAMESPACE.parse().unwrap());
    request
}

/// A request under a lease.
pub fn leased<T>(message: T, lease: &str) -> Request<T> {
    let mut request = asked(message);
    request.metadata_mut().insert("containerd-lease", lease.parse().unwrap());
    request
}

/// Makes a lease.
pub async fn lease(daemon: &Daemon, id: &str) {
    daemon.rooms.leases.create(&daemon.namespace(), id, Default::default()).await.unwrap();
}

/// What a lease holds, as "kind id", sorted.
pub fn held(daemon: &Daemon, id: &str) -> Vec<String> {
    let resources = daemon.rooms.leases.resources(&daemon.namespace(), id).unwrap();
    let mut held: Vec<_> =
        resources.into_iter().map(|found| format!("{} {}", found.kind, found.id)).collect();
    held.sort();
    held
}
