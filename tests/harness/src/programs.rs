//! Where the programs under test are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folder of the built programs: `RUNTIMED_BIN_DIR`, or the build folder of the running test.
pub fn folder() -> Result<PathBuf> {
    let folder = match std::env::var_os("RUNTIMED_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let own = std::env::current_exe().context("find the running program")?;
            let deps = own.parent().unwrap_or(Path::new("/"));
            if deps.ends_with("deps") { deps.parent().unwrap_or(deps).to_owned() } else { deps.to_owned() }
        }
    };
    for program in ["runtimed", "rctl", "containerd-shim-runtimed-v2", "runc-rs"] {
        if !folder.join(program).is_file() {
            bail!("{} is missing: `cargo xtask test` builds it", folder.join(program).display());
        }
    }
    Ok(folder)
}
