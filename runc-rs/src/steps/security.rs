//! Security modules, and no_new_privs.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, XattrFlags};

use crate::error::{Context, Error, Result};
use crate::procfs::Procfs;

/// How a mount is told the label of everything in it (mount(8), "context").
const CONTEXT: &str = "context=";

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

/// Whether a policy is in force: before there is one, everything is labelled `kernel`.
fn selinux_enabled() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
        && std::fs::read("/proc/self/attr/current")
            .is_ok_and(|label| label.strip_suffix(b"\0").unwrap_or(&label) != b"kernel")
}

/// Changes to an AppArmor profile on exec.
pub fn apparmor(procfs: &Procfs, profile: &str) -> Result<()> {
    // The older of the two names belongs to whichever module is the first.
    let own = "thread-self/attr/apparmor/exec";
    let path = if procfs.has(own) { own } else { "thread-self/attr/exec" };
    procfs
        .write(path, format!("exec {profile}").as_bytes())
        .with_context(|| format!("{profile:?}"))
        .context("unable to apply apparmor profile: apparmor failed to apply profile")
}

/// Changes to an SELinux label on exec.
pub fn selinux(procfs: &Procfs, label: &str) -> Result<()> {
    procfs
        .write("thread-self/attr/exec", label.as_bytes())
        .with_context(|| format!("{label:?}"))
        .context("can't set process label")
}

/// Does something that makes keys, which get this SELinux label.
pub fn with_key_label(procfs: &Procfs, label: &str, make: impl FnOnce() -> Result<()>) -> Result<()> {
    let path = "thread-self/attr/keycreate";
    if !procfs.has(path) {
        return make();
    }
    procfs.write(path, label.as_bytes()).with_context(|| format!("can't set key label: {label:?}"))?;
    let made = make();
    // An empty line takes it back.
    made.and(procfs.write(path, b"\n"))
}

/// What a mount is told for an SELinux label; nothing for none.
pub fn mount_option(label: &str) -> Option<String> {
    (!label.is_empty()).then(|| format!("{CONTEXT}{label}"))
}

/// An option as it stands in a list for mount(2): a label may have commas in it.
pub fn quoted(option: &str) -> Cow<'_, str> {
    match option.strip_prefix(CONTEXT) {
        Some(label) if !label.starts_with('"') => Cow::Owned(format!("{CONTEXT}\"{label}\"")),
        _ => Cow::Borrowed(option),
    }
}

/// Gives a directory an SELinux label, if there is one.
pub fn label_directory(directory: &OwnedFd, label: &str) -> Result<()> {
    if label.is_empty() {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(directory, ".", flags, Mode::empty())?;
    rustix::fs::fsetxattr(&directory, "security.selinux", label.as_bytes(), XattrFlags::empty())
        .map_err(|e| Error::call(format_args!("set security.selinux to {label:?}"), e))
}

/// Gives up rights through exec, for good.
pub fn no_new_privileges() -> Result<()> {
    rustix::thread::set_no_new_privs(true).map_err(|e| Error::call("prctl PR_SET_NO_NEW_PRIVS", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_stays_one_option() {
        let option = mount_option("system_u:object_r:container_file_t:s0:c1,c2").unwrap();
        assert_eq!(quoted(&option), "context=\"system_u:object_r:container_file_t:s0:c1,c2\"");
        assert_eq!(quoted("context=\"a:b:c:s0\""), "context=\"a:b:c:s0\"");
        assert_eq!(quoted("mode=755"), "mode=755");
        assert_eq!(mount_option(""), None);
    }
}
