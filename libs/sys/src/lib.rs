//! The system calls that nix and rustix do not wrap, each behind a safe function.

pub mod arguments;
pub mod beside;
pub mod bpf;
pub mod caps;
pub mod clone;
pub mod deny;
pub mod environment;
pub mod fd;
#[cfg(target_env = "musl")]
mod fortify;
pub mod heap;
pub mod keyring;
pub mod kill;
#[cfg(target_env = "gnu")]
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
#[cfg(target_env = "musl")]
mod words;
pub mod writeback;
pub mod xattrat;
