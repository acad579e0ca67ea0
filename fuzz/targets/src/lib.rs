//! What fuzzing calls: a function for each parser that reads what a stranger wrote. libFuzzer's programs in `fuzz/` call
//! a family each; `tests/replay.rs` calls all of them with seeds, with what was found earlier, and with mutations of both.
//!
//! A target panics when a promise is broken: besides not panicking itself, a parser's result must keep what its caller
//! relies on (see the target's own words). Nothing outside a temporary folder is touched.

mod client;
mod daemon;
mod executor;
mod family;
mod frames;
mod images;
mod input;
mod layers;
mod names;
mod output;
mod shim;

use Family::{
    Archives, Bundles, Cgroups, Frames, Images, Kernel, Languages, Layers, Names, Requests, Settings, Specs,
};

pub use family::Family;

/// One way in.
pub struct Target {
    /// The name of the folders of its seeds and of what was found.
    pub name: &'static str,
    /// Those that libFuzzer runs it with.
    pub family: Family,
    /// Takes anything.
    pub run: fn(&[u8]),
    /// How often the ordinary tests mutate, for an input that they have: a target that writes files is slower.
    pub rounds: u32,
}

const fn quick(name: &'static str, family: Family, run: fn(&[u8])) -> Target {
    Target { name, family, run, rounds: 400 }
}

const fn slow(name: &'static str, family: Family, run: fn(&[u8])) -> Target {
    Target { name, family, run, rounds: 20 }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    quick("reference", Names, names::reference),
    quick("digest", Names, names::digest),
    quick("identifiers", Names, names::identifiers),
    quick("filter", Languages, names::filter),
    quick("event", Requests, names::event),
    quick("platform", Names, images::platform),
    quick("document", Images, images::document),
    quick("challenge", Languages, images::challenge),
    quick("token", Images, images::token),
    quick("hosts", Settings, images::hosts),
    quick("archive", Archives, images::archive),
    slow("import", Archives, images::import),
    slow("layer", Layers, layers::layer),
    slow("layer_headers", Layers, layers::layer_headers),
    quick("cri_log", Frames, output::cri_log),
    quick("cri_records", Frames, output::cri_records),
    quick("attach_daemon", Frames, frames::attach_daemon),
    slow("attach_shim", Frames, frames::attach_shim),
    quick("ttrpc", Frames, frames::ttrpc),
    quick("task_request", Requests, frames::task_request),
    quick("shim_answer", Images, daemon::shim_answer),
    slow("task_bundle", Bundles, daemon::task_bundle),
    quick("daemon_config", Settings, daemon::daemon_config),
    quick("engine_container", Requests, daemon::engine_container),
    quick("engine_filter", Languages, daemon::engine_filter),
    quick("container_config", Images, daemon::container_config),
    quick("user", Names, daemon::user),
    quick("snapshot_mount", Names, daemon::snapshot_mount),
    quick("executor_answer", Specs, daemon::executor_answer),
    quick("shim_start", Requests, shim::start),
    quick("shim_options", Requests, shim::options),
    quick("shim_stream", Names, shim::stream),
    quick("shim_mount", Names, shim::mount),
    quick("shim_kernel", Kernel, shim::kernel),
    slow("shim_bundle", Bundles, shim::bundle),
    slow("shim_metrics", Cgroups, shim::metrics),
    quick("runc_config", Specs, executor::config),
    quick("runc_documents", Specs, executor::documents),
    quick("runc_state", Specs, executor::state),
    quick("runc_message", Frames, executor::message),
    quick("runc_mount", Names, executor::mount),
    quick("runc_words", Names, executor::words),
    quick("runc_kernel", Kernel, executor::kernel),
    quick("runc_passwd", Names, executor::passwd),
    slow("runc_cgroup", Cgroups, executor::cgroup),
    quick("seccomp_profile", Images, executor::seccomp_profile),
    quick("rctl_format", Languages, client::format),
    quick("rctl_shown", Languages, client::shown),
    quick("rctl_flags", Names, client::flags),
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
