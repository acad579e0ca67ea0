//! Format and lints.

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
