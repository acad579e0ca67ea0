//! The runtime specification: `config.json`.
//!
//! The types are those of the crate `oci-spec`.

pub use oci_spec::runtime::*;
