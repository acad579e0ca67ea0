//! A connection to a message bus, as small as this program needs it: one thread, one call at a time, signals kept until asked for.
//!
//! Every answer is bounded in size ([`message::LIMIT`]) and in time.

mod address;
mod message;
mod value;
mod wire;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

pub use message::{Message, Target};
pub use value::{Value, split_first};

/// How long an answer may take. libdbus has the same.
const WITHIN: Duration = Duration::from_secs(25);
/// How many signals wait for somebody to ask; a bus sends none that were not subscribed to.
const KEPT: usize = 1024;
/// The longest line of the authentication.
const LINE: usize = 16 << 10;

const BUS: Target<'_> = Target {
    destination: Some("org.freedesktop.DBus"),
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The other side answered with an error.
    #[error("{text}")]
    Answer {
        /// Its name, such as `org.freedesktop.systemd1.NoSuchUnit`.
        name: String,
        /// What it says.
        text: String,
    },
    /// The bus cannot be spoken to.
    #[error("{0}")]
    Broken(String),
}

impl Error {
    /// Whether it is the other side's error of this name.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Error::Answer { name, .. } if name == wanted)
    }
}

/// The result of a call.
pub type Result<T> = std::result::Result<T, Error>;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    serial: u32,
    signals: VecDeque<Message>,
}

impl Connection {
    /// Connects to a bus and says hello to it.
    pub fn to_bus(addresses: &str) -> Result<Self> {
        let mut connection = Self::direct(addresses)?;
        connection.call(BUS, "Hello", &[])?;
        Ok(connection)
    }

    /// Connects to a program that listens itself.
    pub fn direct(addresses: &str) -> Result<Self> {
        let stream =
            address::connect(addresses).map_err(|reason| Error::Broken(format!("connect to {reason}")))?;
        let mut connection = Self { stream, serial: 0, signals: VecDeque::new() };
        connection.authenticate()?;
        Ok(connection)
    }

    /// The socket's own credentials say who we are ("EXTERNAL"), also from inside a user namespace, where the id that we
    /// know of ourselves is not the bus's.
    fn authenticate(&mut self) -> Result<()> {
        self.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let end = Instant::now() + WITHIN;
        loop {
            let line = self.line(end)?;
            match line.split(' ').next().unwrap_or_default() {
                "OK" => return Ok(()),
                "DATA" => {}
                _ => return Err(Error::Broken(format!("the bus does not let us in: {line:?}"))),
            }
        }
    }

    /// A line of the authentication, byte by byte: a message may follow right behind.
    fn line(&mut self, end: Instant) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.fill(&mut byte, end)?;
            line.push(byte[0]);
            if line.len() > LINE {
                return Err(Error::Broken("the bus's greeting does not end".into()));
            }
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Asks the bus for signals of a member of an object.
    pub fn subscribe(&mut self, from: Target<'_>, member: &str) -> Result<()> {
        let Target { path, interface, .. } = from;
        let rule = format!("type='signal',path='{path}',interface='{interface}',member='{member}'");
        self.call(BUS, "AddMatch", &[Value::Text(rule)]).map(drop)
    }

    /// Calls a method and waits for its answer.
    pub fn call(&mut self, target: Target<'_>, method: &str, body: &[Value]) -> Result<Vec<Value>> {
        self.serial += 1;
        let bytes = message::call(self.serial, target, method, body);
        if bytes.len() > message::LIMIT {
            return Err(Error::Broken(format!(
                "{method}: the arguments are larger than {} bytes",
                message::LIMIT
            )));
        }
        self.send(&bytes)?;
        let end = Instant::now() + WITHIN;
        loop {
            let message = self.receive(end)?;
            match message.kind {
                message::RETURN if message.reply_to == Some(self.serial) => return Ok(message.body),
                message::ERROR if message.reply_to == Some(self.serial) => {
                    let text =
                        message.body.first().and_then(Value::as_text).unwrap_or(&message.error).to_owned();
                    return Err(Error::Answer { name: message.error, text });
                }
                message::SIGNAL if self.signals.len() < KEPT => self.signals.push_back(message),
                _ => {}
            }
        }
    }

    /// The first signal that `wanted` takes something from, among those that came and those to come until `end`.
    pub fn signal<T>(&mut self, end: Instant, wanted: impl Fn(&Message) -> Option<T>) -> Result<T> {
        loop {
            let message = match self.signals.pop_front() {
                Some(message) => message,
                None => self.receive(end)?,
            };
            if message.kind == message::SIGNAL
                && let Some(found) = wanted(&message)
            {
                return Ok(found);
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).map_err(|e| Error::Broken(format!("write to the bus: {e}")))
    }

    fn receive(&mut self, end: Instant) -> Result<Message> {
        let malformed = || Error::Broken("the bus sent what is no message".into());
        let mut fixed = [0; message::FIXED];
        self.fill(&mut fixed, end)?;
        let length = message::length(&fixed).ok_or_else(malformed)?;
        let mut bytes = fixed.to_vec();
        bytes.resize(length, 0);
        self.fill(&mut bytes[message::FIXED..], end)?;
        message::parse(&bytes).ok_or_else(malformed)
    }

    fn fill(&mut self, mut buffer: &mut [u8], end: Instant) -> Result<()> {
        while !buffer.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Broken("timeout waiting for an answer".into()));
            }
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(buffer));
            match read {
                Ok(0) => return Err(Error::Broken("the bus closed the connection".into())),
                Ok(count) => buffer = &mut buffer[count..],
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(e) => return Err(Error::Broken(format!("read from the bus: {e}"))),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
