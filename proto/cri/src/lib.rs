//! Kubernetes' Container Runtime Interface, version 1: all 43 calls of its two services, client and server.
//!
//! `proto/runtime/v1/api.proto` is the source; the code is generated when the crate is built. Maps are `BTreeMap`s, so
//! that equal messages encode to equal bytes.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[allow(missing_docs, rustdoc::all, clippy::all)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

#[cfg(test)]
mod fingerprint;
mod redact;
#[cfg(test)]
mod tests;

pub use packages::runtime;
pub use packages::runtime::v1;
