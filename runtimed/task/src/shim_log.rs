//! Hands a shim's own log on to the daemon's.
//!
//! The shim writes lines into the fifo `log` of its bundle. The daemon holds it open for reading and writing,
//! so that the shim can come and go. A small task of its own reads; it owns no buffer while there is nothing
//! to read but the unfinished line.

use std::io;
use std::path::Path;

use errors::{Context, Result};
use ids::{ContainerId, Namespace};
use tokio::net::unix::pipe;
use tokio::task::AbortHandle;

/// What a longer line is cut to.
const LINE: usize = 16 << 10;

/// A log being read; ends when dropped.
#[derive(Debug)]
pub(crate) struct ShimLog(AbortHandle);

/// A line of a log, as far as it has come.
struct Tail {
    namespace: Namespace,
    id: ContainerId,
    line: Vec<u8>,
}

impl ShimLog {
    /// Opens the fifo, before the shim does: it would block otherwise.
    pub(crate) fn open(path: &Path, namespace: &Namespace, id: &ContainerId) -> Result<ShimLog> {
        let fifo = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(path)
            .context(|| format!("open {}", path.display()))?;
        let tail = Tail { namespace: namespace.clone(), id: id.clone(), line: Vec::new() };
        Ok(ShimLog(tokio::spawn(tail.pump(fifo)).abort_handle()))
    }
}

impl Drop for ShimLog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tail {
    async fn pump(mut self, fifo: pipe::Receiver) {
        while fifo.readable().await.is_ok() {
            match self.drain(&fifo) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    tracing::warn!(id = %self.id, %error, "read a shim's log");
                    return;
                }
                _ => {}
            }
        }
    }

    /// Reads until there is no more.
    fn drain(&mut self, fifo: &pipe::Receiver) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match fifo.try_read(&mut buffer)? {
                0 => return Ok(()),
                read => self.take(&buffer[..read]),
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8]) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end]);
            self.tell();
            bytes = &bytes[end + 1..];
        }
        self.append(bytes);
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// Logs the line at the level it names.
    fn tell(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let (namespace, id) = (&self.namespace, &self.id);
        match level(&text) {
            tracing::Level::ERROR => tracing::error!(target: "shim", %namespace, %id, "{text}"),
            tracing::Level::WARN => tracing::warn!(target: "shim", %namespace, %id, "{text}"),
            tracing::Level::DEBUG => tracing::debug!(target: "shim", %namespace, %id, "{text}"),
            _ => tracing::info!(target: "shim", %namespace, %id, "{text}"),
        }
    }
}

/// The level of a line, in the logfmt of Go's shims or in JSON; info if it names none.
fn level(line: &str) -> tracing::Level {
    let marks = ["level=", "\"level\":\""];
    let rest = marks.iter().find_map(|mark| line.split_once(mark)).map_or("", |(_, rest)| rest);
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    match word.to_ascii_lowercase().as_str() {
        "error" | "fatal" | "panic" => tracing::Level::ERROR,
        "warn" | "warning" => tracing::Level::WARN,
        "debug" | "trace" => tracing::Level::DEBUG,
        _ => tracing::Level::INFO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_found_in_either_format() {
        assert_eq!(level(r#"time="x" level=warning msg="y""#), tracing::Level::WARN);
        assert_eq!(level(r#"{"level":"ERROR","msg":"y"}"#), tracing::Level::ERROR);
        assert_eq!(level("level=debug"), tracing::Level::DEBUG);
        assert_eq!(level("panic: y"), tracing::Level::INFO);
    }

    #[test]
    fn a_line_without_an_end_is_bounded() {
        let mut tail = Tail {
            namespace: Namespace::parse("n").unwrap(),
            id: ContainerId::parse("c").unwrap(),
            line: Vec::new(),
        };
        for _ in 0..100 {
            tail.take(&[b'x'; 1000]);
        }
        assert_eq!(tail.line.len(), LINE);
        tail.take(b"y\nz");
        assert_eq!(tail.line, b"z");
    }
}
