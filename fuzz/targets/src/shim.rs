//! What the shim reads.

use containerd_shim_runtimed_v2::doors;

use crate::input::{fill, folder, parts, texts};

/// Command line, standard input, and MAX_SHIM_VERSION.
pub fn start(bytes: &[u8]) {
    let [version, words, stdin] = parts(bytes);
    doors::start(words, stdin, std::str::from_utf8(version).ok());
}

/// Runtime options.
pub fn options(bytes: &[u8]) {
    doors::options(bytes);
}

/// Where a stream leads, with the options of a log.
pub fn stream(bytes: &[u8]) {
    let [text] = texts(bytes);
    doors::stream(&text);
}

/// Mount options.
pub fn mount(bytes: &[u8]) {
    let [text] = texts(bytes);
    doors::mount_options(&text);
}

/// mountinfo and cgroup.
pub fn kernel(bytes: &[u8]) {
    let [mountinfo, cgroups] = texts(bytes);
    doors::kernel_files(&mountinfo, &cgroups);
}

/// Files of a bundle.
pub fn bundle(bytes: &[u8]) {
    let folder = folder();
    fill(
        folder.path(),
        ["config.json", "exit.json", "options.json", "runtime", "address", "init.pid"],
        bytes,
    );
    doors::bundle(folder.path());
}

/// Files of a cgroup.
pub fn metrics(bytes: &[u8]) {
    let folder = folder();
    let names = [
        "cpu.stat",
        "memory.stat",
        "memory.current",
        "io.stat",
        "cpu.pressure",
        "rdma.current",
        "blkio.throttle.io_serviced",
        "cpuacct.usage_percpu",
        "pids.max",
    ];
    fill(folder.path(), names, bytes);
    doors::metrics(folder.path());
}
