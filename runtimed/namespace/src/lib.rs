//! Namespaces and their labels.
//!
//! A namespace exists when it has a record here, or when anything lives in it: records need none to be made.

mod create;
mod delete;
mod namespaces;
mod record;
#[cfg(test)]
mod tests;
mod update;

pub use namespaces::{Info, Namespaces};
