//! `cargo xtask soak`: hours of what a machine with many containers goes through in months.

use anyhow::Result;

use harness::sh;

use crate::root::root;
use crate::{build, packages};

/// Builds the programs and runs the soak for so many minutes; its seed is printed, and can be given again.
pub fn soak(minutes: u64, seed: Option<u64>) -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::TEST)?;
    let programs = build::debug()?;
    let mut command = build::cargo(&root());
    command
        .args(["test", "--package", "e2e", "--test", "soak", "--", "--ignored", "--nocapture"])
        .env("RUNTIMED_BIN_DIR", &programs)
        .env("RUNTIMED_SOAK_MINUTES", minutes.to_string());
    if let Some(seed) = seed {
        command.env("RUNTIMED_SOAK_SEED", seed.to_string());
    }
    sh::run(&mut command)
}
