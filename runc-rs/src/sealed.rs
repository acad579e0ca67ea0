//! Runs from a copy of this program that a container cannot write to (CVE-2019-5736).
//!
//! A container process can reach the executor through /proc/PID/exe and, once nobody runs it, overwrite it on the host.
//! So a command that is about to start a container process first executes itself again from a read-only bind mount that
//! is attached nowhere (one extra exec, no copy), or, where that cannot be made, from a sealed memory file. Commands
//! that start nothing do not pay for it.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::{Context, Error, Result};

const EXE: &str = "/proc/self/exe";

fn all_seals() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}

/// Executes this program again from a protected copy, unless it already runs from one.
pub fn ensure() -> Result<()> {
    if is_protected()? {
        return Ok(());
    }
    let copy = read_only_mount().or_else(|e| {
        crate::log::debug(format!("no read-only mount of the executor: {e}"));
        memory_copy()
    });
    let copy = copy.context("unable to protect the executor")?;
    execute(&copy)
}

/// Whether the running program lies on a read-only mount, or is a sealed memory file.
fn is_protected() -> Result<bool> {
    let exe = rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| Error::call(format_args!("open {EXE}"), e))?;
    if rustix::fs::fcntl_get_seals(&exe).is_ok_and(|seals| seals.contains(all_seals())) {
        return Ok(true);
    }
    let flags = rustix::fs::fstatvfs(&exe)?.f_flag;
    Ok(flags.contains(StatVfsMountFlags::RDONLY))
}

fn read_only_mount() -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, EXE, flags).map_err(|e| Error::call("open_tree /proc/self/exe", e))?;
    let attr = sys::mount::MountAttr { set: sys::mount::RDONLY, ..Default::default() };
    sys::mount::setattr(tree.as_fd(), false, attr).map_err(|e| Error::call("mount_setattr", e))?;
    Ok(tree)
}

fn memory_copy() -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("runc-rs", flags).map_err(|e| Error::call("memfd_create", e))?;
    let mut from = std::fs::File::open(EXE).with_context(|| format!("open {EXE}"))?;
    let mut to = std::fs::File::from(copy);
    std::io::copy(&mut from, &mut to).context("copy the executor")?;
    rustix::fs::fcntl_add_seals(&to, all_seals()).map_err(|e| Error::call("seal the executor", e))?;
    Ok(to.into())
}

fn execute(copy: &OwnedFd) -> Result<()> {
    let strings = |all: Vec<Vec<u8>>| -> Vec<CString> {
        all.into_iter().filter_map(|s| CString::new(s).ok()).collect()
    };
    let args = strings(std::env::args_os().map(OsStringExt::into_vec).collect());
    let env = std::env::vars_os().map(|(key, value)| {
        let mut pair = key.into_vec();
        pair.push(b'=');
        pair.extend(value.into_vec());
        pair
    });
    let env = strings(env.collect());
    let flags = nix::fcntl::AtFlags::AT_EMPTY_PATH;
    match nix::unistd::execveat(copy, c"", &args, &env, flags) {
        Ok(never) => match never {},
        Err(e) => Err(Error::call("execute the protected executor", e)),
    }
}
