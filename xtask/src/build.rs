//! Building the programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use harness::sh;

use crate::packages;
use crate::root::root;

/// The program that resolves names of users and hosts with the C library's help, and so is linked dynamically.
const DYNAMIC: &[&str] = &["runtimed"];
/// Programs that are one file each: package, and the profile that fits it. Shim and executor run for each container, so their size
/// counts most.
const STATIC: &[(&str, &str)] =
    &[("containerd-shim-runtimed-v2", "small"), ("runc-rs", "small"), ("rctl", "release")];
/// How they are linked. The table of relocations, which a position independent program reads as a whole when it starts, takes a hundredth of
/// the place when it is packed (the C library's start-up code reads both forms since glibc 2.36).
const STATIC_FLAGS: &str = "-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs";
/// The target of static builds: naming it keeps their flags from build scripts and macros.
pub const TARGET: &str = concat!(env!("XTASK_ARCH"), "-unknown-linux-gnu");

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
        fixed.args(["build", "--profile", profile, "--target", TARGET, "-p", package]);
        sh::run(fixed.env("RUSTFLAGS", STATIC_FLAGS))?;
        gather(&target.join(TARGET).join(profile).join(package), &dist)?;
    }
    Ok(dist)
}

/// Builds the programs as tests use them; returns their folder.
pub fn debug() -> Result<PathBuf> {
    packages::install(packages::BUILD)?;
    let root = root();
    let mut command = cargo(&root);
    command.arg("build");
    for package in DYNAMIC.iter().chain(STATIC.iter().map(|(package, _)| package)) {
        command.args(["-p", package]);
    }
    sh::run(&mut command)?;
    Ok(target_folder(&root).join("debug"))
}

/// Builds one more package as tests use it; its program is beside those of [`debug`].
pub fn debug_of(package: &str) -> Result<()> {
    sh::run(cargo(&root()).args(["build", "-p", package]))
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
