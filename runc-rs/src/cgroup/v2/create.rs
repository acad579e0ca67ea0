//! Making the directory, with every available controller enabled in all of its parents.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use oci::runtime::LinuxResources;

use crate::cgroup::{Error, Result, file};

/// Makes `dir` below the mount point. What was made is taken away again if it fails half-way.
pub fn create(mountpoint: &Path, dir: &Path) -> Result<()> {
    let mut made = Vec::new();
    let done = create_each(mountpoint, dir, &mut made);
    if done.is_err() {
        // Only directories of this very call, and empty ones: nothing is lost if it fails.
        made.iter().rev().for_each(|dir| drop(fs::remove_dir(dir)));
    }
    done
}

fn create_each(mountpoint: &Path, dir: &Path, made: &mut Vec<PathBuf>) -> Result<()> {
    let below = dir
        .strip_prefix(mountpoint)
        .map_err(|_| Error::invalid("linux.cgroupsPath", format!("invalid cgroup path {}", dir.display())))?;
    let controllers = file::read(mountpoint, "cgroup.controllers")?;
    let mut current = mountpoint.to_owned();
    for name in below.components() {
        enable(&current, &controllers);
        current.push(name);
        match fs::create_dir(&current) {
            Ok(()) => made.push(current.clone()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("mkdir", &current, e)),
        }
        check_type(&current)?;
    }
    Ok(())
}

/// Enables controllers for the children of `dir`: all at once, or, if one of them is refused, one by one. A limit whose
/// controller could not be enabled fails when it is set, with its name.
fn enable(dir: &Path, controllers: &str) {
    let all: Vec<String> = controllers.split_ascii_whitespace().map(|name| format!("+{name}")).collect();
    if file::write(dir, "cgroup.subtree_control", &all.join(" ")).is_err() {
        all.iter().for_each(|one| drop(file::write(dir, "cgroup.subtree_control", one)));
    }
}

/// A cgroup below one that has processes is good for nothing but threads.
fn check_type(dir: &Path) -> Result<()> {
    let Some(kind) = file::optional(file::read(dir, "cgroup.type"))? else { return Ok(()) };
    match kind.trim() {
        "domain invalid" => file::write(dir, "cgroup.type", "threaded"),
        _ => Ok(()),
    }
}

/// For a user who may not make cgroups: fine as long as config.json has no limits.
pub fn nothing_asked(resources: &LinuxResources) -> Result<()> {
    let asked = [
        ("memory", resources.memory().is_some()),
        ("cpu", resources.cpu().is_some()),
        ("pids", resources.pids().is_some()),
        ("blockIO", resources.block_io().is_some()),
        ("hugepageLimits", resources.hugepage_limits().as_ref().is_some_and(|l| !l.is_empty())),
        ("network", resources.network().is_some()),
        ("rdma", resources.rdma().as_ref().is_some_and(|r| !r.is_empty())),
        ("unified", resources.unified().as_ref().is_some_and(|u| !u.is_empty())),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((name, _)) => Err(Error::invalid(
            format!("linux.resources.{name}"),
            "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
        )),
    }
}
