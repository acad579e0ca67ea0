//! Sequences over rooms: what takes more than one room is a flow. Each step that makes something is paired
//! with its undo, and a flow that has begun goes on to its end even when its caller
//! vanishes; pull and load alone end with their caller, and what they brought goes with their lease.

pub mod attach;
mod busy;
pub mod config;
mod create;
pub mod doors;
mod exec;
mod exit;
mod files;
mod find;
mod flow_lease;
pub mod gc;
mod images;
mod inspect;
mod kill;
mod list;
mod live;
pub mod mount_points;
mod names;
mod output;
mod pause;
mod recover;
mod remove;
mod restart;
mod rooms;
mod spec;
mod start;
mod stop;
mod tables;
mod top;
mod undo;
mod user;

use std::path::PathBuf;
use std::sync::Arc;

use errors::{Error, Result};
use ids::{ContainerId, Namespace};

pub use exec::ExecRequest;
pub use find::FoundImage;
pub use images::{ImageLine, Removed};
pub use kill::parse_signal;
pub use list::{Line, Phase};
pub use live::Follower;
pub use output::LogQuery;
pub use rooms::Rooms;
pub use start::{Started, Want};
pub use top::Table;

use busy::Busy;
use live::Live;

/// What the daemon's configuration says to the flows.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Durable files of containers: output, hosts, resolv.conf.
    pub root: PathBuf,
    /// Files that may vanish with a reboot: sockets, fifos.
    pub state: PathBuf,
    /// The runtime of containers that ask for none.
    pub runtime: String,
    /// The snapshotter of containers that ask for none.
    pub snapshotter: String,
    /// Bytes of a container's output file before it is rotated.
    pub log_max_size: u64,
    /// Output files kept for each container.
    pub log_max_files: u32,
    /// The capabilities that the daemon itself has: what a privileged container gets.
    pub capabilities: Vec<String>,
    /// The default seccomp profile is applied.
    pub seccomp: bool,
    /// A layer of what containers need for their mounts ([`mount_points::make`]), where roots are overlays.
    pub mount_points: Option<PathBuf>,
}

/// The flows of one daemon. Cheap to clone.
#[derive(Clone)]
pub struct Flows {
    inner: Arc<Inner>,
}

struct Inner {
    rooms: Rooms,
    settings: Settings,
    live: Live,
    busy: Busy,
    users: user::Known,
}

impl Flows {
    /// Puts the flows over `rooms`. Call [`Flows::recover`] before the first request.
    pub fn new(rooms: Rooms, settings: Settings) -> Flows {
        let (live, busy, users) = (Live::default(), Busy::default(), user::Known::default());
        Flows { inner: Arc::new(Inner { rooms, settings, live, busy, users }) }
    }

    /// The rooms.
    pub fn rooms(&self) -> &Rooms {
        &self.inner.rooms
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    fn live(&self) -> &Live {
        &self.inner.live
    }

    /// Durable files of one container.
    fn container_root(&self, namespace: &Namespace, id: &ContainerId) -> PathBuf {
        self.inner.settings.root.join(namespace.as_str()).join(id.as_str())
    }

    /// Sockets and fifos of one container.
    fn container_state(&self, namespace: &Namespace, id: &ContainerId) -> PathBuf {
        self.inner.settings.state.join(namespace.as_str()).join(id.as_str())
    }

    /// Runs a flow to its end whether or not the caller waits for it: a client that vanishes leaves nothing half done.
    async fn to_the_end<T: Send + 'static>(
        &self,
        flow: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let busy = self.inner.busy.enter();
        let running = tokio::spawn(marks::carry(async move {
            let _busy = busy;
            flow.await
        }));
        running.await.unwrap_or_else(|error| {
            Err(Error::with_source(errors::Kind::Internal, "a flow ended without an answer", error))
        })
    }

    /// A line for each container that a flow keeps others out of: which flow, and since when.
    pub fn held(&self) -> Vec<String> {
        self.live().held()
    }

    /// Waits until no flow is under way, for a daemon that is to stop. What goes on longer than the caller waits is taken up by the next
    /// daemon.
    pub async fn settled(&self) {
        self.inner.busy.settled().await;
    }
}
