//! `cargo xtask vm-test`: the tests that need a kernel with cgroup version 2 alone and a real systemd, inside a small virtual machine.
//!
//! The machine is Debian's cloud kernel under qemu, which needs no hardware support, on a Debian root that is made once and kept below
//! the build folder. A second disk carries the programs and the tests as they were built here; the results come back as lines on a serial port.

mod debian;
mod disk;
mod initramfs;
mod machine;
mod payload;
mod report;

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{build, packages};

/// What a machine is made of.
#[derive(Debug)]
pub struct Parts {
    /// The kernel's image.
    pub kernel: std::path::PathBuf,
    /// What finds the root file system.
    pub initramfs: std::path::PathBuf,
    /// The Debian root.
    pub root: std::path::PathBuf,
    /// The programs and tests.
    pub payload: std::path::PathBuf,
    /// The control groups that any of the tests is for.
    pub under: std::collections::BTreeSet<&'static str>,
}

/// Boots the machine, runs the tests in it and prints their results; an error says what failed.
///
/// `only` names the suites to run; none names all.
pub fn vm_test(only: &[String]) -> Result<()> {
    if std::env::consts::ARCH != "x86_64" {
        println!(
            "SKIP vm-test: qemu-system-x86 does not run this machine's programs ({})",
            std::env::consts::ARCH
        );
        return Ok(());
    }
    packages::install(packages::BUILD)?;
    packages::install(packages::VM)?;
    let target = build::target_folder(&crate::root::root());
    let folder = target.join("vm");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let _turn = turn(&folder)?;
    let parts = parts(&folder, only)?;
    let mut failed = Vec::new();
    for hierarchy in [machine::Hierarchy::Unified, machine::Hierarchy::Legacy] {
        if !parts.under.contains(hierarchy.name()) {
            continue;
        }
        if let Err(error) = machine::run(&parts, hierarchy, &folder) {
            failed.push(format!("{hierarchy:?}: {error:#}"));
        }
    }
    anyhow::ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

/// Waits until no other run uses the folder: two would take each other's disks away.
fn turn(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        println!("Waiting for another vm-test");
        file.lock().with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

fn parts(folder: &Path, only: &[String]) -> Result<Parts> {
    let (suites, programs) = payload::gather(only)?;
    let kernel = debian::kernel(folder)?;
    let root = debian::root(folder)?;
    Ok(Parts {
        initramfs: initramfs::make(&kernel, folder)?,
        payload: payload::make(&suites, &programs, &kernel, folder)?,
        under: suites.iter().flat_map(payload::Suite::under).copied().collect(),
        kernel: kernel.image,
        root,
    })
}
