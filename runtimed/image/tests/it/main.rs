//! The image room against real registries and archives, and against a registry that misbehaves.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod archive;
mod credentials;
mod documents;
mod hostile;
mod hosts;
mod local;
mod names;
mod odd;
mod push;
mod registry;
mod stub;
mod tools;
