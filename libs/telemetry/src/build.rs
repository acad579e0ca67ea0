//! Which build this is.

/// The version of the whole house.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, given by `RUNTIMED_REVISION` when it was built; empty when that said nothing.
pub const REVISION: &str = match option_env!("RUNTIMED_REVISION") {
    Some(revision) => revision,
    None => "",
};
