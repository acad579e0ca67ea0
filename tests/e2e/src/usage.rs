//! What processes hold: memory and descriptors.

use std::fmt;

use anyhow::{Context, Result};
use harness::Scene;

/// What one process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Use {
    /// In memory, in KiB (VmRSS).
    pub memory: usize,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
}

impl Use {
    /// Of a process that lives.
    pub fn of(pid: u32) -> Result<Use> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<usize> {
            let line =
                status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
            line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{name} {line}"))
        };
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count();
        Ok(Use { memory: field("VmRSS:")?, descriptors, threads: field("Threads:")? })
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} descriptors, {} threads", self.memory, self.descriptors, self.threads)
    }
}

/// The shims of a scene: programs of that name that were told of its root.
pub fn shims(scene: &Scene) -> Result<Vec<u32>> {
    let root = scene.root().display().to_string();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line);
        if line.split('\0').next().is_some_and(|program| program.contains("containerd-shim"))
            && line.contains(&root)
            && !line.contains("\0--stand-by\0")
        {
            pids.push(pid);
        }
    }
    Ok(pids)
}
