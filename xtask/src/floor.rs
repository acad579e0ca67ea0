//! `xtask floor`: what no container runtime can go below. Five new namespaces, and a program in them; no root of its own, no
//! mounts, no cgroup, no records.

use std::process::{Command, ExitCode};

use nix::sched::CloneFlags;

/// How it is called. It is looked for before the command line is parsed: parsing would be a part of what is measured.
pub const VERB: &str = "floor";

/// Runs `/bin/busybox true` in new mount, UTS, IPC, network and process namespaces.
pub fn floor() -> ExitCode {
    let namespaces = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID;
    if let Err(error) = nix::sched::unshare(namespaces) {
        eprintln!("xtask: unshare: {error}");
        return ExitCode::FAILURE;
    }
    match Command::new("/bin/busybox").arg("true").status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("xtask: /bin/busybox true: {status}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("xtask: /bin/busybox: {error}");
            ExitCode::FAILURE
        }
    }
}
