//! The daemon's files, and what clients and shims tell it.

use std::collections::BTreeMap;
use std::time::Duration;

use ids::{ContainerId, Namespace};
use snapshot::Mount;

use crate::input::{fill, folder, texts};

/// What a shim prints at start.
pub fn shim_answer(bytes: &[u8]) {
    task::doors::shim_answer(bytes);
}

/// Files of a bundle, and the spec for one.
pub fn task_bundle(bytes: &[u8]) {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let config = task::Config {
        state: at("state"),
        root: at("root"),
        address: at("s"),
        ttrpc_address: at("t"),
        binary: at("b"),
        runtimes: BTreeMap::new(),
        shim_timeout: Duration::from_secs(1),
        debug: false,
        timeouts: task::Timeouts::default(),
        standby: false,
    };
    let (Ok(namespace), Ok(id)) = (Namespace::parse("fuzz"), ContainerId::parse("c1")) else { return };
    let path = task::doors::bundle_path(&config, &namespace, &id);
    std::fs::create_dir_all(&path).expect("create a folder");
    fill(&path, ["bootstrap.json", "address", "reported.json", "shim-binary-path"], bytes);
    task::doors::bundle(&config, &namespace, &id);
    task::doors::spec(bytes);
}

/// config.toml.
pub fn daemon_config(bytes: &[u8]) {
    let [text] = texts(bytes);
    runtimed::doors::config(&text);
}

/// A container as rctl asks for it.
pub fn engine_container(bytes: &[u8]) {
    engine::doors::container(bytes);
}

/// `--filter`.
pub fn engine_filter(bytes: &[u8]) {
    let [text] = texts(bytes);
    engine::doors::filters(&text);
}

/// A container's configuration as it is kept.
pub fn container_config(bytes: &[u8]) {
    flows::doors::container_config(bytes);
}

/// An image's USER, /etc/passwd and /etc/group.
pub fn user(bytes: &[u8]) {
    let [user, passwd, group] = texts(bytes);
    flows::doors::user(&user, &passwd, &group);
}

/// A mount that a client applies a layer to.
pub fn snapshot_mount(bytes: &[u8]) {
    let [kind, options] = texts(bytes);
    let options = options.lines().map(str::to_owned).collect();
    snapshot::doors::options(&Mount { kind: kind.into_owned(), options, ..Mount::default() });
}

/// What an executor prints and logs.
pub fn executor_answer(bytes: &[u8]) {
    runc_client::doors::answers(bytes);
}
