//! Disks out of folders.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use harness::sh;

/// Makes `disk`, of `size`, with an ext4 file system that holds what is in `folder`. Nothing is mounted for it.
pub fn make(folder: &Path, disk: &Path, size: &str) -> Result<()> {
    if disk.exists() {
        std::fs::remove_file(disk).with_context(|| format!("remove {}", disk.display()))?;
    }
    // No journal: nobody goes on with the disk after a crash.
    let options = ["-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1", "-d"];
    sh::run(
        Command::new("mke2fs")
            .args(options)
            .arg(folder)
            .arg(disk)
            .arg(size)
            .stdout(std::process::Stdio::null()),
    )
}
