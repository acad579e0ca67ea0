//! Moving oneself into a cgroup of version 1.
//!
//! Whoever moves another process (a pid in `cgroup.procs`) makes the kernel wait until no process is in the middle of a
//! fork or an exit, anywhere: an RCU grace period, some ten milliseconds. A thread that moves itself (`0` in `tasks`)
//! needs no such guard (`cgroup_procs_write_start` in kernel/cgroup/cgroup.c), and a new process has but one thread.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Error, Result};

/// A cgroup's `tasks`, open for a process that is yet to be made.
#[derive(Debug)]
pub struct Entrance {
    file: File,
    path: PathBuf,
    optional: bool,
}

impl Entrance {
    /// Opens the way into `dir`. A failure to go through one that is `optional` is no failure.
    pub(super) fn open(dir: &Path, optional: bool) -> Result<Self> {
        let path = dir.join("tasks");
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => Ok(Self { file, path, optional }),
            Err(e) => Err(Error::io("open", path, e)),
        }
    }

    /// Moves the calling thread in.
    pub fn enter(mut self) -> Result<()> {
        match self.file.write_all(b"0") {
            Err(e) if !self.optional => Err(Error::io("write 0 to", self.path, e)),
            _ => Ok(()),
        }
    }
}
