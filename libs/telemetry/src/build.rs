//! What a build says of itself.

/// The version, as in the workspace's manifest.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The revision it was built from; `unknown` where the sources came without history.
pub const REVISION: &str = match option_env!("RUNTIMED_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};
