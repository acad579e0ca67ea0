//! The record as it is stored. New fields need a default, so that older records can be read.

use std::collections::BTreeMap;
use std::time::SystemTime;

use ids::{ContainerId, Labels};
use metadata::Table;
use prost_types::Any;
use serde::{Deserialize, Serialize};

use crate::container::Container;

/// By namespace and id.
pub(crate) const TABLE: Table<Record> = Table::namespaced("containers");

#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    id: ContainerId,
    #[serde(default)]
    labels: Labels,
    #[serde(default)]
    image: String,
    runtime: String,
    #[serde(default)]
    runtime_options: Option<Message>,
    #[serde(default)]
    spec: Option<Message>,
    #[serde(default)]
    snapshotter: String,
    #[serde(default)]
    snapshot_key: String,
    created_at: SystemTime,
    updated_at: SystemTime,
    #[serde(default)]
    extensions: BTreeMap<String, Message>,
    #[serde(default)]
    sandbox: String,
}

/// An `Any`.
#[derive(Serialize, Deserialize)]
struct Message {
    type_url: String,
    #[serde(with = "serde_bytes")]
    value: Vec<u8>,
}

impl From<Container> for Record {
    fn from(container: Container) -> Record {
        Record {
            id: container.id,
            labels: container.labels,
            image: container.image,
            runtime: container.runtime,
            runtime_options: container.runtime_options.map(Message::from),
            spec: container.spec.map(Message::from),
            snapshotter: container.snapshotter,
            snapshot_key: container.snapshot_key,
            created_at: container.created_at,
            updated_at: container.updated_at,
            extensions: container.extensions.into_iter().map(|(name, any)| (name, any.into())).collect(),
            sandbox: container.sandbox,
        }
    }
}

impl From<Record> for Container {
    fn from(record: Record) -> Container {
        Container {
            id: record.id,
            labels: record.labels,
            image: record.image,
            runtime: record.runtime,
            runtime_options: record.runtime_options.map(Any::from),
            spec: record.spec.map(Any::from),
            snapshotter: record.snapshotter,
            snapshot_key: record.snapshot_key,
            created_at: record.created_at,
            updated_at: record.updated_at,
            extensions: record.extensions.into_iter().map(|(name, any)| (name, any.into())).collect(),
            sandbox: record.sandbox,
        }
    }
}

impl From<Any> for Message {
    fn from(any: Any) -> Message {
        Message { type_url: any.type_url, value: any.value }
    }
}

impl From<Message> for Any {
    fn from(message: Message) -> Any {
        Any { type_url: message.type_url, value: message.value }
    }
}
