//! The shim's own log: lines in logrus' text format, written to the fifo `log` in the bundle, from where the
//! daemon copies them to its own. Never blocks: what a daemon that is away cannot take is dropped.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use rustix::fs::{Mode, OFlags};

use crate::clock;

struct Logger {
    out: OwnedFd,
    debug: bool,
    id: String,
    namespace: String,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

/// Opens the fifo. A panic's last words go there too. Without a fifo there is no log.
pub(crate) fn open(path: &Path, id: &str, namespace: &str, debug: bool) {
    // Open for both directions, so that it never fails, nor breaks, for want of a reader.
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let Ok(out) = rustix::fs::open(path, flags, Mode::empty()) else { return };
    let is_fifo = rustix::fs::fstat(&out)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo);
    if !is_fifo {
        return;
    }
    // Standard error stays /dev/null if this fails.
    let _ = rustix::stdio::dup2_stderr(&out);
    // Set once, at the start of the server.
    let _ = LOGGER.set(Logger { out, debug, id: id.to_owned(), namespace: namespace.to_owned() });
}

/// Writes one line. Use the macros.
pub(crate) fn line(level: Level, message: fmt::Arguments<'_>) {
    let Some(logger) = LOGGER.get() else { return };
    if level == Level::Debug && !logger.debug {
        return;
    }
    let text = render(SystemTime::now(), level, &message.to_string(), &logger.id, &logger.namespace);
    // A full fifo means that nobody reads: the line is dropped.
    let _ = rustix::io::write(&logger.out, text.as_bytes());
}

fn render(at: SystemTime, level: Level, message: &str, id: &str, namespace: &str) -> String {
    let level = match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
    };
    format!(
        "time=\"{}\" level={level} msg={message:?} id={id} namespace={namespace} runtime={}\n",
        clock::text(at),
        crate::NAME
    )
}

macro_rules! debug {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Debug, format_args!($($arg)*)) };
}
macro_rules! info {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Info, format_args!($($arg)*)) };
}
macro_rules! warning {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Warning, format_args!($($arg)*)) };
}
macro_rules! error {
    ($($arg:tt)*) => { $crate::log::line($crate::log::Level::Error, format_args!($($arg)*)) };
}
pub(crate) use {debug, error, info, warning};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line() {
        let line = render(SystemTime::UNIX_EPOCH, Level::Warning, "a \"b\"\nc", "c1", "ns");
        assert_eq!(
            line,
            "time=\"1970-01-01T00:00:00Z\" level=warning msg=\"a \\\"b\\\"\\nc\" id=c1 namespace=ns \
             runtime=containerd-shim-runtimed-v2\n"
        );
    }
}
