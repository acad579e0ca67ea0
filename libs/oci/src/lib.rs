//! OCI documents as this project reads and writes them; no I/O.

pub mod runtime;
