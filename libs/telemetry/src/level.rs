//! How much is logged.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// Libraries that tell more than anybody asked for: they are heard from warnings up.
const CHATTY: [&str; 14] = [
    "h2",
    "hickory",
    "hyper",
    "hyper_util",
    "log",
    "mio",
    "netlink",
    "reqwest",
    "rustls",
    "sled",
    "tokio_util",
    "tonic",
    "tower",
    "ttrpc",
];

/// containerd's levels, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Everything.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    Info,
    /// What should not happen.
    Warn,
    /// What failed.
    Error,
    /// Only what ends the process, which is told on stderr without a log.
    Fatal,
    /// As [`Level::Fatal`].
    Panic,
}

impl Level {
    /// Parses `--log-level`'s words, in any case; the error names the word and those there are.
    pub fn parse(word: &str) -> Result<Level, String> {
        match word.to_ascii_lowercase().as_str() {
            "trace" => Ok(Level::Trace),
            "debug" => Ok(Level::Debug),
            "info" => Ok(Level::Info),
            "warn" | "warning" => Ok(Level::Warn),
            "error" => Ok(Level::Error),
            "fatal" => Ok(Level::Fatal),
            "panic" => Ok(Level::Panic),
            _ => Err(format!(
                "not a valid log level: {word:?} (one of trace, debug, info, warn, error, fatal, panic)"
            )),
        }
    }

    fn filter(self) -> LevelFilter {
        match self {
            Level::Trace => LevelFilter::TRACE,
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error => LevelFilter::ERROR,
            Level::Fatal | Level::Panic => LevelFilter::OFF,
        }
    }

    /// What is let through of whom.
    pub(crate) fn targets(self) -> Targets {
        let quiet = self.filter().min(LevelFilter::WARN);
        Targets::new().with_default(self.filter()).with_targets(CHATTY.map(|target| (target, quiet)))
    }
}
