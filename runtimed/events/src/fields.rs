//! What a filter may ask of an event: `namespace`, `topic`, and `event.*`, the fields of the message itself.
//!
//! As in containerd only texts, labels and `terminal` can be asked for, not numbers or times; a message of a type
//! that is not containerd's has no fields.

use std::collections::BTreeMap;

use filters::{Fields, map_field};
use prost::{Message, Name};
use prost_types::Any;
use proto_containerd::events::{
    ContainerCreate, ContainerDelete, ContainerUpdate, ContentCreate, ContentDelete, ImageCreate,
    ImageDelete, ImageUpdate, NamespaceCreate, NamespaceDelete, NamespaceUpdate, SandboxCreate, SandboxExit,
    SandboxStart, SnapshotCommit, SnapshotPrepare, SnapshotRemove, TaskCheckpointed, TaskCreate, TaskDelete,
    TaskExecAdded, TaskExecStarted, TaskExit, TaskOom, TaskPaused, TaskResumed, TaskStart,
};
use proto_containerd::unpack;

use crate::envelope::Envelope;

/// A message whose fields can be asked for.
trait Asked: Message + Name + Default {
    fn ask(&self, path: &[&str]) -> Option<String>;
}

impl Fields for Envelope {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["namespace"] => Some(self.namespace.to_string()),
            ["topic"] => text(&self.topic),
            ["event", path @ ..] => message(&self.event, path),
            _ => None,
        }
    }
}

/// The field of whichever message it is.
fn message(event: &Any, path: &[&str]) -> Option<String> {
    macro_rules! any_of {
        ($($message:ty),* $(,)?) => {
            None$(.or_else(|| ask::<$message>(event, path)))*
        };
    }
    any_of!(
        ContainerCreate,
        ContainerUpdate,
        ContainerDelete,
        ContentCreate,
        ContentDelete,
        ImageCreate,
        ImageUpdate,
        ImageDelete,
        NamespaceCreate,
        NamespaceUpdate,
        NamespaceDelete,
        SandboxCreate,
        SandboxStart,
        SandboxExit,
        SnapshotPrepare,
        SnapshotCommit,
        SnapshotRemove,
        TaskCreate,
        TaskStart,
        TaskDelete,
        TaskExit,
        TaskOom,
        TaskExecAdded,
        TaskExecStarted,
        TaskPaused,
        TaskResumed,
        TaskCheckpointed,
    )
}

fn ask<M: Asked>(event: &Any, path: &[&str]) -> Option<String> {
    // Asked of every type for every event: the name decides without a copy.
    let name = event.type_url.rsplit('/').next()?;
    if name.strip_suffix(M::NAME)?.strip_suffix('.')? != M::PACKAGE {
        return None;
    }
    // A message that does not decode has no fields.
    unpack::<M>(event).ok().flatten()?.ask(path)
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn labels(labels: &BTreeMap<String, String>, path: &[&str]) -> Option<String> {
    map_field(labels, path)
}

/// Messages that have only texts: the path, and the field it leads to.
macro_rules! texts {
    ($($message:ty { $($name:literal => $field:ident),* })*) => {
        $(impl Asked for $message {
            fn ask(&self, path: &[&str]) -> Option<String> {
                match path {
                    $([$name, ..] => text(&self.$field),)*
                    _ => None,
                }
            }
        })*
    };
}

texts! {
    ContainerDelete { "id" => id }
    ContentCreate { "digest" => digest, "mediaType" => media_type }
    ContentDelete { "digest" => digest }
    ImageDelete { "name" => name }
    NamespaceDelete { "name" => name }
    SandboxCreate { "sandbox_id" => sandbox_id }
    SandboxStart { "sandbox_id" => sandbox_id }
    SandboxExit { "sandbox_id" => sandbox_id }
    SnapshotPrepare { "key" => key, "parent" => parent, "snapshotter" => snapshotter }
    SnapshotCommit { "key" => key, "name" => name, "snapshotter" => snapshotter }
    SnapshotRemove { "key" => key, "snapshotter" => snapshotter }
    TaskStart { "container_id" => container_id }
    TaskDelete { "container_id" => container_id, "id" => id }
    TaskExit { "container_id" => container_id, "id" => id }
    TaskOom { "container_id" => container_id }
    TaskExecAdded { "container_id" => container_id, "exec_id" => exec_id }
    TaskExecStarted { "container_id" => container_id, "exec_id" => exec_id }
    TaskPaused { "container_id" => container_id }
    TaskResumed { "container_id" => container_id }
    TaskCheckpointed { "container_id" => container_id, "checkpoint" => checkpoint }
}

/// Messages of a name and labels.
macro_rules! named {
    ($($message:ty),*) => {
        $(impl Asked for $message {
            fn ask(&self, path: &[&str]) -> Option<String> {
                match path {
                    ["name", ..] => text(&self.name),
                    ["labels", key @ ..] => labels(&self.labels, key),
                    _ => None,
                }
            }
        })*
    };
}

named!(ImageCreate, ImageUpdate, NamespaceCreate, NamespaceUpdate);

impl Asked for ContainerCreate {
    fn ask(&self, path: &[&str]) -> Option<String> {
        match path {
            ["id", ..] => text(&self.id),
            ["image", ..] => text(&self.image),
            ["runtime", "name", ..] => text(&self.runtime.as_ref()?.name),
            _ => None,
        }
    }
}

impl Asked for ContainerUpdate {
    fn ask(&self, path: &[&str]) -> Option<String> {
        match path {
            ["id", ..] => text(&self.id),
            ["image", ..] => text(&self.image),
            ["labels", key @ ..] => labels(&self.labels, key),
            ["snapshot_key", ..] => text(&self.snapshot_key),
            _ => None,
        }
    }
}

impl Asked for TaskCreate {
    fn ask(&self, path: &[&str]) -> Option<String> {
        let io = || self.io.as_ref();
        match path {
            ["container_id", ..] => text(&self.container_id),
            ["bundle", ..] => text(&self.bundle),
            ["checkpoint", ..] => text(&self.checkpoint),
            ["io", "stdin", ..] => text(&io()?.stdin),
            ["io", "stdout", ..] => text(&io()?.stdout),
            ["io", "stderr", ..] => text(&io()?.stderr),
            ["io", "terminal", ..] => Some(io()?.terminal.to_string()),
            _ => None,
        }
    }
}
