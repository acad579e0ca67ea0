//! `linux.resources.unified`: files of the cgroup by name, written as they stand.

use std::path::Path;

use nix::errno::Errno;
use oci::runtime::LinuxResources;

use crate::cgroup::{Error, Result, file};

/// Writes every file; a value of several lines goes line by line, as the kernel takes one entry a write.
pub fn set(dir: &Path, resources: &LinuxResources) -> Result<()> {
    let Some(unified) = resources.unified() else { return Ok(()) };
    let mut files: Vec<_> = unified.iter().collect();
    files.sort();
    for (name, value) in files {
        check(name)?;
        // Nothing is a value, too (of a list, for one), and is written as an empty line.
        let lines = if value.is_empty() { vec!["\n"] } else { value.lines().collect() };
        for line in lines {
            file::write(dir, name, line).map_err(|e| explain(dir, name, e))?;
        }
    }
    Ok(())
}

/// A file of the container's own cgroup, and of a controller.
fn check(name: &str) -> Result<()> {
    let invalid = |reason: &str| Err(Error::invalid("linux.resources.unified", reason));
    if name.contains('/') {
        return invalid(&format!("unified resource {name:?} must be a file name (no slashes)"));
    }
    if !name.contains('.') || name.starts_with('.') {
        return invalid(&format!("unified resource {name:?} must be in the form CONTROLLER.PARAMETER"));
    }
    Ok(())
}

/// Tells a missing controller from a missing file.
fn explain(dir: &Path, name: &str, error: Error) -> Error {
    let controller = name.split('.').next().unwrap_or(name);
    let missing = error.is_not_found() || error.errno() == Some(Errno::EPERM);
    let available = file::read(dir, "cgroup.controllers").unwrap_or_default();
    if missing && controller != "cgroup" && !available.split_ascii_whitespace().any(|c| c == controller) {
        let reason =
            format!("unified resource {name:?} can't be set: controller {controller:?} not available");
        return Error::invalid("linux.resources.unified", reason);
    }
    Error::invalid("linux.resources.unified", format!("unable to set unified resource {name:?}: {error}"))
}
