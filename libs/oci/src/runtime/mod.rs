//! The runtime specification: `config.json`.
//!
//! The types are those of the crate `oci-spec`; reading goes through [`parse`], which is as forgiving as runc and says
//! which field is wrong.

mod blame;
mod default;
mod parse;
mod words;
mod zeros;

pub use default::{default_spec, default_spec_json, rootless_spec_json};
pub use oci_spec::runtime::*;
pub use parse::{MAX_SIZE, Parsed, first_value, parse, parse_resources, parse_with_warnings, to_json};

/// The release of runtime-spec that is understood.
pub const SPEC_VERSION: &str = "1.3.0";
