//! The server: one thread, task v2 and v3 on one socket, until the daemon says Shutdown or SIGTERM comes.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use errors::{Context, Error, Kind, Result, WithKind};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use ttrpc::asynchronous::Server;
use ttrpc::asynchronous::transport::Listener;

use crate::args::Args;
use crate::bundle::Bundle;
use crate::publisher::Publisher;
use crate::ready::Prepared;
use crate::reaper;
use crate::service::Service;
use crate::{log, rpc, socket};

/// The socket's number in a server left behind by `start`.
const LISTENER: i32 = 3;
/// How long the daemon may take for the last events.
const LAST_EVENTS: Duration = Duration::from_secs(3);
/// How long answers under way may take.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A runtime without threads beside this one.
///
/// # Errors
/// Fails if there are no descriptors left.
pub(crate) fn runtime() -> Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    // Nothing here is handed to blocking threads; if a library does, one small one must do.
    builder.enable_all().max_blocking_threads(1).thread_stack_size(128 << 10);
    builder.build().context(|| "start the runtime")
}

/// Serves until told to stop.
///
/// # Errors
/// Fails if it cannot begin to serve.
pub(crate) fn run(args: Args, ready: Option<Prepared>) -> Result<()> {
    // Before anything else is opened, which might take the number of a socket that is not there.
    let handed = Handed::take()?;
    let listener = match handed.listener {
        Some(listener) => listener,
        None => listener(&args)?,
    };
    listener.set_nonblocking(true).context(|| "prepare the socket")?;
    let boot = marks::within(marks::trace::from_environment(), || marks::step("shim.serve.boot"))?;
    reaper::give_up_huge_pages();
    nix::sys::prctl::set_child_subreaper(true).kind(Kind::Internal, || "become a subreaper")?;
    log::open(Path::new("log"), &args.id, &args.namespace, args.debug);
    let served = runtime()?.block_on(serve(args, listener, handed.client, ready, boot));
    if let Err(error) = &served {
        log::error!("{}", error.chain());
    }
    served
}

async fn serve(
    args: Args,
    listener: std::os::unix::net::UnixListener,
    client: Option<std::os::unix::net::UnixStream>,
    ready: Option<Prepared>,
    boot: marks::Step,
) -> Result<()> {
    let (reaper, executor) = ready.map(Prepared::apart).unzip();
    let reaper = reaper.unwrap_or_default();
    tokio::spawn(reaper.run().context(|| "listen for SIGCHLD")?);
    let mut terminate = signal(SignalKind::terminate()).context(|| "listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context(|| "listen for SIGINT")?;
    // A shim that is stopped when the daemon, its parent, dies gets one (setpgid(2): orphaned process groups), and must not end by it.
    // Heard rather than ignored, since containers would inherit that.
    let _hangup = signal(SignalKind::hangup()).context(|| "listen for SIGHUP")?;

    let publisher = Publisher::new(&args.namespace);
    if let Some(address) = events_address(&args) {
        tokio::spawn(publisher.clone().run(address));
    }
    let service = Arc::new(Service::new(&args.namespace, reaper, publisher.clone(), client, executor));
    let listener = UnixListener::from_std(listener).context(|| "watch the socket")?;
    let path = path_of(&listener);
    let mut server = Server::new()
        .add_listener(Listener::from(listener))
        .register_service(proto_shim::task::v2::create_task(Arc::new(rpc::Rpc::new(service.clone()))))
        .register_service(proto_shim::task::v3::create_task(Arc::new(rpc::Rpc::new(service.clone()))));
    server.start().await.kind(Kind::Internal, || "serve")?;
    log::debug!("serving, pid {}", std::process::id());
    sys::heap::trim();
    drop(boot);

    tokio::select! {
        () = service.shut_down() => log::debug!("shut down by the daemon"),
        _ = terminate.recv() => log::info!("ended by SIGTERM"),
        _ = interrupt.recv() => log::info!("ended by SIGINT"),
    }
    marks::passed("shim.serve.ending");
    remove_socket(path);
    server.stop_listen().await;
    // Whoever is to be told has this long; the process ends in any case.
    let _ = tokio::time::timeout(LAST_EVENTS, publisher.flushed()).await;
    let _ = tokio::time::timeout(LAST_ANSWERS, server.disconnect()).await;
    Ok(())
}

fn listener(args: &Args) -> Result<std::os::unix::net::UnixListener> {
    match &args.socket {
        Some(path) => socket::bind_anew(path),
        None => Ok(std::os::unix::net::UnixListener::from(inherited()?)),
    }
}

/// What a daemon hands over that starts the server itself, in the place of the standard streams.
#[derive(Default)]
struct Handed {
    /// Standard input: where to serve.
    listener: Option<std::os::unix::net::UnixListener>,
    /// Standard output: a client of the first container's streams.
    client: Option<std::os::unix::net::UnixStream>,
}

impl Handed {
    /// Takes them, and leaves nothing but /dev/null behind.
    fn take() -> Result<Handed> {
        let stdin = std::io::stdin();
        if !rustix::net::sockopt::socket_acceptconn(&stdin).unwrap_or(false) {
            return Ok(Handed::default());
        }
        let named = || "take over the sockets";
        let null = File::options().read(true).write(true).open("/dev/null").context(|| "open /dev/null")?;
        let listener = stdin.as_fd().try_clone_to_owned().context(named)?;
        let stdout = std::io::stdout();
        let is_client = rustix::net::sockopt::socket_type(&stdout).is_ok();
        let client = is_client.then(|| stdout.as_fd().try_clone_to_owned()).transpose().context(named)?;
        rustix::stdio::dup2_stdin(&null).kind(Kind::Internal, named)?;
        rustix::stdio::dup2_stdout(&null).kind(Kind::Internal, named)?;
        Ok(Handed { listener: Some(listener.into()), client: client.map(Into::into) })
    }
}

fn inherited() -> Result<OwnedFd> {
    let fd = sys::spawn_fds::inherited_fd(LISTENER).context(|| "take over the socket from descriptor 3")?;
    match rustix::net::sockopt::socket_acceptconn(&fd) {
        Ok(true) => Ok(fd),
        _ => Err(Error::precondition(
            "descriptor 3 is no listening socket: call with `start`, or with -socket",
        )),
    }
}

/// The daemon's ttrpc socket lies beside its gRPC socket unless the environment says otherwise.
fn events_address(args: &Args) -> Option<String> {
    let told = std::env::var("TTRPC_ADDRESS").ok().filter(|address| !address.is_empty());
    told.or_else(|| (!args.address.is_empty()).then(|| format!("{}.ttrpc", args.address)))
}

/// Where the socket's file is. One that was bound through a descriptor of its directory does not know.
fn path_of(listener: &UnixListener) -> Option<PathBuf> {
    let path = listener.local_addr().ok()?.as_pathname()?.to_owned();
    (!path.starts_with("/proc")).then_some(path)
}

/// A daemon that finds no socket knows that there is no shim.
fn remove_socket(path: Option<PathBuf>) {
    let kept = || Bundle::new(".").read_address()?.strip_prefix("unix://").map(PathBuf::from);
    if let Some(path) = path.or_else(kept) {
        // It may have been removed together with the bundle's directory.
        let _ = fs::remove_file(path);
    }
}
