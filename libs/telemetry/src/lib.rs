//! Logs, build information.
//!
//! Logs go to stderr, a line an event, in the two shapes that containerd's users know: logfmt
//! (`time="..." level=info msg="..." key=value`) and JSON.

pub mod build;
mod format;
mod layer;
mod level;
#[cfg(test)]
mod tests;

pub use format::Format;
pub use level::Level;

use tracing_subscriber::Layer as _;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sends the logs of this process to stderr, from `level` up (`trace`, `debug`, `info`, `warn`, `error`, `fatal`,
/// `panic`), as `format` (`text`, `json`). The error is a sentence for the user: an unknown word, or a second call.
pub fn init(level: &str, format: &str) -> Result<(), String> {
    let (level, format) = (Level::parse(level)?, Format::parse(format)?);
    let layer = layer::Lines::new(format, std::io::stderr).with_filter(level.targets());
    tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .map_err(|error| format!("logs are set up already: {error}"))
}
