//! The task service: what can be asked of a shim, a file for each verb or group of like ones.

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use errors::{Error, Kind, Result};
use proto_shim::Empty;
use proto_shim::task::v3::ShutdownRequest;
use tokio::sync::watch;

use crate::container::Container;
use crate::process::Process;
use crate::publisher::Publisher;
use crate::ready::Executor;
use crate::reaper::Reaper;
use crate::sync::lock;

mod checkpoint;
mod control;
mod create;
mod delete;
mod exec;
mod exit;
mod kill;
mod query;
mod restore;
mod root;
mod start;

/// All containers of this shim.
pub(crate) struct Service {
    namespace: String,
    reaper: Reaper,
    publisher: Publisher,
    containers: Mutex<HashMap<String, Slot>>,
    shutdown: watch::Sender<bool>,
    /// A client of the first container's streams, from before it is there.
    first_client: Mutex<Option<UnixStream>>,
    /// An executor that waits for the first container.
    first_executor: Mutex<Option<Executor>>,
}

/// What our own daemon asks for beyond a creation.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct More {
    /// That the container is started.
    pub(crate) start: bool,
    /// That its deletion begins with its end.
    pub(crate) clear: bool,
}

/// A place in the list.
enum Slot {
    /// Being created.
    Reserved,
    Taken(Arc<Container>),
}

impl Service {
    pub(crate) fn new(
        namespace: &str,
        reaper: Reaper,
        publisher: Publisher,
        first_client: Option<UnixStream>,
        first_executor: Option<Executor>,
    ) -> Service {
        Service {
            namespace: namespace.to_owned(),
            reaper,
            publisher,
            containers: Mutex::default(),
            shutdown: watch::Sender::new(false),
            first_client: Mutex::new(first_client),
            first_executor: Mutex::new(first_executor),
        }
    }

    /// Resolves once the daemon has asked the shim to leave, and nothing keeps it.
    pub(crate) async fn shut_down(&self) {
        // The sender lives as long as `self`.
        let _ = self.shutdown.subscribe().wait_for(|down| *down).await;
    }

    /// Leaves if no container remains; otherwise does nothing, since the shim may serve a whole pod.
    pub(crate) async fn shutdown(&self, _: ShutdownRequest) -> Result<Empty> {
        if lock(&self.containers).is_empty() {
            self.shutdown.send_replace(true);
        }
        Ok(Empty::default())
    }

    fn container(&self, id: &str) -> Result<Arc<Container>> {
        match lock(&self.containers).get(id) {
            Some(Slot::Taken(container)) => Ok(container.clone()),
            _ => Err(Error::not_found("container not created: not found")),
        }
    }

    fn process(&self, id: &str, exec_id: &str) -> Result<(Arc<Container>, Arc<Process>)> {
        let container = self.container(id)?;
        let process = container.process(exec_id)?;
        Ok((container, process))
    }
}

/// An executor's failure, as the daemon's callers expect it: what was tried, then the executor's own words.
fn executor_error(tried: &str, error: runc_client::Error) -> Error {
    let kind = match error.kind() {
        runc_client::Kind::NotFound | runc_client::Kind::Finished => Kind::NotFound,
        runc_client::Kind::AlreadyExists => Kind::AlreadyExists,
        runc_client::Kind::WrongState => Kind::FailedPrecondition,
        runc_client::Kind::TimedOut => Kind::DeadlineExceeded,
        _ => Kind::Unknown,
    };
    match error.kind() {
        runc_client::Kind::Spawn | runc_client::Kind::Io => Error::with_source(kind, tried, error),
        _ => Error::new(kind, format!("{tried}: {}", error.message())),
    }
}

/// containerd allows 76 characters; names made of an id must stay below 255 bytes.
const LONGEST_ID: usize = 200;

/// A name that becomes part of a path.
fn check_id(what: &str, id: &str) -> Result<()> {
    let plain =
        !id.is_empty() && id.len() <= LONGEST_ID && id != "." && id != ".." && !id.contains(['/', '\0']);
    if plain { Ok(()) } else { Err(Error::invalid(format!("the {what} id {id:?} is not a plain name"))) }
}
