//! The daemon's life: sockets first, so that clients queue rather than fail; then the rooms; then service until a signal.

use std::sync::Arc;
use std::time::Duration;

use errors::{Context, Error, Kind, Result, WithKind};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::Config;
use crate::greeting::greeted;
use crate::listen::{bind, ttrpc_path};
use crate::notify::notify;
use crate::tracing_layer::TraceLayer;
use crate::underway::{Underway, tell_when_asked};
use crate::wiring::{self, House};
use crate::{cgroups, guests, rest};

/// What clients of containerd's API are told: a line that serves every service which they call at that version.
const CONTAINERD_API: &str = "1.7.27";
/// Bytes that a client may send for a call before the daemon has read what came before; then it waits.
const STREAM: u32 = 1 << 20;
/// The same for all calls of a connection together: some that are not read must not hold up the others.
const CONNECTION: u32 = 32 << 20;
/// How long calls, and then flows, that are under way may take once the daemon is to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT. Containers go on.
pub async fn serve(config: &Config) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context(|| "listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context(|| "listen for SIGINT")?;
    task::raise_files();
    let address = &config.grpc.address;
    let grpc = bind(address, config.grpc.uid, config.grpc.gid).await?;
    let ttrpc = bind(&ttrpc_path(address), 0, 0).await?;
    let house = wiring::open(config).await?;
    let mut events = serve_ttrpc(&house, ttrpc).await?;
    notify("READY=1");
    tokio::spawn(rest::keep_small());
    tokio::spawn(house.flows.clone().keep_restarting(Duration::from_secs(config.container.restart_interval)));
    tracing::info!(address = %address.display(), version = telemetry::build::VERSION, "serving");
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping; containers go on");
        notify("STOPPING=1");
    };
    serve_grpc(config, &house, grpc, stop).await?;
    if let Err(error) = events.shutdown().await {
        tracing::warn!(%error, "the events' socket did not close well");
    }
    if tokio::time::timeout(GRACE, house.flows.settled()).await.is_err() {
        tracing::info!("work that is under way is left to the next daemon");
    }
    house.rooms.tasks.close().await;
    cgroups::tidy(&house.rooms);
    for path in [address.clone(), ttrpc_path(address)] {
        std::fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

async fn serve_ttrpc(house: &House, listener: UnixListener) -> Result<ttrpc::asynchronous::Server> {
    let shims = guests::guests(listener, guests::shim_seats(), "shims");
    let mut server = ttrpc::asynchronous::Server::new()
        .add_listener(ttrpc::asynchronous::transport::Listener::new(shims))
        .register_service(api::ttrpc_services(&house.rooms));
    server.start().await.kind(Kind::Internal, || "serve the events' socket")?;
    Ok(server)
}

async fn serve_grpc(
    config: &Config,
    house: &House,
    listener: UnixListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let mut routes = tonic::service::Routes::builder();
    api::add_services(&mut routes, &house.rooms, server(config, house));
    let traces = traces(config)?;
    let underway = Underway::default();
    tokio::spawn(tell_when_asked(underway.clone(), house.flows.clone())?);
    engine::add(&mut routes, house.flows.clone(), about(config, house), traces.clone());
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status("", tonic_health::ServingStatus::Serving).await;
    routes.add_service(health);
    let (told, hear) = tokio::sync::oneshot::channel();
    let seats = match config.grpc.max_connections {
        0 => guests::seats(),
        seats => seats,
    };
    let guests = guests::guests(listener, seats, "clients");
    let patience = Duration::from_secs(config.grpc.greeting_timeout);
    let serving = tonic::transport::Server::builder()
        .http2_max_header_list_size(64 << 10)
        .max_concurrent_streams(config.grpc.max_calls)
        .initial_stream_window_size(STREAM)
        .initial_connection_window_size(CONNECTION)
        .layer(TraceLayer(traces))
        .layer(underway.clone())
        .add_routes(routes.routes())
        .serve_with_incoming_shutdown(greeted(guests, patience), async move {
            stop.await;
            let _ = told.send(());
        });
    let patience = async move {
        // An error means that the server ended by itself; then there is nothing to wait for.
        if hear.await.is_ok() {
            tokio::time::sleep(GRACE).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        served = serving => served.map_err(|error| {
            Error::with_source(Kind::Internal, format!("serve on {}", config.grpc.address.display()), error)
        }),
        () = patience => {
            tracing::info!("calls that were under way are cut");
            Ok(())
        }
    }
}

/// Traces that nobody has fetched from an earlier daemon go.
fn traces(config: &Config) -> Result<Arc<marks::Traces>> {
    let folder = config.state.join("traces");
    marks::Traces::at(&folder).map(Arc::new).context(|| format!("empty {}", folder.display()))
}

fn server(config: &Config, house: &House) -> api::Server {
    api::Server {
        version: CONTAINERD_API.to_owned(),
        revision: telemetry::build::REVISION.to_owned(),
        uuid: house.uuid.clone(),
        root: config.root.clone(),
    }
}

fn about(config: &Config, house: &House) -> engine::About {
    engine::About {
        version: telemetry::build::VERSION.to_owned(),
        revision: telemetry::build::REVISION.to_owned(),
        containerd_api: CONTAINERD_API.to_owned(),
        id: house.uuid.clone(),
        root: config.root.display().to_string(),
        state: config.state.display().to_string(),
        runtimes: config.runtime.shims.keys().cloned().collect(),
    }
}
