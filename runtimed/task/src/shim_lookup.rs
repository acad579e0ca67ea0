//! From a runtime's name to the shim's binary, as containerd does it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use errors::{Error, Result};

/// The binary for `runtime`: a name of the configuration, an absolute path, or a name such as
/// `io.containerd.runc.v2`, whose binary `containerd-shim-runc-v2` is looked for in `path` (a PATH) and then
/// beside the daemon.
///
/// # Errors
/// `InvalidArgument` for what is no name and no absolute path, `NotFound` when there is no such program.
pub(crate) fn find(
    runtime: &str,
    configured: &BTreeMap<String, PathBuf>,
    path: &OsStr,
    daemon: &Path,
) -> Result<PathBuf> {
    if let Some(binary) = configured.get(runtime) {
        return installed(binary, path, daemon)
            .ok_or_else(|| not_installed(runtime, &binary.to_string_lossy()));
    }
    if Path::new(runtime).is_absolute() {
        return program(Path::new(runtime)).ok_or_else(|| not_installed(runtime, runtime));
    }
    let name = binary_name(runtime).ok_or_else(|| invalid(runtime))?;
    let folders = std::env::split_paths(path).chain(daemon.parent().map(Path::to_owned));
    // An empty entry of PATH would mean the current folder, which is nobody's choice in a daemon.
    folders
        .filter(|folder| folder.is_absolute())
        .find_map(|folder| program(&folder.join(&name)))
        .ok_or_else(|| not_installed(runtime, &name))
}

/// What the configuration names: a path, or a bare name that is looked for beside the daemon and then in `path`.
fn installed(binary: &Path, path: &OsStr, daemon: &Path) -> Option<PathBuf> {
    if binary.components().count() != 1 {
        return program(binary);
    }
    let folders = daemon.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(path));
    folders.filter(|folder| folder.is_absolute()).find_map(|folder| program(&folder.join(binary)))
}

/// `io.containerd.runc.v2` -> `containerd-shim-runc-v2`: the last two parts count.
fn binary_name(runtime: &str) -> Option<String> {
    if runtime.contains('/') {
        return None;
    }
    let parts: Vec<&str> = runtime.split('.').collect();
    match parts.as_slice() {
        [first, .., name, version] if !first.is_empty() && !name.is_empty() && !version.is_empty() => {
            Some(format!("containerd-shim-{name}-{version}"))
        }
        [name, version] if !name.is_empty() && !version.is_empty() => {
            Some(format!("containerd-shim-{name}-{version}"))
        }
        _ => None,
    }
}

/// `path`, if it is an executable file.
fn program(path: &Path) -> Option<PathBuf> {
    let meta = std::fs::metadata(path).ok()?;
    (meta.is_file() && meta.permissions().mode() & 0o111 != 0).then(|| path.to_owned())
}

fn invalid(runtime: &str) -> Error {
    Error::invalid(format!(
        "invalid runtime name {runtime}, correct runtime name should be either format like `io.containerd.runc.v2` or a full \
         path to the binary"
    ))
}

fn not_installed(runtime: &str, binary: &str) -> Error {
    Error::not_found(format!("runtime {runtime:?} binary not installed {binary:?}: file does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn names_become_binaries_as_in_containerd() {
        assert_eq!(binary_name("io.containerd.runc.v2").unwrap(), "containerd-shim-runc-v2");
        assert_eq!(binary_name("io.containerd.runtimed.v2").unwrap(), "containerd-shim-runtimed-v2");
        assert_eq!(binary_name("kata.v2").unwrap(), "containerd-shim-kata-v2");
        for bad in ["", "runc", ".runc", "io.containerd.runc.", "../a.b", "a/b.c", ".a.b"] {
            assert_eq!(binary_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn path_goes_before_the_daemons_folder() {
        let (path, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let none = BTreeMap::new();
        let search =
            |runtime: &str| find(runtime, &none, path.path().as_os_str(), &beside.path().join("runtimed"));
        let error = search("io.containerd.x.v2").unwrap_err();
        assert!(error.is_not_found());
        assert!(error.message().contains("binary not installed \"containerd-shim-x-v2\""), "{error:?}");
        let second = install(beside.path(), "containerd-shim-x-v2", 0o755);
        assert_eq!(search("io.containerd.x.v2").unwrap(), second);
        let first = install(path.path(), "containerd-shim-x-v2", 0o755);
        assert_eq!(search("io.containerd.x.v2").unwrap(), first);
        install(path.path(), "containerd-shim-y-v2", 0o644);
        assert!(search("io.containerd.y.v2").unwrap_err().is_not_found());
    }

    #[test]
    fn configured_bare_names_are_looked_for_beside_the_daemon_first() {
        let (path, beside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let configured = BTreeMap::from([("io.containerd.runc.v2".to_owned(), PathBuf::from("ours"))]);
        let search = || {
            let daemon = beside.path().join("runtimed");
            find("io.containerd.runc.v2", &configured, path.path().as_os_str(), &daemon)
        };
        let error = search().unwrap_err();
        assert!(error.message().contains("binary not installed \"ours\""), "{error:?}");
        let second = install(path.path(), "ours", 0o755);
        assert_eq!(search().unwrap(), second);
        let first = install(beside.path(), "ours", 0o755);
        assert_eq!(search().unwrap(), first);
    }

    #[test]
    fn absolute_paths_and_configured_names_are_taken_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let binary = install(folder.path(), "shim", 0o755);
        let configured = BTreeMap::from([("io.containerd.runc.v2".to_owned(), binary.clone())]);
        let search = |runtime: &str| find(runtime, &configured, OsStr::new(""), Path::new("/none/d"));
        assert_eq!(search("io.containerd.runc.v2").unwrap(), binary);
        assert_eq!(search(binary.to_str().unwrap()).unwrap(), binary);
        assert!(search("/none/shim").unwrap_err().is_not_found());
        assert_eq!(search("bin/shim").unwrap_err().kind(), errors::Kind::InvalidArgument);
        assert_eq!(search("").unwrap_err().kind(), errors::Kind::InvalidArgument);
    }
}
