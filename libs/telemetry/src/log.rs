//! The program's log on standard error: one event a line, for people or as JSON.

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::Level;

/// Libraries whose own talk below warnings is of no use to an administrator.
const QUIET: &[&str] = &["h2", "hyper", "hyper_util", "tower", "tonic", "rustls", "reqwest", "sled", "mio", "ttrpc"];

/// Starts logging at `level` (containerd's names) as `format` (`text` or `json`). The error says which of the two is wrong, or that
/// logging was started before.
pub fn init(level: &str, format: &str) -> Result<(), String> {
    let level = Level::parse(level)?.filter();
    let mut targets = Targets::new().with_default(level);
    for library in QUIET {
        targets = targets.with_target(*library, level.min(tracing::level_filters::LevelFilter::WARN));
    }
    let layer = match format {
        "text" => fmt::layer().with_writer(std::io::stderr).with_ansi(false).with_target(false).boxed(),
        "json" => fmt::layer().with_writer(std::io::stderr).json().flatten_event(true).boxed(),
        other => return Err(format!("not a valid format: {other:?}")),
    };
    tracing_subscriber::registry().with(layer.with_filter(targets)).try_init().map_err(|error| error.to_string())
}
