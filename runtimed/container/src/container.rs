//! The record as callers see it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use filters::{Fields, map_field};
use ids::{ContainerId, Labels};
use prost_types::Any;

/// What a container is made of. The spec stays raw JSON in its `Any`: unknown fields survive.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its id, unique in the namespace.
    pub id: ContainerId,
    /// Labels of clients.
    pub labels: Labels,
    /// The name of the image it was made from, or empty.
    pub image: String,
    /// The runtime's name, such as `io.containerd.runc.v2`; immutable.
    pub runtime: String,
    /// The runtime's options.
    pub runtime_options: Option<Any>,
    /// The OCI runtime spec, JSON, under containerd's type URL.
    pub spec: Option<Any>,
    /// The snapshotter of its root; immutable.
    pub snapshotter: String,
    /// The key of its root snapshot.
    pub snapshot_key: String,
    /// When it was created; assigned here.
    pub created_at: SystemTime,
    /// When it was last changed; assigned here.
    pub updated_at: SystemTime,
    /// Data of clients, by name.
    pub extensions: BTreeMap<String, Any>,
    /// The sandbox it belongs to, or empty.
    pub sandbox: String,
}

impl Fields for Container {
    fn field(&self, path: &[&str]) -> Option<String> {
        let text = |value: &str| (!value.is_empty()).then(|| value.to_owned());
        match path {
            ["id", ..] => text(self.id.as_str()),
            ["runtime", "name", ..] => text(&self.runtime),
            ["image", ..] => text(&self.image),
            ["labels", key @ ..] => map_field(&self.labels, key),
            _ => None,
        }
    }
}
