//! Security modules, and no_new_privs.

use std::path::Path;

use crate::error::{Context, Error, Result};
use crate::procfs::Procfs;

/// Whether the kernel has AppArmor switched on.
fn apparmor_enabled() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// Fails early for what init could only find out late, when the host's /sys is out of reach.
pub fn check(apparmor: &str, selinux: &str) -> Result<()> {
    if !apparmor.is_empty() && !apparmor_enabled() {
        return Err(Error::new(
            "apparmor profile is specified in config, but apparmor is not enabled on the host",
        ));
    }
    if !selinux.is_empty() && !selinux_enabled() {
        return Err(Error::new(
            "selinux label is specified in config, but selinux is disabled or not supported",
        ));
    }
    Ok(())
}

/// The same for the label of mounts (`linux.mountLabel`).
pub fn check_mount_label(label: &str) -> Result<()> {
    if !label.is_empty() && !selinux_enabled() {
        return Err(Error::new(
            "linux.mountLabel is specified in config, but selinux is disabled or not supported",
        ));
    }
    Ok(())
}

fn selinux_enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// Changes to an AppArmor profile on exec.
pub fn apparmor(procfs: &Procfs, profile: &str) -> Result<()> {
    let value = format!("exec {profile}");
    procfs
        .write("thread-self/attr/apparmor/exec", value.as_bytes())
        .or_else(|_| procfs.write("thread-self/attr/exec", value.as_bytes()))
        .with_context(|| format!("apply apparmor profile {profile:?}"))
}

/// Changes to an SELinux label on exec.
pub fn selinux(procfs: &Procfs, label: &str) -> Result<()> {
    procfs
        .write("thread-self/attr/exec", label.as_bytes())
        .with_context(|| format!("apply selinux label {label:?}"))
}

/// Gives up rights through exec, for good.
pub fn no_new_privileges() -> Result<()> {
    rustix::thread::set_no_new_privs(true).map_err(|e| Error::call("prctl PR_SET_NO_NEW_PRIVS", e))
}
