//! The system call filter, compiled by the command while the new process is busy with its mounts.
//!
//! It crosses in a memory file that both have open: the new process reads it when it gets there, and by then the command
//! has answered `Mounted` or `Ready`, which it does only after the file is filled.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use oci::runtime::LinuxSeccomp;
use rustix::fs::{MemfdFlags, memfd_create};

use super::filter_cache::Cache;
use crate::error::{Context, Error, Result};
use crate::steps::seccomp::{self, Program};

/// A place for a filter that is still to be compiled.
#[derive(Debug)]
pub struct Slot {
    file: File,
}

impl AsFd for Slot {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Slot {
    /// An empty one.
    pub fn new() -> Result<Self> {
        let fd = memfd_create("seccomp", MemfdFlags::CLOEXEC).map_err(|e| Error::call("memfd_create", e))?;
        Ok(Slot { file: File::from(fd) })
    }

    /// Compiles the filter into it, or finds it compiled; `root` is where containers are kept.
    pub fn fill(&self, seccomp: &LinuxSeccomp, root: &Path) -> Result<()> {
        let cache = Cache::of(root, seccomp);
        let program = match cache.as_ref().and_then(Cache::find) {
            Some(program) => program,
            None => {
                let program = seccomp::compile(seccomp).map_err(|e| Error::new(e.to_string()))?;
                cache.inspect(|cache| cache.keep(&program));
                program
            }
        };
        // The flags come first; the rest is the filter.
        let mut bytes = program.flags.to_ne_bytes().to_vec();
        bytes.extend(program.filter);
        self.file.write_all_at(&bytes, 0).context("write seccomp filter")
    }

    /// What has been put into it.
    pub fn take(&self) -> Result<Program> {
        let size = self.file.metadata().context("stat seccomp filter")?.len();
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, 0).context("read seccomp filter")?;
        let (flags, filter) = bytes
            .split_first_chunk::<4>()
            .ok_or_else(|| Error::new("the seccomp filter was not compiled"))?;
        Ok(Program { filter: filter.to_vec(), flags: u32::from_ne_bytes(*flags) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let slot = Slot::new().unwrap();
        assert!(slot.take().unwrap_err().to_string().contains("not compiled"));
        let seccomp: LinuxSeccomp = serde_json::from_str(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#).unwrap();
        let root = tempfile::tempdir().unwrap();
        slot.fill(&seccomp, root.path()).unwrap();
        assert_eq!(slot.take().unwrap(), seccomp::compile(&seccomp).unwrap());
    }
}
