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
        config: config(plan, spec, manager, no_new_keyring, labels),
        rootless: !nix::unistd::geteuid().is_root(),
        cgroup_paths: manager.paths(),
        namespace_paths: BTreeMap::new(),
        external_descriptors: Vec::new(),
        intel_rdt_path: String::new(),
        intel_rdt_mon_path: String::new(),
        intel_rdt_made: Vec::new(),
    }
}

/// The part of the configuration that others read.
fn config(
    plan: &Plan,
    spec: &Spec,
    manager: &dyn cgroup::Manager,
    no_new_keyring: bool,
    labels: Vec<String>,
) -> Config {
    let linux = spec.linux().clone().unwrap_or_default();
    Config {
        rootfs: plan.rootfs.clone(),
        labels,
        mounts: mount_entries(spec),
        namespaces: namespace_entries(&plan.namespaces),
        version: crate::SPEC_VERSION.to_owned(),
        no_new_keyring,
        hostname: spec.hostname().clone().unwrap_or_default(),
        domainname: spec.domainname().clone().unwrap_or_default(),
        readonlyfs: spec.root().as_ref().and_then(|r| r.readonly()).unwrap_or(false),
        uid_mappings: plan.uid_maps.clone(),
        gid_mappings: plan.gid_maps.clone(),
        mask_paths: linux.masked_paths().clone().unwrap_or_default(),
        readonly_paths: linux.readonly_paths().clone().unwrap_or_default(),
        sysctl: linux.sysctl().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(),
        no_new_privileges: plan.process.no_new_privileges,
        apparmor_profile: plan.process.apparmor.clone(),
        process_label: plan.process.selinux.clone(),
        mount_label: plan.mount_label.clone(),
        rootless_euid: !nix::unistd::geteuid().is_root(),
        cgroups: manager.unit().cloned().unwrap_or_default(),
    }
}

fn mount_entries(spec: &Spec) -> Vec<MountEntry> {
    let text = |path: &Option<PathBuf>| path.as_ref().map(|p| p.display().to_string()).unwrap_or_default();
    // A bind mount is known by its options; its type says nothing, and often is nothing.
    let is_bind = |m: &oci::runtime::Mount| {
        m.options().iter().flatten().any(|option| matches!(option.as_str(), "bind" | "rbind"))
    };
    let device = |m: &oci::runtime::Mount| match is_bind(m) {
        true => "bind".to_owned(),
        false => m.typ().clone().unwrap_or_default(),
    };
    let entry = |m: &oci::runtime::Mount| MountEntry {
        source: text(m.source()),
        destination: m.destination().display().to_string(),
        device: device(m),
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
