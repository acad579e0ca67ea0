//! From root to the process's own user, groups, capabilities and working directory.

use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::fs::{FileType, Mode, OFlags, fstat, major, minor};
use rustix::io::Errno;

use super::Context;
use crate::error::{Error, Result};
use crate::log;
use crate::plan::process::{Caps, Process, unique, variable};
use crate::root::Root;

/// More than any real /etc/passwd.
const MAX_PASSWD: u64 = 1 << 20;

/// Leaves each variable its last value, and sets HOME from the container's /etc/passwd when the environment has none.
pub fn complete_environment(context: &mut Context<'_>) -> Result<()> {
    context.env = unique(&context.env);
    if variable(&context.env, "HOME").is_none_or(str::is_empty) {
        let home = home(context.root()?, context.process.uid).unwrap_or_else(|| "/".to_owned());
        context.env.retain(|pair| !pair.starts_with("HOME="));
        context.env.push(format!("HOME={home}"));
    }
    Ok(())
}

fn home(root: &Root, uid: u32) -> Option<String> {
    // Not a device or a FIFO, on which to read could have an effect or take for ever.
    let fd = root.open(Path::new("/etc/passwd"), OFlags::RDONLY | OFlags::NONBLOCK).ok()?;
    if FileType::from_raw_mode(fstat(&fd).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::from(fd).take(MAX_PASSWD).read_to_end(&mut text).ok()?;
    home_in(&String::from_utf8_lossy(&text), uid)
}

/// passwd(5): name, password, uid, gid, comment, home, shell.
pub(crate) fn home_in(passwd: &str, uid: u32) -> Option<String> {
    let mut lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let line = lines.find(|fields| fields.get(2).and_then(|f| f.parse().ok()) == Some(uid))?;
    line.get(5).filter(|home| !home.is_empty()).map(|home| (*home).to_owned())
}

/// Becomes the process's user.
pub fn assume(context: &mut Context<'_>) -> Result<()> {
    let process = context.process;
    rustix::process::umask(Mode::from_raw_mode(process.umask & 0o777));
    own_streams(process.uid)?;
    let caps = grantable(process.capabilities.unwrap_or_default())?;
    drop_bounding(caps.bounding)?;
    rustix::thread::set_keep_capabilities(true).map_err(|e| Error::call("prctl PR_SET_KEEPCAPS", e))?;
    // The directory may be within reach of root alone, or (on a network file system) of the user alone.
    let entered = rustix::process::chdir(&process.cwd);
    change_user(process)?;
    match entered {
        Err(Errno::ACCESS) => rustix::process::chdir(&process.cwd),
        other => other,
    }
    .map_err(|e| {
        let cwd = process.cwd.display();
        Error::call(format_args!("chdir to cwd ({cwd:?}) set in config.json failed"), e)
    })?;
    check_cwd()?;
    rustix::thread::set_keep_capabilities(false).map_err(|e| Error::call("prctl PR_SET_KEEPCAPS", e))?;
    apply(caps)
}

/// Gives the standard streams to the user, or it could not open them again through /proc/self/fd.
fn own_streams(uid: u32) -> Result<()> {
    let streams: [BorrowedFd<'_>; 3] =
        [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for stream in streams {
        let Ok(stat) = fstat(stream) else { continue };
        let null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3);
        if null || stat.st_uid == uid {
            continue;
        }
        match rustix::fs::fchown(stream, Some(rustix::fs::Uid::from_raw(uid)), None) {
            // An owner outside of the user namespace, a read-only file system, a kind of file without an owner.
            Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS | Errno::OVERFLOW) => {}
            Err(e) => return Err(Error::call("fchown of a standard stream", e)),
        }
    }
    Ok(())
}

fn change_user(process: &Process) -> Result<()> {
    let groups: Vec<Gid> = process.groups.iter().copied().map(Gid::from_raw).collect();
    match setgroups(&groups) {
        // A user namespace may deny it for good; with nothing asked for, nothing is lost.
        Err(nix::errno::Errno::EPERM) if groups.is_empty() => {}
        other => other.map_err(|e| Error::call(format_args!("setgroups {:?}", process.groups), e))?,
    }
    let gid = Gid::from_raw(process.gid);
    setresgid(gid, gid, gid).map_err(|e| Error::call(format_args!("setgid {gid}"), e))?;
    let uid = Uid::from_raw(process.uid);
    setresuid(uid, uid, uid).map_err(|e| Error::call(format_args!("setuid {uid}"), e))
}

/// What of the sets this process can give at all; the rest is a warning (config.md: "MUST be logged as a warning").
fn grantable(caps: Caps) -> Result<Caps> {
    let own = sys::caps::permitted().map_err(|e| Error::call("capget", e))?;
    let asked = caps.effective | caps.permitted;
    for cap in caps::all().into_iter().filter(|c| asked & !own & c.bitmask() != 0) {
        log::warn(format!("capability {cap} cannot be granted: it is ignored"));
    }
    let permitted = caps.permitted & own;
    Ok(Caps {
        bounding: caps.bounding,
        effective: caps.effective & permitted,
        permitted,
        inheritable: caps.inheritable & own,
        ambient: caps.ambient & permitted & caps.inheritable,
    })
}

fn drop_bounding(keep: u64) -> Result<()> {
    for cap in 0..64 {
        match sys::caps::in_bounding(cap) {
            Ok(true) if keep & (1 << cap) == 0 => {
                sys::caps::drop_bounding(cap).map_err(|e| {
                    Error::call(format_args!("drop capability {cap} from the bounding set"), e)
                })?;
            }
            Ok(_) => {}
            // The kernel's last capability is passed.
            Err(_) => break,
        }
    }
    Ok(())
}

fn apply(caps: Caps) -> Result<()> {
    let at = |e| Error::call("unable to apply caps", e);
    sys::caps::set(caps.effective, caps.permitted, caps.inheritable).map_err(at)?;
    sys::caps::clear_ambient().map_err(at)?;
    for cap in (0..64).filter(|cap| caps.ambient & (1 << cap) != 0) {
        sys::caps::raise_ambient(cap)
            .map_err(|e| Error::call(format_args!("raise ambient capability {cap}"), e))?;
    }
    Ok(())
}

/// A working directory outside of the root would be a way out of the container (CVE-2024-21626).
fn check_cwd() -> Result<()> {
    let inside = matches!(rustix::process::getcwd(Vec::new()), Ok(path) if path.to_bytes().starts_with(b"/"));
    if inside {
        return Ok(());
    }
    Err(Error::new(
        "current working directory is outside of container mount namespace root -- possible container breakout detected",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n#\nbroken\nu:x:1000:1000::/home/u:\nn:x:7:7:::\n";
        assert_eq!(home_in(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(home_in(passwd, 1000).as_deref(), Some("/home/u"));
        assert_eq!(home_in(passwd, 7), None);
        assert_eq!(home_in(passwd, 8), None);
    }
}
