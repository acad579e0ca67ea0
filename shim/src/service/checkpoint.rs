//! Checkpoint: the executor writes the container's processes down, and ends them if that is asked for.

use std::path::Path;
use std::sync::Arc;

use errors::{Context, Error, Kind, Result, WithKind};
use proto_shim::options::CheckpointOptions as Wire;
use proto_shim::task::v3::CheckpointTaskRequest;
use proto_shim::{Any, Empty, unpack};
use runc_client::CheckpointOptions;

use super::{Service, executor_error};
use crate::container::Container;
use crate::log;
use crate::state::Verb;

/// Where criu works in the bundle, unless it is told another place.
const WORK: &str = "criu-work";
/// What is kept of its log after a failure.
const LOG: &str = "criu-dump.log";

impl Service {
    /// # Errors
    /// FailedPrecondition for a container that does not run; whatever the executor and criu say.
    pub(crate) async fn checkpoint(self: Arc<Self>, request: CheckpointTaskRequest) -> Result<Empty> {
        let container = self.container(&request.id)?;
        let asked = options(request.options.as_ref())?;
        let _operation = container.init.operation.lock().await;
        container.init.allows(Verb::Checkpoint)?;
        let own = container.bundle.path().join(WORK);
        let work = if asked.work_path.is_empty() { own.clone() } else { asked.work_path.clone().into() };
        let written = write(&container, &request.path, &work, asked).await;
        if work == own
            && let Err(error) = std::fs::remove_dir_all(&own)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warning!("remove {}: {error}", own.display());
        }
        written.map(|()| Empty::default())
    }
}

async fn write(container: &Container, images: &str, work: &Path, asked: Wire) -> Result<()> {
    let options = CheckpointOptions {
        image_path: images.into(),
        work_path: work.to_owned(),
        leave_running: !asked.exit,
        tcp_established: asked.open_tcp,
        ext_unix_sk: asked.external_unix_sockets,
        shell_job: asked.terminal,
        file_locks: asked.file_locks,
        empty_namespaces: asked.empty_namespaces,
        cgroups_mode: asked.cgroups_mode,
        parent_path: asked.parent_path,
    };
    // How long it takes goes by the size of its memory: no limit for the executor fits that.
    let runc = container.runc.clone().limit(None);
    let Err(error) = runc.checkpoint(&container.id, options).await else { return Ok(()) };
    let error = executor_error("OCI runtime checkpoint failed", error);
    let kept = container.bundle.path().join(LOG);
    let copied = std::fs::copy(work.join("dump.log"), &kept).context(|| format!("keep {}", kept.display()));
    match copied {
        Ok(_) => Err(Error::new(error.kind(), format!("{} path= {}", error.message(), kept.display()))),
        // The executor did not come to ask criu.
        Err(_) => Err(error),
    }
}

fn options(any: Option<&Any>) -> Result<Wire> {
    let Some(any) = any.filter(|any| !any.type_url.is_empty() || !any.value.is_empty()) else {
        return Ok(Wire::default());
    };
    let known = unpack::<Wire>(any).kind(Kind::InvalidArgument, || "parse the checkpoint options")?;
    known
        .ok_or_else(|| Error::invalid(format!("checkpoint options of type {:?} are not known", any.type_url)))
}
