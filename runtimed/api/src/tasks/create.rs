//! Creates a task from its container's record.

use std::path::Path;

use ::diff::Compression;
use container::Container;
use errors::{Error, Result, WithKind};
use flows::Rooms;
use ids::{ContainerId, Digest};
use prost_types::Any;
use proto_containerd::options::runc::Options;
use proto_containerd::services::tasks::CreateTaskRequest;
use proto_containerd::types::Descriptor;
use proto_containerd::unpack;
use task::{Checkpoint, Create, Io};

use super::{checkpoint, convert};
use crate::caller::Caller;
use crate::diff::blocking;
use crate::scratch::Folder;

/// Creates the task; returns the first process's pid.
pub(super) async fn create(
    rooms: &Rooms,
    caller: &Caller,
    id: &ContainerId,
    request: CreateTaskRequest,
) -> Result<u32> {
    let container = rooms.containers.get(&caller.namespace, id)?;
    if !container.sandbox.is_empty() {
        let message = format!("task {id}: running in a sandbox ({}) is not served", container.sandbox);
        return Err(Error::unimplemented(message));
    }
    if !request.task_api_address.is_empty() {
        let message =
            format!("task {id}: a task service of its own ({}) is not served", request.task_api_address);
        return Err(Error::unimplemented(message));
    }
    // Holds an unpacked checkpoint until the task has taken it over.
    let mut folder = None;
    // As with containerd, a path in the options comes before an image.
    let checkpoint = match (image_path(request.options.as_ref())?.as_str(), request.checkpoint) {
        ("", None) => Checkpoint::None,
        ("", Some(image)) => {
            let unpacked = folder.insert(restored(rooms, caller, &image).await?);
            Checkpoint::Given(unpacked.path().to_owned())
        }
        (path, _) => Checkpoint::Theirs(path.into()),
    };
    let io = Io {
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        terminal: request.terminal,
    };
    let create = Create {
        runtime: if request.runtime_path.is_empty() {
            container.runtime.clone()
        } else {
            request.runtime_path
        },
        options: options(request.options, &container),
        spec: spec(&container)?,
        rootfs: convert::mounts(request.rootfs),
        io,
        checkpoint,
    };
    let pid = rooms.tasks.create(&caller.namespace, id, create).await;
    drop(folder);
    pid
}

/// The task's own options, or else the container's.
fn options(own: Option<Any>, container: &Container) -> Option<Any> {
    own.filter(|options| !options.value.is_empty()).or_else(|| container.runtime_options.clone())
}

fn spec(container: &Container) -> Result<Vec<u8>> {
    match &container.spec {
        Some(spec) if !spec.value.is_empty() => Ok(spec.value.clone()),
        _ => Err(Error::invalid(format!("container {} has no spec", container.id))),
    }
}

/// Where the options say that a checkpoint lies; options of other runtimes say nothing.
fn image_path(options: Option<&Any>) -> Result<String> {
    let Some(options) = options else { return Ok(String::new()) };
    let options: Option<Options> = unpack(options)
        .kind(errors::Kind::InvalidArgument, || format!("decode task options {:?}", options.type_url))?;
    Ok(options.map(|options| options.criu_image_path).unwrap_or_default())
}

/// Unpacks a checkpoint from the content store.
async fn restored(rooms: &Rooms, caller: &Caller, image: &Descriptor) -> Result<Folder> {
    if image.media_type != checkpoint::IMAGE {
        return Err(Error::invalid(format!("unsupported checkpoint type {:?}", image.media_type)));
    }
    let digest = Digest::parse(&image.digest)?;
    let file = rooms.content.open_blob(&caller.namespace, &digest)?.into_std()?;
    let folder = Folder::new(&rooms.scratch, "restore")?;
    let mounts = [bind(folder.path())];
    let (limits, scratch) = (rooms.layer_limits.clone(), rooms.scratch.clone());
    blocking(move || ::diff::apply(&mounts, file, Compression::None, &limits, &scratch)).await?;
    Ok(folder)
}

/// A folder, as what layers are applied to and made from.
pub(super) fn bind(folder: &Path) -> snapshot::Mount {
    snapshot::Mount {
        kind: "bind".to_owned(),
        source: folder.to_string_lossy().into_owned(),
        target: String::new(),
        options: vec!["rbind".to_owned(), "rw".to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use proto_containerd::pack;

    use super::*;

    #[test]
    fn image_path_is_read_from_runcs_options_alone() {
        let options = Options { criu_image_path: "/c".into(), ..Default::default() };
        assert_eq!(image_path(Some(&pack(&options))).unwrap(), "/c");
        let other = Any { type_url: "some.Other".into(), value: b"\xff".to_vec() };
        assert_eq!(image_path(Some(&other)).unwrap(), "");
        assert_eq!(image_path(None).unwrap(), "");
    }

    #[test]
    fn broken_options_are_refused() {
        let broken = Any { type_url: "containerd.runc.v1.Options".into(), value: b"\xff".to_vec() };
        assert_eq!(image_path(Some(&broken)).unwrap_err().kind(), errors::Kind::InvalidArgument);
    }
}
