//! A folder in memory for what a real host keeps in /run: bundles, sockets, the executors' state. What has to last stays on disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use harness::sh;

use super::report::Report;

/// Where most machines have a tmpfs.
const MEMORY: &str = "/dev/shm";

/// Temporary folders in memory, or on disk where this machine has no tmpfs.
pub struct Volatile {
    folder: TempDir,
}

impl Volatile {
    /// Makes it; the report says where it could not be in memory.
    pub fn make(report: &mut Report) -> Result<Volatile> {
        let kind = sh::read(Command::new("stat").args(["--file-system", "--format", "%T", MEMORY]));
        let in_memory = kind.is_ok_and(|kind| kind.trim() == "tmpfs");
        let mut builder = tempfile::Builder::new();
        builder.prefix("runtimed-bench-");
        let folder = if in_memory { builder.tempdir_in(MEMORY) } else { builder.tempdir() };
        if !in_memory {
            report
                .missing("state in memory", format!("{MEMORY} is no tmpfs, so everybody's state is on disk"));
        }
        Ok(Volatile { folder: folder.context("make a volatile folder")? })
    }

    /// A folder in it.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        Ok(folder)
    }

    /// Has `place`, which does not exist yet, lead to a folder in it.
    pub fn stand_in(&self, name: &str, place: &Path) -> Result<()> {
        if let Some(parent) = place.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::os::unix::fs::symlink(self.folder(name)?, place)
            .with_context(|| format!("make {}", place.display()))
    }
}
