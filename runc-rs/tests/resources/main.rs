//! Limits, devices, system calls and the verbs around them, on real containers.
//!
//! Needs root and busybox (Debian: busybox-static); without them each test says so and passes.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it should be")]

mod bundle;
mod devices;
mod events;
mod limits;
mod pause;
mod ps;
mod seccomp;
mod spec;
