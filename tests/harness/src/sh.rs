//! Running other programs.

use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// Runs to success, with this program's own streams.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

/// Runs to the end and keeps what it wrote, whether or not it succeeded.
pub fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("run {command:?}"))
}

/// Runs to success and returns what it wrote to stdout.
pub fn read(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Is a program in PATH?
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
