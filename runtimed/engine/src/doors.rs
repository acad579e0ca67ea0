//! Doors for tests: what a client may have sent.

use prost::Message as _;

use crate::config::container_config;
use crate::names::{Filters, glob};

/// A container's configuration, as protobuf. One that is taken names an image.
pub fn container(bytes: &[u8]) {
    let Ok(wire) = proto_engine::v1::ContainerConfig::decode(bytes) else { return };
    if let Ok(config) = container_config(Some(wire)) {
        assert!(!config.image.is_empty());
    }
}

/// docker's `--filter`, a text a line, and a pattern for a name.
pub fn filters(text: &str) {
    let texts: Vec<String> = text.lines().map(str::to_owned).collect();
    let _ = Filters::parse(&texts, &["name", "label", "status", "ancestor", "id", "exited"]);
    if let [pattern, name, ..] = texts.as_slice() {
        glob(pattern, name);
    }
}
