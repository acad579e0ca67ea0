//! Doors for tests: each function takes bytes as the author of a bundle, a container's file system, the kernel, or whoever
//! could write into the state directory, may have written them. Nothing here changes the system.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci::runtime::{LinuxDeviceCgroup, Spec};

use crate::cgroup::device_rules::{Policy, Rule};
use crate::cgroup::mounts::{Hierarchies, parse_mountinfo, parse_own};
use crate::cgroup::v1::V1;
use crate::cgroup::v2::V2;
use crate::cgroup::{Leniency, Manager as _};
use crate::commands::{VERBS, units, update};
use crate::plan::{self, Choices, Plan};
use crate::state::{Container, State, validate_id};
use crate::steps::{identity, seccomp};
use crate::{FLAGS, cli, process, root, spec, stage};

/// config.json, up to everything that is decided before anything is done. Every step of a plan names its clause.
pub fn config(bytes: &[u8]) {
    let Ok(spec) = spec::parse(bytes, Path::new("config.json")) else { return };
    if let Ok(plan) = plan::create("c1", Path::new("/bundle"), &spec, &Choices::default()) {
        check_plan(&plan);
    }
    device_policy(&spec);
    if let Some(filter) = spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
        let _ = seccomp::compile(filter);
    }
}

fn check_plan(plan: &Plan) {
    assert!(plan.steps.iter().all(|step| !step.clause().is_empty()));
    assert!(!plan.process.args.is_empty(), "a plan without a program");
    for step in &plan.steps {
        let _ = step.to_string();
    }
}

fn device_policy(spec: &Spec) {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let rules: &[LinuxDeviceCgroup] =
        resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
    if let (Ok(policy), Ok(none)) = (Policy::for_container(rules), Policy::for_container(&[])) {
        let _ = none.transition(&policy).len();
    }
}

/// What `exec --process` names, and what `update --resources` does.
pub fn documents(bytes: &[u8]) {
    if let Ok(process) = spec::parse_process(bytes, Path::new("process.json"))
        && let Ok(process) = plan::process::Process::from_spec(&process)
    {
        assert!(!plan::exec(&process, false, true).is_empty());
    }
    let _ = update::from_document(bytes);
}

/// state.json. What is understood is written and understood again.
pub fn state(bytes: &[u8]) {
    let Ok(state) = serde_json::from_slice::<State>(bytes) else { return };
    let container = Container { dir: PathBuf::from("/nonexistent"), state };
    let _ = (container.bundle(), container.annotations().len());
    let text = serde_json::to_vec(&container.state).unwrap_or_default();
    assert!(serde_json::from_slice::<State>(&text).is_ok());
}

/// A packet between the two processes of a start.
pub fn message(bytes: &[u8]) {
    let _ = stage::channel::decode(bytes);
}

/// Mount options, one a line.
pub fn mount_options(text: &str) {
    let words: Vec<String> = text.lines().map(str::to_owned).collect();
    let _ = plan::options::parse(&words);
    let _ = words.iter().filter_map(|word| plan::options::root_propagation(word)).count();
}

/// The command line, a word a line: the program's own flags, then each verb's.
pub fn command_line(text: &str) {
    let words: Vec<String> = text.lines().map(str::to_owned).collect();
    let _ = cli::parse(FLAGS, &words, true);
    for verb in VERBS {
        if let Ok(matches) = cli::parse(verb.flags, &words, verb.flags_stop) {
            let _ = cli::check_arity(verb, matches.args().len());
        }
    }
}

/// Words on a command line, or in config.json, with a syntax of their own. A path that is cleaned stays cleaned and does not
/// climb.
pub fn words(text: &str) {
    let _ = (units::ram_in_bytes(text), units::duration(text));
    let _ = (plan::process::number_list(text), plan::sysctl::path(text));
    if validate_id(text).is_ok() {
        assert!(!text.contains('/') && text != "..", "{text:?}");
    }
    let clean = root::clean(Path::new(text));
    assert!(
        !clean.components().any(|part| part == std::path::Component::ParentDir),
        "{text:?} became {clean:?}"
    );
    assert_eq!(root::clean(&clean), clean, "{text:?}");
}

/// /proc/self/mountinfo, /proc/self/cgroup, and /proc/PID/stat: names in them may be anybody's.
pub fn kernel_files(mountinfo: &str, cgroup: &str, stat: &str) {
    let hierarchies = Hierarchies { mounts: parse_mountinfo(mountinfo), own: parse_own(cgroup) };
    let _ = hierarchies.unified_only();
    let path = Path::new("../../a");
    for mount in &hierarchies.mounts {
        for controller in std::iter::once("").chain(mount.controllers.iter().map(String::as_str)) {
            if let Ok(found) = hierarchies.locate(mount, controller, path) {
                assert!(
                    found.starts_with(&mount.mountpoint),
                    "{found:?} is not below {:?}",
                    mount.mountpoint
                );
            }
        }
    }
    let _ = process::parse_stat(stat);
}

/// A container's /etc/passwd.
pub fn passwd(text: &str) {
    for uid in [0, 1000, u32::MAX] {
        assert!(identity::home_in(text, uid).is_none_or(|home| !home.is_empty()));
    }
}

/// Statistics out of a folder that stands for a cgroup, read as either version; and a line of devices.list.
pub fn cgroup_files(folder: &Path, line: &str) {
    let v2 = V2::from_dir(None, folder.to_owned(), Leniency::default());
    let _ = (v2.stats(), v2.pids(), v2.frozen());
    let controllers = ["cpu", "cpuacct", "cpuset", "memory", "blkio", "pids", "hugetlb", "freezer", "rdma"];
    let paths: BTreeMap<String, PathBuf> =
        controllers.map(|name| (name.to_owned(), folder.to_owned())).into_iter().collect();
    let v1 = V1::from_paths(paths, Leniency::default());
    let _ = (v1.stats(), v1.pids(), v1.frozen());
    let _ = Rule::parse_allowed(line);
}
