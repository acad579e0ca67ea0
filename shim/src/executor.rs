//! Which executor is driven, and with which global options.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use runc_client::Runc;
use rustix::mount::OpenTreeFlags;

use crate::bundle::Bundle;
use crate::options::Options;

/// Looked for first: our own.
const OURS: &str = "runc-rs";
/// The one everybody has.
const FALLBACK: &str = "runc";
/// Where containerd keeps the state of runc's containers, below which comes the namespace.
const DEFAULT_ROOT: &str = "/run/containerd/runc";

/// The executor's name or path: the one asked for, else ours beside this shim or in PATH, else runc.
pub(crate) fn choose(asked: &str) -> PathBuf {
    if !asked.is_empty() {
        return PathBuf::from(asked);
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(|dir| dir.join(OURS)));
    beside
        .filter(|path| is_program(path))
        .or_else(|| in_path(OURS))
        .unwrap_or_else(|| PathBuf::from(FALLBACK))
}

/// Names how long one run of the executor may take, in seconds; the daemon sets it. 0 and nothing mean as long as it likes, as with
/// containerd's shim.
const TIMEOUT: &str = "RUNTIMED_EXECUTOR_TIMEOUT";

/// The daemon sets it to `0` where no program is to be started before it is needed.
const STANDBY: &str = "RUNTIMED_STANDBY";

/// May an executor be started that waits for its verb?
pub(crate) fn may_stand_by() -> bool {
    std::env::var_os(STANDBY).is_none_or(|value| value != "0")
}

fn limit(text: Option<&str>) -> Option<Duration> {
    text.and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0).map(Duration::from_secs)
}

/// Opens the executor on a read-only mount that is attached nowhere, where a container that reaches its file cannot write
/// to it (CVE-2019-5736). Our own executor sees that it runs from there, and need not see to it each time by executing
/// itself once more. `None` where it cannot be done, or for another's executor, which has ways of its own.
pub(crate) fn protected(binary: &Path) -> Option<OwnedFd> {
    if binary.file_name().is_none_or(|name| name != OURS) || !binary.is_absolute() || !is_elf(binary) {
        return None;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(rustix::fs::CWD, binary, flags).ok()?;
    let attr = sys::mount::MountAttr { set: sys::mount::RDONLY, ..Default::default() };
    sys::mount::setattr(&tree, false, attr).ok()?;
    Some(tree)
}

/// A script is opened a second time, by its interpreter, when the descriptor is closed.
fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"\x7fELF"
}

/// The executor for one container: state below the namespace, failures explained in the bundle.
pub(crate) fn runc(binary: &Path, options: &Options, namespace: &str, bundle: &Bundle) -> Runc {
    let root = if options.root.is_empty() { DEFAULT_ROOT } else { &options.root };
    Runc::new(binary)
        .root(Path::new(root).join(namespace))
        .log(bundle.executor_log())
        .systemd_cgroup(options.systemd_cgroup)
        .limit(limit(std::env::var(TIMEOUT).ok().as_deref()))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_number_of_seconds() {
        assert_eq!(limit(Some("100")), Some(Duration::from_secs(100)));
        for none in [None, Some(""), Some("0"), Some("soon")] {
            assert_eq!(limit(none), None);
        }
    }

    #[test]
    fn the_one_asked_for_wins() {
        assert_eq!(choose("/opt/crun"), Path::new("/opt/crun"));
        assert_eq!(choose("crun"), Path::new("crun"));
    }
}
