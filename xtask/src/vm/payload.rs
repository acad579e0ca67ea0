//! The disk with the programs and the tests, as cargo built them, and the list of what is to run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use harness::{image, sh};

use super::debian::{Kernel, fresh};
use super::disk;
use crate::build;
use crate::root::root;

/// Modules that tests need, each after those that it builds on.
const MODULES: [&str; 20] = [
    "fs/overlayfs/overlay.ko",
    "drivers/block/loop.ko",
    "block/bfq.ko",
    // criu asks for every socket there is, and for the tracked connections; and iptables locks the network for it.
    "net/ipv4/inet_diag.ko",
    "net/ipv4/raw_diag.ko",
    "net/ipv4/tcp_diag.ko",
    "net/ipv4/udp_diag.ko",
    "net/netlink/netlink_diag.ko",
    "net/packet/af_packet_diag.ko",
    "net/unix/unix_diag.ko",
    "lib/libcrc32c.ko",
    "net/netfilter/nfnetlink.ko",
    "net/ipv4/netfilter/nf_defrag_ipv4.ko",
    "net/ipv6/netfilter/nf_defrag_ipv6.ko",
    "net/netfilter/nf_conntrack.ko",
    "net/netfilter/nf_conntrack_netlink.ko",
    "net/netfilter/nf_tables.ko",
    "net/netfilter/x_tables.ko",
    "net/netfilter/nft_compat.ko",
    "net/netfilter/xt_mark.ko",
];
/// The programs of this project.
const PROGRAMS: [&str; 4] = ["runtimed", "rctl", "containerd-shim-runtimed-v2", "runc-rs"];
/// Clients of this machine's that talk to them.
const CLIENTS: [&str; 1] = ["/usr/bin/ctr"];
const RUN: &str = include_str!("../../../tests/vm/guest/run");

/// Some tests of one test program.
#[derive(Debug, Clone, Copy)]
struct Recipe {
    /// What it is called in the results.
    name: &'static str,
    /// The package.
    package: &'static str,
    /// Its folder.
    folder: &'static str,
    /// The test program's name for cargo.
    target: &'static str,
    /// `unified` and `legacy`: the control groups that it runs under.
    under: &'static [&'static str],
    /// Arguments for Rust's test harness.
    args: &'static [&'static str],
    /// The programs that it drives.
    programs: &'static [&'static str],
}

/// What version 2 and systemd make different, and nothing else: emulation is slow.
const RECIPES: &[Recipe] = &[
    Recipe {
        name: "executor-cgroups",
        package: "runc-rs",
        folder: "runc-rs",
        target: "runc_rs",
        under: &["unified", "legacy"],
        args: &["cgroup::"],
        programs: &["runc-rs"],
    },
    Recipe {
        name: "executor-limits",
        package: "runc-rs",
        folder: "runc-rs",
        target: "resources",
        under: &["unified"],
        args: &["devices", "events", "limits", "pause", "ps"],
        programs: &["runc-rs"],
    },
    Recipe {
        name: "executor-life",
        package: "runc-rs",
        folder: "runc-rs",
        target: "it",
        under: &["unified"],
        args: &[
            "unified",
            "create_start_state_kill_delete",
            "kill_all",
            "begins_at_the_container",
            "the_cgroups_mounted",
            "detached_with",
            "not_in_what_is_paused",
            "memory::",
        ],
        programs: &["runc-rs"],
    },
    Recipe {
        name: "shim",
        package: "containerd-shim-runtimed-v2",
        folder: "shim",
        target: "life",
        under: &["unified"],
        args: &["pause_resume_and_metrics", "running_out_of_memory_is_told", "a_checkpoint_is"],
        programs: &["containerd-shim-runtimed-v2", "runc-rs"],
    },
    Recipe {
        name: "stack",
        package: "vm",
        folder: "tests/vm",
        target: "stack",
        under: &["unified"],
        args: &["--ignored"],
        programs: &PROGRAMS,
    },
    Recipe {
        name: "systemd",
        package: "vm",
        folder: "tests/vm",
        target: "systemd",
        under: &["unified", "legacy"],
        args: &["--ignored"],
        programs: &["runc-rs"],
    },
    Recipe {
        name: "rootless",
        package: "vm",
        folder: "tests/vm",
        target: "rootless",
        under: &["unified"],
        args: &["--ignored"],
        programs: &["runc-rs"],
    },
    Recipe {
        name: "podman",
        package: "vm",
        folder: "tests/vm",
        target: "podman",
        under: &["unified"],
        args: &["--ignored"],
        programs: &["runc-rs"],
    },
    Recipe {
        name: "criu",
        package: "vm",
        folder: "tests/vm",
        target: "criu",
        under: &["unified"],
        args: &["--ignored"],
        programs: &["runc-rs"],
    },
    Recipe {
        name: "criu-version-1",
        package: "vm",
        folder: "tests/vm",
        target: "criu",
        under: &["legacy"],
        args: &["--ignored", "a_counter"],
        programs: &["runc-rs"],
    },
    Recipe {
        name: "apparmor",
        package: "vm",
        folder: "tests/vm",
        target: "apparmor",
        under: &["unified"],
        args: &["--ignored"],
        programs: &["runc-rs"],
    },
    Recipe {
        name: "version-2",
        package: "vm",
        folder: "tests/vm",
        target: "unified",
        under: &["unified"],
        args: &["--ignored"],
        programs: &["runc-rs"],
    },
    // The last: it puts a policy into force.
    Recipe {
        name: "selinux",
        package: "vm",
        folder: "tests/vm",
        target: "selinux",
        under: &["legacy"],
        args: &["--ignored"],
        programs: &["runc-rs"],
    },
];

/// A recipe with its program.
#[derive(Debug)]
pub struct Suite {
    recipe: &'static Recipe,
    program: PathBuf,
}

/// The suites named in `only`, or all, with their tests and programs built; and the folder of the programs.
///
/// All are built the way `cargo xtask test` builds them, so that nothing is built twice; some are built alone.
pub fn gather(only: &[String]) -> Result<(Vec<Suite>, PathBuf)> {
    let wanted = |recipe: &&Recipe| only.is_empty() || only.iter().any(|name| name == recipe.name);
    let recipes: Vec<&Recipe> = RECIPES.iter().filter(wanted).collect();
    let names = || RECIPES.iter().map(|recipe| recipe.name).collect::<Vec<_>>().join(", ");
    ensure!(!recipes.is_empty(), "there is no suite {}; there are: {}", only.join(", "), names());
    let root = root();
    let programs = build::debug()?;
    let mut tests = build::cargo(&root);
    tests.args(["test", "--no-run", "--message-format=json-render-diagnostics"]);
    if only.is_empty() {
        tests.arg("--workspace");
    }
    for recipe in recipes.iter().filter(|_| !only.is_empty()) {
        tests.args(["-p", recipe.package]);
    }
    let text = sh::read(tests.stderr(std::process::Stdio::inherit()))?;
    let built: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let suites: Result<Vec<Suite>> =
        recipes.into_iter().map(|recipe| Suite::of(recipe, &built, &root)).collect();
    Ok((suites?, programs))
}

impl Suite {
    /// The control groups that it runs under.
    pub fn under(&self) -> &'static [&'static str] {
        self.recipe.under
    }

    fn of(recipe: &'static Recipe, built: &[Value], root: &Path) -> Result<Self> {
        let manifest = root.join(recipe.folder).join("Cargo.toml");
        let program = program(built, &manifest, recipe.target)
            .with_context(|| format!("cargo built no tests {} of {}", recipe.target, recipe.package))?;
        Ok(Suite { recipe, program })
    }
}

/// The test program in cargo's messages.
fn program(built: &[Value], manifest: &Path, target: &str) -> Option<PathBuf> {
    let manifest = manifest.to_str()?;
    let found = built.iter().find(|message| {
        message["manifest_path"] == manifest
            && message["target"]["name"] == target
            && message["profile"]["test"] == true
            && message["executable"].is_string()
    });
    found.and_then(|message| message["executable"].as_str()).map(PathBuf::from)
}

/// Makes the disk.
pub fn make(suites: &[Suite], programs: &Path, kernel: &Kernel, folder: &Path) -> Result<PathBuf> {
    let tree = fresh(&folder.join("payload"))?;
    for name in ["programs", "tests", "modules"] {
        fs::create_dir(tree.join(name))?;
    }
    let driven = suites.iter().flat_map(|suite| suite.recipe.programs);
    for name in driven.collect::<BTreeSet<_>>() {
        strip(&programs.join(name), &tree.join("programs").join(name))?;
    }
    for client in CLIENTS.map(Path::new) {
        let name = client.file_name().context("a client has no name")?;
        fs::copy(client, tree.join("programs").join(name))
            .with_context(|| format!("copy {}", client.display()))?;
    }
    for (number, module) in MODULES.iter().enumerate() {
        let from = kernel.modules.join(module);
        // Their order is that of their names.
        fs::copy(&from, tree.join(format!("modules/{number:02}.ko")))
            .with_context(|| format!("copy {}", from.display()))?;
    }
    for suite in suites {
        strip(&suite.program, &tree.join("tests").join(suite.recipe.name))?;
    }
    fs::write(tree.join("suites"), list(suites))?;
    let scratch = tempfile::tempdir()?;
    fs::copy(image::busybox_archive(scratch.path())?, tree.join("busybox.tar")).context("copy the image")?;
    // Tests know the programs of their own package by the path that cargo builds them at for them.
    let built_at = build::target_folder(&root()).join("debug");
    fs::write(tree.join("built-at"), built_at.display().to_string())?;
    fs::write(tree.join("run"), RUN)?;
    fs::set_permissions(tree.join("run"), fs::Permissions::from_mode(0o755))?;
    let disk = folder.join("payload.img");
    disk::make(&tree, &disk, "1G")?;
    fs::remove_dir_all(&tree)?;
    Ok(disk)
}

/// A line a suite: where it runs, its name, its arguments.
fn list(suites: &[Suite]) -> String {
    let line = |suite: &Suite| {
        let Recipe { name, under, args, .. } = suite.recipe;
        format!("{} {name} {}\n", under.join(","), args.join(" "))
    };
    suites.iter().map(line).collect()
}

/// Copies a program without what only a debugger reads, which is most of it.
fn strip(from: &Path, to: &Path) -> Result<()> {
    sh::run(Command::new("strip").arg("--strip-debug").arg("-o").arg(to).arg(from))
}
