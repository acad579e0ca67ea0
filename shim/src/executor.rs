//! Which executor is driven, and with which global options.

use std::path::{Path, PathBuf};

use runc_client::Runc;

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

/// The executor for one container: state below the namespace, failures explained in the bundle.
pub(crate) fn runc(binary: &Path, options: &Options, namespace: &str, bundle: &Bundle) -> Runc {
    let root = if options.root.is_empty() { DEFAULT_ROOT } else { &options.root };
    Runc::new(binary)
        .root(Path::new(root).join(namespace))
        .log(bundle.executor_log())
        .systemd_cgroup(options.systemd_cgroup)
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
    fn the_one_asked_for_wins() {
        assert_eq!(choose("/opt/crun"), Path::new("/opt/crun"));
        assert_eq!(choose("crun"), Path::new("crun"));
    }
}
