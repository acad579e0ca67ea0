//! The system calls that nix and rustix do not wrap, each behind a safe function.

pub mod arguments;
pub mod bpf;
pub mod caps;
pub mod clone;
pub mod deny;
pub mod environment;
pub mod fd;
pub mod keyring;
pub mod kill;
pub mod malloc;
pub mod mount;
pub mod mountinfo;
pub mod net;
pub mod populate;
pub mod resident;
pub mod sched;
pub mod sched_core;
pub mod seccomp;
pub mod signal;
pub mod spawn_fds;
pub mod writeback;
pub mod xattrat;
