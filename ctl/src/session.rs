//! This side of a process's streams: keys and pipes go in, output comes out, signals and sizes are passed on.

use proto_engine::v1;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tonic::{Status, Streaming};

use crate::failure::{Failure, Result};
use crate::outlet::{self, Writing};
use crate::terminal::{self, Raw};
use crate::words::Words;

/// Messages that may wait for the daemon.
const QUEUE: usize = 8;
/// Bytes read from standard input at once.
const CHUNK: usize = 16 << 10;
/// Bytes of standard input that may wait here while the process does not read: the detach keys are still found behind them. When there are
/// more, standard input is not read any further.
const HELD: usize = 64 << 10;

/// A message to a process, whichever call carries it.
#[derive(Debug, Clone, PartialEq)]
pub enum Say {
    /// Bytes for stdin.
    Stdin(Vec<u8>),
    /// stdin has ended.
    CloseStdin,
    /// The terminal has another size: at the beginning of a session, when nothing can be in the way.
    Resize(v1::Size),
}

/// What came from a process, whichever call carried it.
pub enum Hear {
    /// Something this side needs not act on.
    Other,
    /// The process is this container's first one, or this exec in it.
    Named {
        /// The container.
        id: String,
        /// The exec, or empty.
        exec_id: String,
    },
    /// Output.
    Output(v1::Output),
    /// Its end.
    Exit(u32),
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The process ended with this code.
    Exit(u32),
    /// The user pressed the detach keys.
    Detached,
    /// The daemon closed the stream without an exit.
    Closed,
    /// This program was asked to end by this signal, and it is nobody else's.
    Told(u8),
}

/// What a session is to do.
pub struct Options {
    /// Standard input goes to the process.
    pub stdin: bool,
    /// The process has a terminal.
    pub tty: bool,
    /// Signals to this side go to the process.
    pub sig_proxy: bool,
    /// The keys that end the session and not the process.
    pub detach_keys: Vec<u8>,
}

/// Carries a call's messages both ways until it ends.
pub async fn run<A>(
    options: Options,
    sender: mpsc::Sender<Say>,
    words: Words,
    mut answers: Streaming<A>,
    hear: impl Fn(A) -> Hear,
) -> Result<Ended> {
    let raw_wanted = options.tty && options.stdin && terminal::stdin_is_terminal();
    let _raw = raw_wanted
        .then(Raw::enter)
        .transpose()
        .map_err(|error| Failure::local("set the terminal to raw mode", error))?;
    // A channel that never speaks, unless standard input is read.
    let (told, mut detached) = mpsc::channel(1);
    if options.stdin {
        tokio::spawn(pump_stdin(sender, options.detach_keys.clone(), options.tty, told.clone()));
    }
    let mut signals = Signals::new(options.sig_proxy, options.tty)?;
    let mut endings = Endings::new(raw_wanted && !options.sig_proxy)?;
    let mut writing: Option<Writing> = None;
    loop {
        tokio::select! {
            // One after the other, so that what comes next waits in the daemon while this side's reader is slow.
            wrote = written(&mut writing), if writing.is_some() => {
                writing = None;
                wrote.map_err(|error| Failure::local("write output", error))?;
            }
            answer = answers.next(), if writing.is_none() => match answer {
                None => return Ok(Ended::Closed),
                Some(Err(status)) => return Err(status.into()),
                Some(Ok(answer)) => match hear(answer) {
                    Hear::Other => {}
                    Hear::Named { id, exec_id } => words.about(&id, &exec_id),
                    Hear::Output(output) => {
                        let stream = output.stream();
                        // A reader that has gone ends the program as it would end cat(1).
                        writing = outlet::write(stream, output.data)
                            .map_err(|error| Failure::local("write output", error))?;
                    }
                    Hear::Exit(code) => return Ok(Ended::Exit(code)),
                },
            },
            said = signals.next() => match said {
                Said::Resize(size) => words.resize(size),
                Said::Signal(name) => words.signal(name),
            },
            Some(()) = detached.recv() => return Ok(Ended::Detached),
            number = endings.next() => return Ok(Ended::Told(number)),
        }
    }
}

/// Resolves when the write that is under way has ended.
async fn written(writing: &mut Option<Writing>) -> std::io::Result<()> {
    match writing {
        Some(writing) => writing.await.map_err(std::io::Error::other)?,
        None => Ok(()),
    }
}

/// Reads standard input until it ends or the detach keys are pressed, which `told` hears of.
async fn pump_stdin(sender: mpsc::Sender<Say>, keys: Vec<u8>, tty: bool, told: mpsc::Sender<()>) {
    let mut stdin = tokio::io::stdin();
    let mut detector = Detector::new(if tty { keys } else { Vec::new() });
    let mut buffer = vec![0; CHUNK];
    let mut held = Vec::new();
    let mut ended = false;
    while !(ended && held.is_empty()) {
        tokio::select! {
            read = stdin.read(&mut buffer), if !ended && held.len() < HELD => {
                let length = read.unwrap_or(0);
                ended = length == 0;
                let (bytes, found) = detector.feed(&buffer[..length]);
                held.extend_from_slice(&bytes);
                if found {
                    if !held.is_empty() {
                        // What the process does not take now it will not be asked to take.
                        let _ = sender.try_send(Say::Stdin(held));
                    }
                    // The session ends by this word alone.
                    let _ = told.send(()).await;
                    return;
                }
            }
            room = sender.reserve(), if !held.is_empty() => match room {
                Ok(room) => room.send(Say::Stdin(std::mem::take(&mut held))),
                // The session is over.
                Err(_) => return,
            },
        }
    }
    // The end of input is no detaching: the session goes on until the process ends.
    let _ = sender.send(Say::CloseStdin).await;
}

/// Finds the detach keys in what is typed, and holds back what may be their beginning.
struct Detector {
    keys: Vec<u8>,
    matched: usize,
}

impl Detector {
    fn new(keys: Vec<u8>) -> Detector {
        Detector { keys, matched: 0 }
    }

    /// What is to be passed on, and whether the keys were pressed.
    fn feed(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        if self.keys.is_empty() {
            return (bytes.to_vec(), false);
        }
        let mut out = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if *byte == self.keys[self.matched] {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = usize::from(*byte == self.keys[0]);
            if self.matched == 0 {
                out.push(*byte);
            }
        }
        (out, false)
    }
}

/// What this program was told by the kernel.
pub enum Said {
    /// Its terminal has another size.
    Resize(v1::Size),
    /// A signal that the process is to get.
    Signal(&'static str),
}

/// The signals that a session passes on, and the terminal's changes of size.
pub struct Signals {
    resize: Option<Signal>,
    proxied: Vec<(&'static str, Signal)>,
}

impl Signals {
    /// Listens from here on: for signals if `proxy`, for changes of size if `tty`.
    pub fn new(proxy: bool, tty: bool) -> Result<Signals> {
        let listen = |kind| signal(kind).map_err(|error| Failure::local("listen for signals", error));
        let mut proxied = Vec::new();
        if proxy {
            for (name, kind) in [
                ("HUP", SignalKind::hangup()),
                ("INT", SignalKind::interrupt()),
                ("QUIT", SignalKind::quit()),
                ("TERM", SignalKind::terminate()),
                ("USR1", SignalKind::user_defined1()),
                ("USR2", SignalKind::user_defined2()),
            ] {
                proxied.push((name, listen(kind)?));
            }
        }
        let resize = if tty { Some(listen(SignalKind::window_change())?) } else { None };
        Ok(Signals { resize, proxied })
    }

    /// The next of them.
    pub async fn next(&mut self) -> Said {
        std::future::poll_fn(|context| {
            if let Some(resize) = &mut self.resize
                && resize.poll_recv(context).is_ready()
                && let Some(size) = terminal::size()
            {
                return std::task::Poll::Ready(Said::Resize(size));
            }
            for (name, signal) in &mut self.proxied {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(Said::Signal(name));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// The signals that end this program. While the terminal is raw they must not do so at once: it has to be put back first.
struct Endings(Vec<(u8, Signal)>);

impl Endings {
    fn new(wanted: bool) -> Result<Endings> {
        let kinds = if wanted { vec![SignalKind::hangup(), SignalKind::terminate()] } else { Vec::new() };
        let listen = |kind: SignalKind| Ok((kind.as_raw_value() as u8, signal(kind)?));
        let all: std::io::Result<_> = kinds.into_iter().map(listen).collect();
        all.map(Endings).map_err(|error| Failure::local("listen for signals", error))
    }

    async fn next(&mut self) -> u8 {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// The sending half of a call, and the stream that carries it.
pub fn channel<R: Send + 'static>(
    first: R,
    wrap: impl Fn(Say) -> R + Send + 'static,
) -> (mpsc::Sender<Say>, impl tokio_stream::Stream<Item = R> + Send + 'static) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let rest = tokio_stream::wrappers::ReceiverStream::new(receiver).map(wrap);
    (sender, tokio_stream::once(first).chain(rest))
}

/// docker's detach keys: `ctrl-p,ctrl-q` and the like, which empty ones mean as well.
pub fn detach_keys(text: &str) -> std::result::Result<Vec<u8>, String> {
    if text.is_empty() {
        return Ok(vec![16, 17]);
    }
    let key = |part: &str| match part.to_ascii_lowercase().strip_prefix("ctrl-") {
        Some(rest) => match rest.as_bytes() {
            [letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
            [b'@'] => Ok(0),
            [b'['] => Ok(27),
            [b'\\'] => Ok(28),
            [b']'] => Ok(29),
            [b'^'] => Ok(30),
            [b'_'] => Ok(31),
            _ => Err(format!("invalid detach keys ({text}): unknown character: '{part}'")),
        },
        None => match part.as_bytes() {
            [byte] => Ok(*byte),
            _ => Err(format!("invalid detach keys ({text}): unknown character: '{part}'")),
        },
    };
    text.split(',').map(key).collect()
}

/// The exit code of a session, for those who were told of it.
pub fn code(ended: Ended) -> Result<u8> {
    match ended {
        Ended::Exit(code) => Ok(u8::try_from(code).unwrap_or(u8::MAX)),
        Ended::Detached => Ok(0),
        Ended::Told(number) => Ok(128 + number),
        Ended::Closed => {
            Err(Failure::Daemon(Status::unavailable("the daemon ended the session; the container goes on")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parsed_as_docker_does() {
        assert_eq!(detach_keys("ctrl-p,ctrl-q"), Ok(vec![16, 17]));
        assert_eq!(detach_keys(""), Ok(vec![16, 17]));
        assert_eq!(detach_keys("a,ctrl-["), Ok(vec![b'a', 27]));
        assert!(detach_keys("ctrl-1").is_err());
        assert!(detach_keys("ab").is_err());
    }

    #[test]
    fn what_only_looks_like_the_keys_is_passed_on() {
        let mut detector = Detector::new(vec![16, 17]);
        assert_eq!(detector.feed(b"x\x10"), (b"x".to_vec(), false));
        assert_eq!(detector.feed(b"y"), (b"\x10y".to_vec(), false));
        assert_eq!(detector.feed(b"\x10\x10\x11z"), (b"\x10".to_vec(), true));
    }
}
