//! Handing a cgroup over to a user, who may then divide it (cgroups(7), "Cgroup delegation").

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::lchown;
use std::path::Path;

use crate::cgroup::{Error, Result};

/// The kernel's list of files that go with the directory; since Linux 4.15.
const LIST: &str = "/sys/kernel/cgroup/delegate";
/// What was on it first.
const FILES: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Makes `uid` the owner of the directory and of the files in it that a delegate needs. The limits stay ours.
pub fn give_to(dir: &Path, uid: u32) -> Result<()> {
    let give = |path: &Path| lchown(path, Some(uid), None);
    give(dir).map_err(|e| Error::io(format!("chown to {uid}"), dir, e))?;
    let list = fs::read_to_string(LIST).unwrap_or_else(|_| FILES.to_owned());
    for name in list.lines().filter(|name| !name.is_empty() && !name.contains('/')) {
        match give(&dir.join(name)) {
            // A controller that is not enabled.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            done => done.map_err(|e| Error::io(format!("chown to {uid}"), dir.join(name), e))?,
        }
    }
    Ok(())
}
