//! Debian packages that a task needs.

use std::process::Command;

use anyhow::{Result, bail};

use harness::sh;

/// What a build needs.
pub const BUILD: &[&str] = &["gcc", "libc6-dev", "libseccomp-dev", "pkg-config"];
/// What the demo needs besides.
pub const DEMO: &[&str] = &["docker-registry", "skopeo", "umoci", "procps"];
/// What the tests need besides: real peers.
pub const TEST: &[&str] = &[
    "apache2-utils",
    "buildah",
    "busybox-static",
    "containerd",
    "criu",
    "crun",
    "docker-registry",
    "docker.io",
    "jq",
    "podman",
    "procps",
    "runc",
    "skopeo",
    "strace",
    "tar",
    "uidmap",
    "umoci",
    "xz-utils",
    "zstd",
];

/// What the virtual machine needs besides.
pub const VM: &[&str] = &[
    "binutils",
    "busybox-static",
    "containerd",
    "debootstrap",
    "e2fsprogs",
    "qemu-system-x86",
    "skopeo",
    "umoci",
];

/// What the benchmark needs besides: more peers, and who tells a peak of memory.
pub const BENCH: &[&str] = &["docker.io", "podman", "time"];

/// Who counts instructions.
pub const COUNTS: &[&str] = &["valgrind"];

/// What libFuzzer is built with.
pub const FUZZ: &[&str] = &["g++"];

/// Installs those that are missing, and says which.
pub fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&&str> = packages.iter().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|name| **name).collect();
    println!("Installing Debian packages: {}", names.join(" "));
    if !sh::has("apt-get") {
        bail!("this machine has no apt-get: install by hand what stands for: {}", names.join(" "));
    }
    // A daemon of one of the packages must not start beside the one under test.
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .args(["-q", "-o", "DPkg::Lock::Timeout=300"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1");
        command
    };
    sh::run(&mut apt(&["update"]))?;
    sh::run(apt(&["install", "-y", "--no-install-recommends"]).args(&names))
}

fn installed(package: &str) -> bool {
    let query = Command::new("dpkg-query").args(["-W", "-f", "${Status}", package]).output();
    query.is_ok_and(|output| output.status.success() && output.stdout.ends_with(b"ok installed"))
}
