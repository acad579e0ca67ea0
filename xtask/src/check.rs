//! Format and lints.

use anyhow::Result;

use crate::{build, sh};

/// Every source is formatted.
pub fn format() -> Result<()> {
    sh::run(build::cargo(&sh::root()).args(["fmt", "--all", "--check"]))
}

/// No lint has anything to say.
pub fn lints() -> Result<()> {
    sh::run(build::cargo(&sh::root()).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))
}
