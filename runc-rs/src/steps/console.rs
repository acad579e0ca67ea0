//! The container's terminal (config.md, "Process", `terminal`).
//!
//! Its master is opened in the container's own devpts, checked to be what it should be (CVE-2025-52565), and sent to
//! whoever holds the other end of the console socket. The slave comes from the master itself, not by name.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat, fstatfs, major, minor};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::Context;
use super::site::{Look, Site};
use super::tree::Tree;
use crate::error::{Context as _, Error, Result};
use crate::root::Root;
use crate::stage::fds;

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Has a terminal pass lines on as the program ends them: the terminal that they are relayed to does the rest.
pub fn leave_line_ends(terminal: &OwnedFd) -> Result<()> {
    let mut modes = tcgetattr(terminal).map_err(|e| Error::call("tcgetattr", e))?;
    modes.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(terminal, OptionalActions::Now, &modes).map_err(|e| Error::call("tcsetattr", e))
}

/// Makes the terminal and takes it as standard streams and controlling terminal.
pub fn set_up(context: &mut Context<'_>, mount: bool) -> Result<()> {
    let socket = context.console.take().ok_or_else(|| Error::new("no console socket"))?;
    let master = open_master(context.root()?)?;
    unlockpt(&master).map_err(|e| Error::call("unlock the terminal", e))?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).map_err(|e| Error::call("open the terminal's slave", e))?;
    if let Some((rows, columns)) = context.process.console_size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).map_err(|e| Error::call("set the terminal's size", e))?;
    }
    if context.foreground {
        leave_line_ends(&slave)?;
    }
    if mount {
        mount_console(context.site()?, &slave)?;
    }
    let name = ptsname(&master, Vec::new()).map_err(|e| Error::call("ptsname", e))?;
    fds::send(&socket, name.to_bytes(), master.as_fd()).context("send the terminal's master")?;
    take(&slave)
}

fn open_master(root: &Root) -> Result<OwnedFd> {
    let path = Path::new("/dev/pts/ptmx");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let master = root.open(path, flags).map_err(|e| Error::call("open /dev/pts/ptmx", e))?;
    let stat = fstat(&master)?;
    let genuine = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2)
        && fstatfs(&master)?.f_type == DEVPTS_SUPER_MAGIC;
    if genuine { Ok(master) } else { Err(Error::new("/dev/pts/ptmx is not a terminal multiplexer")) }
}

fn mount_console(site: Site<'_>, slave: &OwnedFd) -> Result<()> {
    let path = Path::new("/dev/console");
    let target = site.root.make_file(path)?;
    site.attach(Tree::of(slave, path)?, &target, path, Look::default()).map(drop)
}

fn take(slave: &OwnedFd) -> Result<()> {
    let all = || {
        rustix::stdio::dup2_stdin(slave)?;
        rustix::stdio::dup2_stdout(slave)?;
        rustix::stdio::dup2_stderr(slave)?;
        rustix::process::ioctl_tiocsctty(slave)
    };
    all().map_err(|e| Error::call("take the terminal", e))
}
