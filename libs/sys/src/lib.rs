//! The system calls that nix and rustix do not wrap, each behind a safe function.

pub mod malloc;
pub mod spawn_fds;
