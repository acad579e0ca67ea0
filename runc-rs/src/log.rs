//! The log as runc writes it (logrus): text or JSON lines, to `--log` or to standard error.

use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::{Context, Error, Result};

static LOG: OnceLock<Log> = OnceLock::new();

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Shown with `--debug` alone.
    Debug,
    /// Something was left undone.
    Warning,
    /// The command failed.
    Error,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    func: Option<&'a str>,
    level: &'a str,
    msg: &'a str,
    time: &'a str,
}

/// Opens the log. Call once.
pub fn init(file: Option<&str>, format: &str, debug: bool) -> Result<()> {
    let json = match format {
        "" | "text" => false,
        "json" => true,
        other => return Err(Error::new(format!("invalid log-format: {other}"))),
    };
    let file = file.filter(|f| !f.is_empty()).map(open).transpose()?;
    let _ = LOG.set(Log { file, json, debug });
    Ok(())
}

fn open(path: &str) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(nix::fcntl::OFlag::O_SYNC.bits())
        .open(path)
        .with_context(|| format!("open {path}"))
}

/// The log file's descriptor, which has to stay open as long as anything may go wrong.
pub fn descriptor() -> Option<RawFd> {
    LOG.get().and_then(|log| log.file.as_ref()).map(AsRawFd::as_raw_fd)
}

/// Shown with `--debug` alone.
#[track_caller]
pub fn debug(message: impl AsRef<str>) {
    write(Level::Debug, message.as_ref());
}

/// Something was left undone, and the command goes on.
#[track_caller]
pub fn warn(message: impl AsRef<str>) {
    write(Level::Warning, message.as_ref());
}

/// The command failed. With `--log` the text goes to standard error too, plain.
#[track_caller]
pub fn error(message: impl AsRef<str>) {
    write(Level::Error, message.as_ref());
    if LOG.get().is_some_and(|l| l.file.is_some()) {
        let _ = writeln!(std::io::stderr(), "{}", message.as_ref());
    }
}

#[track_caller]
fn write(level: Level, message: &str) {
    let fallback = Log { file: None, json: false, debug: false };
    let log = LOG.get().unwrap_or(&fallback);
    if level == Level::Debug && !log.debug {
        return;
    }
    // Called by name: through a pointer, its caller would be the one that calls pointers.
    let from = if log.debug { Some(Source::caller()) } else { None };
    let terminal = log.file.is_none() && std::io::stderr().is_terminal();
    let text = line(level, message, from.as_ref(), log.json, terminal);
    // A log that cannot be written must not fail the container.
    let _ = match &log.file {
        Some(file) => (&mut &*file).write_all(text.as_bytes()),
        None => std::io::stderr().write_all(text.as_bytes()),
    };
}

/// Where in the source a line comes from.
struct Source {
    /// The file and the line.
    file: String,
    /// The module: functions are not known to a program of this kind.
    module: String,
}

impl Source {
    #[track_caller]
    fn caller() -> Self {
        let location = std::panic::Location::caller();
        let path = location.file();
        let below = path.rsplit_once("src/").map_or(path, |(_, below)| below);
        let module = below.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
        Source { file: format!("{path}:{}", location.line()), module: format!("runc_rs::{module}") }
    }
}

fn line(level: Level, message: &str, from: Option<&Source>, json: bool, terminal: bool) -> String {
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let time = now.format(&Rfc3339).unwrap_or_default();
    let name = level.as_str();
    if json {
        let (file, func) = (from.map(|f| f.file.as_str()), from.map(|f| f.module.as_str()));
        let line = Line { file, func, level: name, msg: message, time: &time };
        return serde_json::to_string(&line).unwrap_or_default() + "\n";
    }
    if terminal {
        return format!("{}[0000] {message}\n", &name.to_uppercase()[..4]);
    }
    let source = from.map(|f| format!(" func={} file={}", quoted(&f.module), quoted(&f.file)));
    format!("time=\"{time}\" level={name} msg={}{}\n", quoted(message), source.unwrap_or_default())
}

/// Quotes as logrus does: only what needs it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._/@^+".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("{text:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_the_keys_that_the_shim_reads() {
        let line = line(Level::Error, "no \"x\"", None, true, false);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["level"], "error");
        assert_eq!(value["msg"], "no \"x\"");
        assert!(OffsetDateTime::parse(value["time"].as_str().unwrap(), &Rfc3339).is_ok());
    }

    #[test]
    fn text_is_quoted_when_needed() {
        assert!(line(Level::Warning, "a b", None, false, false).ends_with(" level=warning msg=\"a b\"\n"));
        assert!(line(Level::Debug, "ab", None, false, false).ends_with(" level=debug msg=ab\n"));
    }
}
