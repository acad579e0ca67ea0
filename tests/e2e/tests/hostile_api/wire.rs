//! Bytes as a client that does not keep to the protocol may send them: HTTP/2 (RFC 9113) and gRPC's messages in it, by hand.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result};

use crate::PATIENCE;

/// What a client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A connection.
pub struct Wire(UnixStream);

/// A frame that the other side sent.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Wire {
    /// A connection on which nothing was said.
    pub fn silent(socket: &Path) -> Result<Wire> {
        let stream =
            UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Wire(stream))
    }

    /// A connection on which HTTP/2 was agreed.
    pub fn greeted(socket: &Path) -> Result<Wire> {
        let mut wire = Wire::silent(socket)?;
        wire.send(PREFACE)?;
        wire.frame(SETTINGS, 0, 0, &[])?;
        Ok(wire)
    }

    /// Sends anything. That the other side has closed already is its right.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self.0.write_all(bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                Ok(())
            }
            other => other.context("send"),
        }
    }

    /// Sends a frame.
    pub fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<()> {
        let length = u32::try_from(payload.len())?.to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.send(&[head.as_slice(), payload].concat())
    }

    /// Begins a call of `path`.
    pub fn call(&mut self, stream: u32, path: &str, more: &[(&str, &str)]) -> Result<()> {
        let headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("containerd-namespace", "hostile"),
        ];
        let block: Vec<u8> =
            headers.iter().chain(more).flat_map(|(name, value)| literal(name, value)).collect();
        self.frame(HEADERS, END_HEADERS, stream, &block)
    }

    /// The next frame; `None` when the other side has closed the connection.
    pub fn next(&mut self) -> Result<Option<Frame>> {
        let mut head = [0; 9];
        if !self.fill(&mut head)? {
            return Ok(None);
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        if !self.fill(&mut payload)? {
            return Ok(None);
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Ok(Some(Frame { kind: head[3], flags: head[4], stream }))
    }

    /// Waits until the call on `stream` has ended, or the whole connection.
    pub fn ended(&mut self, stream: u32) -> Result<()> {
        while let Some(frame) = self.next().with_context(|| format!("wait for the end of call {stream}"))? {
            let ends = frame.kind == RST_STREAM || frame.flags & END_STREAM != 0 && frame.kind <= HEADERS;
            if frame.kind == GOAWAY || ends && frame.stream == stream {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Waits until the other side has closed the connection.
    pub fn closed(&mut self) -> Result<()> {
        let mut rest = [0; 4096];
        while self.read(&mut rest).context("wait for the end of the connection")? > 0 {}
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..])? {
                0 => return Ok(false),
                read => filled += read,
            }
        }
        Ok(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        match self.0.read(buffer) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
            // A process that is stopped and goes on wakes up from a wait that has a limit (signal(7)).
            Err(error) if error.kind() == ErrorKind::Interrupted => self.read(buffer),
            other => other.context("receive"),
        }
    }
}

/// A header field as it is, without an index and without Huffman's code (RFC 7541 section 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    assert!(name.len() < 127 && value.len() < 127, "longer texts need more than one byte of length");
    [vec![0], text(name), text(value)].concat()
}

/// A message's head as gRPC has it: compressed or not, and how long.
pub fn head(compressed: u8, length: u32) -> Vec<u8> {
    [&[compressed], length.to_be_bytes().as_slice()].concat()
}
