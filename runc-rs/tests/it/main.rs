//! The executor against the kernel: real containers from a busybox root, driven through the command line.
//!
//! They need root. What a test makes (processes, cgroups, directories) ends with it.

#![allow(missing_docs, clippy::unwrap_used)]

mod bundle;
mod command_line;
mod criu;
mod errors;
mod exec;
mod fallback;
mod filesystem;
mod hooks;
mod kill;
mod lifecycle;
mod memory;
mod namespaces;
mod net_devices;
mod notify;
mod older;
mod plan;
mod process;
mod rootless;
mod safety;
mod seccomp;
mod terminal;
mod unified;
