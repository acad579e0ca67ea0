//! What the executor reads.

use runc_rs::doors;

use crate::input::{fill, folder, parts, texts};

/// config.json.
pub fn config(bytes: &[u8]) {
    doors::config(bytes);
}

/// process.json and resources.json.
pub fn documents(bytes: &[u8]) {
    doors::documents(bytes);
}

/// state.json.
pub fn state(bytes: &[u8]) {
    doors::state(bytes);
}

/// The talk between two stages.
pub fn message(bytes: &[u8]) {
    doors::message(bytes);
}

/// Mount options.
pub fn mount(bytes: &[u8]) {
    let [text] = texts(bytes);
    doors::mount_options(&text);
}

/// Words, and a command line of them.
pub fn words(bytes: &[u8]) {
    let [text] = texts(bytes);
    doors::words(&text);
    doors::command_line(&text);
}

/// Files of /proc.
pub fn kernel(bytes: &[u8]) {
    let [mountinfo, cgroup, stat] = texts(bytes);
    doors::kernel_files(&mountinfo, &cgroup, &stat);
}

/// A container's passwd.
pub fn passwd(bytes: &[u8]) {
    let [text] = texts(bytes);
    doors::passwd(&text);
}

/// Files of a cgroup, and a line of devices.list.
pub fn cgroup(bytes: &[u8]) {
    let folder = folder();
    let names = [
        "cpu.stat",
        "memory.stat",
        "memory.current",
        "io.stat",
        "cpu.pressure",
        "rdma.current",
        "blkio.throttle.io_service_bytes_recursive",
        "cpuacct.usage_all",
        "cgroup.procs",
        "cgroup.events",
        "cpuset.cpus",
        "pids.current",
    ];
    fill(folder.path(), names, bytes);
    doors::cgroup_files(folder.path(), &String::from_utf8_lossy(parts::<1>(bytes)[0]));
}

/// A seccomp profile of docker's kind.
pub fn seccomp_profile(bytes: &[u8]) {
    let capabilities = ["CAP_SYS_ADMIN".to_owned()];
    for kernel in [(3, 10), (6, 12)] {
        let target = oci::seccomp::Target { capabilities: &capabilities, arch: "x86_64", kernel };
        let _ = oci::seccomp::from_profile(bytes, &target);
    }
}
