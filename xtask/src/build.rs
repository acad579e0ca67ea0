//! Building the programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use harness::sh;

use crate::root::root;
use crate::{linked, packages};

/// The program that resolves names of users and hosts with the C library's help, and so is linked dynamically.
const DYNAMIC: &[&str] = &["runtimed"];
/// Programs that are one file each: package, and the profile that fits it. Shim and executor run for each container, so their size
/// counts most.
const STATIC: &[(&str, &str)] =
    &[("containerd-shim-runtimed-v2", "small"), ("runc-rs", "small"), ("rctl", "release")];
/// Builds release binaries and gathers them in `target/dist`.
pub fn release() -> Result<PathBuf> {
    packages::install(packages::BUILD)?;
    let root = root();
    let target = target_folder(&root);
    let dist = target.join("dist");
    std::fs::create_dir_all(&dist).with_context(|| format!("create {}", dist.display()))?;
    let mut dynamic = cargo(&root);
    dynamic.args(["build", "--release"]);
    for package in DYNAMIC {
        dynamic.args(["-p", package]);
    }
    sh::run(&mut dynamic)?;
    for package in DYNAMIC {
        gather(&target.join("release").join(package), &dist)?;
    }
    for (package, profile) in STATIC {
        let mut fixed = cargo(&root);
        fixed.args(["build", "--profile", profile, "-p", package]);
        linked::prepare(&mut fixed, &target, true)?;
        sh::run(&mut fixed)?;
        gather(&target.join(linked::target()).join(profile).join(package), &dist)?;
    }
    Ok(dist)
}

/// Builds the programs as tests use them, and gathers them in `target/programs`.
pub fn debug() -> Result<PathBuf> {
    packages::install(packages::BUILD)?;
    let root = root();
    let target = target_folder(&root);
    let programs = target.join("programs");
    std::fs::create_dir_all(&programs).with_context(|| format!("create {}", programs.display()))?;
    for package in DYNAMIC {
        gather(&debug_of(package)?, &programs)?;
    }
    let mut fixed = cargo(&root);
    fixed.arg("build");
    for (package, _) in STATIC {
        fixed.args(["-p", package]);
    }
    linked::prepare(&mut fixed, &target, false)?;
    sh::run(&mut fixed)?;
    for (package, _) in STATIC {
        gather(&target.join(linked::target()).join("debug").join(package), &programs)?;
    }
    Ok(programs)
}

/// Builds a package as tests use it; returns its program.
pub fn debug_of(package: &str) -> Result<PathBuf> {
    let root = root();
    sh::run(cargo(&root).args(["build", "-p", package]))?;
    Ok(target_folder(&root).join("debug").join(package))
}

/// cargo, in the repository, with the revision for those who ask a program for it.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    if let Ok(revision) =
        sh::read(Command::new("git").current_dir(root).args(["rev-parse", "--short=12", "HEAD"]))
    {
        command.env("RUNTIMED_REVISION", revision.trim());
    }
    command
}

/// Where cargo builds.
pub fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

/// Copies a program. A running one cannot be written to: the old file goes first.
pub fn gather(binary: &Path, dist: &Path) -> Result<()> {
    let to = dist.join(binary.file_name().unwrap_or_default());
    let _ = std::fs::remove_file(&to);
    std::fs::copy(binary, &to).with_context(|| format!("copy {} to {}", binary.display(), to.display()))?;
    Ok(())
}
