//! containerd's names of log levels.

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Trace,
    /// What somebody who looks for a fault needs.
    Debug,
    /// What an administrator wants to know.
    Info,
    /// What may need an administrator.
    Warn,
    /// What failed.
    Error,
}

impl Level {
    /// Parses a name; `fatal` and `panic`, which end a Go program, are `error` here. The error names the text.
    pub fn parse(name: &str) -> Result<Level, String> {
        match name.to_ascii_lowercase().as_str() {
            "trace" => Ok(Level::Trace),
            "debug" => Ok(Level::Debug),
            "info" => Ok(Level::Info),
            "warn" | "warning" => Ok(Level::Warn),
            "error" | "fatal" | "panic" => Ok(Level::Error),
            _ => Err(format!("not a valid level: {name:?}")),
        }
    }

    /// As tracing has it.
    pub fn filter(self) -> tracing::level_filters::LevelFilter {
        use tracing::level_filters::LevelFilter;
        match self {
            Level::Trace => LevelFilter::TRACE,
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error => LevelFilter::ERROR,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_containerds_names() {
        for name in ["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic", "INFO"] {
            assert!(Level::parse(name).is_ok(), "{name}");
        }
        assert_eq!(Level::parse("loud").unwrap_err(), "not a valid level: \"loud\"");
    }
}
