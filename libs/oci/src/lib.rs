//! OCI documents as this project reads and writes them; no I/O.

pub mod capability;
pub mod error;
pub mod runtime;
pub mod seccomp;

pub use error::Error;
