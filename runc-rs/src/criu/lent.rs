//! Images that a user namespace may read: the restored processes read their own images when they are in it already, and the
//! directory is nobody's but root's.

use std::os::fd::OwnedFd;

use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, fchown};

use crate::error::{Error, Result};
use crate::plan::Plan;

/// May be searched by its group.
const SEARCHED: u32 = 0o010;

/// A directory that belongs to the group that is the container's root's, for as long as this lives.
#[derive(Debug)]
pub struct Lent<'a> {
    directory: &'a OwnedFd,
    group: Gid,
    mode: Mode,
}

impl<'a> Lent<'a> {
    /// Lends `directory`, if the container has ids of its own.
    pub fn new(directory: &'a OwnedFd, plan: &Plan) -> Result<Option<Self>> {
        let Some(root) = plan.gid_maps.iter().find(|map| map.container == 0) else { return Ok(None) };
        let at = |e| Error::call("lend the images to the container's user namespace", e);
        let stat = fstat(directory).map_err(at)?;
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o7777);
        fchown(directory, None, Some(Gid::from_raw(root.host))).map_err(at)?;
        let lent = Lent { directory, group: Gid::from_raw(stat.st_gid), mode };
        fchmod(directory, mode | Mode::from_bits_truncate(SEARCHED)).map_err(at)?;
        Ok(Some(lent))
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // First the bit that was added: the directory is never open to another group.
        let taken =
            fchmod(self.directory, self.mode).and_then(|()| fchown(self.directory, None, Some(self.group)));
        if let Err(e) = taken.and_then(|()| fchmod(self.directory, self.mode)) {
            crate::log::warn(format!("take the images back from the container's user namespace: {e}"));
        }
    }
}
