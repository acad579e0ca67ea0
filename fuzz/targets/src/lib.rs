//! What fuzzing calls: a function for each parser that reads what a stranger wrote. libFuzzer's programs in `fuzz/` call
//! one each; `tests/replay.rs` calls all of them with seeds, with what was found earlier, and with mutations of both.
//!
//! A target panics when a promise is broken: besides not panicking itself, a parser's result must keep what its caller
//! relies on (see the target's own words). Nothing outside a temporary folder is touched.

mod client;
mod daemon;
mod executor;
mod frames;
mod images;
mod input;
mod layers;
mod names;
mod output;
mod shim;

/// One way in.
pub struct Target {
    /// The name of the program in `fuzz/`, and of the folders of seeds and of findings.
    pub name: &'static str,
    /// Takes anything.
    pub run: fn(&[u8]),
    /// How often the ordinary tests mutate, for an input that they have: a target that writes files is slower.
    pub rounds: u32,
}

const fn quick(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, rounds: 400 }
}

const fn slow(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, rounds: 20 }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    quick("reference", names::reference),
    quick("digest", names::digest),
    quick("identifiers", names::identifiers),
    quick("filter", names::filter),
    quick("event", names::event),
    quick("platform", images::platform),
    quick("document", images::document),
    quick("challenge", images::challenge),
    quick("token", images::token),
    quick("hosts", images::hosts),
    quick("archive", images::archive),
    slow("import", images::import),
    slow("layer", layers::layer),
    slow("layer_headers", layers::layer_headers),
    quick("cri_log", output::cri_log),
    quick("cri_records", output::cri_records),
    quick("attach_daemon", frames::attach_daemon),
    slow("attach_shim", frames::attach_shim),
    quick("ttrpc", frames::ttrpc),
    quick("task_request", frames::task_request),
    quick("shim_answer", daemon::shim_answer),
    slow("task_bundle", daemon::task_bundle),
    quick("daemon_config", daemon::daemon_config),
    quick("engine_container", daemon::engine_container),
    quick("engine_filter", daemon::engine_filter),
    quick("container_config", daemon::container_config),
    quick("user", daemon::user),
    quick("snapshot_mount", daemon::snapshot_mount),
    quick("executor_answer", daemon::executor_answer),
    quick("shim_start", shim::start),
    quick("shim_options", shim::options),
    quick("shim_stream", shim::stream),
    quick("shim_mount", shim::mount),
    quick("shim_kernel", shim::kernel),
    slow("shim_bundle", shim::bundle),
    slow("shim_metrics", shim::metrics),
    quick("runc_config", executor::config),
    quick("runc_documents", executor::documents),
    quick("runc_state", executor::state),
    quick("runc_message", executor::message),
    quick("runc_mount", executor::mount),
    quick("runc_words", executor::words),
    quick("runc_kernel", executor::kernel),
    quick("runc_passwd", executor::passwd),
    slow("runc_cgroup", executor::cgroup),
    quick("seccomp_profile", executor::seccomp_profile),
    quick("rctl_format", client::format),
    quick("rctl_shown", client::shown),
    quick("rctl_flags", client::flags),
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Runs the target of this name.
///
/// # Panics
/// When there is none, and when it finds something.
pub fn run(name: &str, bytes: &[u8]) {
    let target = find(name).unwrap_or_else(|| panic!("there is no target {name:?}"));
    (target.run)(bytes);
}
