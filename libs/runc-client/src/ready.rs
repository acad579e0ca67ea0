//! An executor that was started before it was known for what: only this project's own can wait so.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use standby::{Call, Refused, Standby};

use crate::runc::Runc;
use crate::spawn::Running;
use crate::stdio::ExecutorStdio;

/// Bytes for the arguments of a verb, most of which are paths in a bundle.
const ROOM: usize = 1024;
/// Numbers of descriptors that are passed on.
const NUMBERS: std::ops::Range<i32> = 3..64;

/// A process of the executor that waits for its verb. It ends when this is dropped.
pub struct Ready {
    standby: Standby,
    running: Running,
}

impl Ready {
    /// Starts one, for `whom` it waits is shown in a list of processes; see [`Runc::file`] and [`Runc::spawner`], other options are told later.
    ///
    /// # Errors
    /// Whatever fork and exec say.
    pub fn start(runc: &Runc, whom: &OsStr) -> io::Result<Ready> {
        let mut command = runc.program();
        let standby = Standby::prepare(&mut command, whom, ROOM)?;
        // So that all of it can be ended.
        command.process_group(0);
        let running = runc.start_process(command)?;
        Ok(Ready { standby, running })
    }

    /// Has it do what `command` would, with these streams, and `inherited` under the number that it has here.
    pub(crate) fn call(
        self,
        command: &Command,
        stdio: &ExecutorStdio,
        inherited: Option<&OwnedFd>,
    ) -> Result<Running, Refused> {
        // It has the importance of who started it, which was of none then.
        self.standby.hurry(self.running.pid).map_err(Refused::Gone)?;
        let null = Call::null().map_err(Refused::Gone)?;
        let mut descriptors: Vec<(BorrowedFd<'_>, i32)> = Vec::new();
        for (number, fd) in [(0, &stdio.stdin), (1, &stdio.stdout), (2, &stdio.stderr)] {
            descriptors.push((fd.as_ref().map_or(null.as_fd(), AsFd::as_fd), number));
        }
        if let Some(fd) = inherited {
            let number = fd.as_raw_fd();
            if !NUMBERS.contains(&number) {
                return Err(Refused::TooLong);
            }
            descriptors.push((fd.as_fd(), number));
        }
        let call = Call::of(command, Path::new("."), &descriptors).map_err(Refused::Gone)?;
        self.standby.call(&call)?;
        Ok(self.running)
    }
}
