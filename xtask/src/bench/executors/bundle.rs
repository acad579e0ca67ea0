//! Bundles for executors.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use harness::sh;
use oci::seccomp::Target;

use super::super::{COMMAND, SLEEP, machine};

/// How many bind mounts, and how many masked paths.
const MOUNTS: usize = 100;
const MASKED: usize = 20;

/// What is peculiar about a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// What `runc spec` proposes, with `/bin/true`.
    Plain,
    /// The same, with a program that goes on running.
    Sleeping,
    /// A hundred files, bind mounted.
    Mounts,
    /// docker's default profile of system calls.
    Seccomp,
    /// Twenty paths that a container must not see.
    Masked,
    /// At most so many bytes of memory.
    Memory(u64),
}

/// One of them on disk.
pub struct Bundle {
    /// The container's id.
    pub id: String,
    /// The bundle's folder.
    pub folder: String,
}

impl Bundle {
    /// Writes it below `parent`; the container's cgroup is below `cgroup`.
    pub fn make(parent: &Path, rootfs: &Path, cgroup: &str, id: &str, shape: Shape) -> Result<Bundle> {
        let folder = parent.join(id);
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("config.json");
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        sh::run(Command::new("runc").args(["spec", "--bundle"]).arg(&folder))?;
        let mut config: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        config["root"] = json!({"path": rootfs, "readonly": true});
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!([COMMAND]);
        config["linux"]["cgroupsPath"] = json!(format!("/{cgroup}/{id}"));
        reshape(&mut config, rootfs, shape)?;
        std::fs::write(&file, serde_json::to_vec(&config)?)?;
        Ok(Bundle { id: id.to_owned(), folder: folder.display().to_string() })
    }
}

fn reshape(config: &mut Value, rootfs: &Path, shape: Shape) -> Result<()> {
    match shape {
        Shape::Plain => {}
        Shape::Sleeping => config["process"]["args"] = json!(SLEEP),
        Shape::Mounts => {
            let mounts = config["mounts"].as_array_mut().context("mounts")?;
            let source = rootfs.join("etc/hostname");
            mounts.extend((0..MOUNTS).map(|number| {
                json!({"destination": format!("/mnt/f{number}"), "source": source, "type": "bind", "options": ["rbind", "ro"]})
            }));
        }
        Shape::Seccomp => config["linux"]["seccomp"] = profile()?,
        Shape::Masked => {
            let masked: Vec<String> = (0..MASKED).map(|number| format!("/mnt/f{number}")).collect();
            config["linux"]["maskedPaths"] = json!(masked);
        }
        Shape::Memory(bytes) => config["linux"]["resources"]["memory"] = json!({"limit": bytes}),
    }
    Ok(())
}

/// The profile that docker gives a container without added capabilities.
fn profile() -> Result<Value> {
    let capabilities: Vec<String> = oci::capability::DEFAULT.iter().map(|name| (*name).to_owned()).collect();
    let target =
        Target { capabilities: &capabilities, arch: std::env::consts::ARCH, kernel: machine::kernel()? };
    serde_json::to_value(oci::seccomp::default_profile(&target)).context("write the seccomp profile")
}

/// busybox, and a hundred small files in /mnt to mount over and to mask.
pub fn rootfs(scratch: &Path) -> Result<PathBuf> {
    let rootfs = scratch.join("rootfs");
    for folder in ["bin", "mnt", "etc", "proc", "sys", "dev"] {
        std::fs::create_dir_all(rootfs.join(folder))?;
    }
    std::fs::copy("/bin/busybox", rootfs.join("bin/busybox")).context("copy busybox")?;
    for name in ["true", "sleep", "sh"] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(name))?;
    }
    std::fs::write(rootfs.join("etc/hostname"), "bench\n")?;
    for number in 0..MOUNTS {
        std::fs::write(rootfs.join(format!("mnt/f{number}")), "")?;
    }
    Ok(rootfs)
}
