//! What is written down of a container, and told to its hooks.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::runtime::Spec;

use crate::cgroup;
use crate::plan::Plan;
use crate::plan::namespaces::{Kind, Namespaces};
use crate::process;
use crate::state::{self, Config, Container, MountEntry, NamespaceEntry, State};
use crate::steps::hooks::HookState;

/// What is written down before anything is made, so that `delete` finds what to undo.
pub fn first(plan: &Plan, spec: &Spec, manager: &dyn cgroup::Manager, no_new_keyring: bool) -> State {
    let mut labels: Vec<String> =
        spec.annotations().iter().flatten().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    labels.push(format!("bundle={}", plan.bundle.display()));
    State {
        id: plan.id.clone(),
        init_process_pid: 0,
        init_process_start: 0,
        created: state::now(),
        config: Config {
            rootfs: plan.rootfs.clone(),
            labels,
            mounts: mount_entries(spec),
            namespaces: namespace_entries(&plan.namespaces),
            version: spec.version().clone(),
            no_new_keyring,
            cgroups: manager.unit().cloned().unwrap_or_default(),
        },
        rootless: !nix::unistd::geteuid().is_root(),
        cgroup_paths: manager.paths(),
        namespace_paths: BTreeMap::new(),
        external_descriptors: Vec::new(),
        intel_rdt_path: String::new(),
        intel_rdt_mon_path: String::new(),
        intel_rdt_made: Vec::new(),
    }
}

fn mount_entries(spec: &Spec) -> Vec<MountEntry> {
    let text = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
    let entry = |m: &oci::runtime::Mount| MountEntry {
        source: text(m.source()),
        destination: m.destination().display().to_string(),
        device: m.typ().clone().unwrap_or_default(),
    };
    spec.mounts().iter().flatten().map(entry).collect()
}

fn namespace_entries(namespaces: &Namespaces) -> Vec<NamespaceEntry> {
    let new = namespaces.new.iter().map(|k| (*k, String::new()));
    let joined = namespaces.join.iter().map(|(k, path)| (*k, path.display().to_string()));
    new.chain(joined).map(|(kind, path)| NamespaceEntry { kind: kind.key().into(), path }).collect()
}

/// What is known once init is set up.
pub fn started(state: &mut State, pid: i32) {
    state.init_process_pid = pid;
    state.init_process_start = process::stat(pid).map(|(start, _)| start).unwrap_or_default();
    let path = |kind: Kind| (kind.key().to_owned(), format!("/proc/{pid}/ns/{}", kind.file()));
    state.namespace_paths = Kind::ALL.into_iter().map(path).collect();
    state.external_descriptors = (0..3).map(|fd| descriptor(pid, fd)).collect();
}

fn descriptor(pid: i32, fd: u32) -> String {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}"));
    link.map(|p| p.display().to_string()).unwrap_or_else(|_| "/dev/null".to_owned())
}

/// The container's state as hooks read it.
pub fn hook_state(container: &Container) -> HookState {
    let annotations = container.annotations();
    HookState {
        version: container.state.config.version.clone(),
        id: container.state.id.clone(),
        status: String::new(),
        pid: Some(container.state.init_process_pid),
        bundle: container.bundle().to_owned(),
        annotations: annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}
