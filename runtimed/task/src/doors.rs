//! Doors for tests: bytes as a shim, or whoever could write into a bundle, may have left them.

use std::path::Path;

use ids::{ContainerId, Namespace};

use crate::Config;
use crate::bundle::{Bundle, remapped_group};
use crate::shim_start::answer;

/// What a shim prints at start. An answer that is taken leads to a unix socket, by ttrpc.
pub fn shim_answer(bytes: &[u8]) {
    if let Ok(bootstrap) = answer::parse(bytes) {
        assert!(bootstrap.address.starts_with("unix://") && bootstrap.protocol == "ttrpc");
    }
}

/// The spec that a client gives for a task.
pub fn spec(bytes: &[u8]) {
    let _ = remapped_group(bytes);
}

/// Reads what the bundle of `id` in `namespace` keeps.
pub fn bundle(config: &Config, namespace: &Namespace, id: &ContainerId) {
    let bundle = Bundle::of(config, namespace, id);
    let _ = bundle.read_bootstrap();
    let _ = bundle.read_binary();
    if let Ok(Some(ended)) = bundle.read_exit() {
        let _ = ended.exit();
    }
}

/// Where the bundle of `id` in `namespace` is.
pub fn bundle_path(config: &Config, namespace: &Namespace, id: &ContainerId) -> Box<Path> {
    Bundle::of(config, namespace, id).path().into()
}
