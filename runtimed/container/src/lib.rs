//! Container records; nothing runs here.
//!
//! A record says what a container is made of. Its checks, its field masks and the words of its errors are those of
//! containerd's containers service.

mod container;
mod containers;
mod create;
mod record;
#[cfg(test)]
mod tests;
mod update;
mod validate;

pub use container::Container;
pub use containers::{Containers, RESTART_STATUS};
