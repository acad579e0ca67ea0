//! A registry on loopback that follows a script, and keeps what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use super::image::Image;

/// The most bytes that an endless answer sends: whoever reads them all has no bound.
const ENDLESS: usize = 128 << 20;

/// What came in.
#[derive(Debug, Clone)]
pub struct Asked {
    /// GET, HEAD, ...
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Header fields, their names in lower case.
    pub headers: BTreeMap<String, String>,
}

/// What goes out.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How the body is sent.
    pub how: How,
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// With its length, whole.
    Whole,
    /// With its length; the connection is closed after so many bytes.
    Cut(usize),
    /// With its length; nothing more comes after so many bytes, and the connection stays.
    Stall(usize),
    /// With another length than its own.
    Length(u64),
    /// Without a length, over and over until the client has had enough.
    Endless,
    /// Not at all: not even a status comes.
    Silent,
}

type Script = dyn Fn(&Asked) -> Option<Reply> + Send + Sync;

/// Stops when it is dropped.
pub struct Registry {
    /// Its port on 127.0.0.1.
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
}

impl Registry {
    /// Serves `image` under any name and the tag `1`; what `script` answers comes first.
    pub fn start(
        image: &Image,
        script: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static,
    ) -> Result<Registry> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
        let port = listener.local_addr()?.port();
        let (asked, ended) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(AtomicBool::new(false)));
        let (script, image): (Arc<Script>, _) = (Arc::new(script), Arc::new(image.clone()));
        let (seen, over) = (asked.clone(), ended.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (script, image, seen) = (script.clone(), image.clone(), seen.clone());
                // A client that breaks off is no failure of the registry.
                std::thread::spawn(move || drop(serve(stream, &*script, &image, &seen)));
            }
        });
        Ok(Registry { port, asked, ended })
    }

    /// The image's name there.
    pub fn name(&self) -> String {
        format!("127.0.0.1:{}/strange/thing:1", self.port)
    }

    /// What it was asked so far whose path has `part`.
    pub fn asked(&self, part: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|asked| asked.path.contains(part)).cloned().collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Reply {
    /// A whole answer.
    pub fn new(status: u16, body: &[u8]) -> Reply {
        Reply { status, headers: Vec::new(), body: body.to_vec(), how: How::Whole }
    }

    /// With a header field.
    pub fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sent in another way.
    pub fn sent(self, how: How) -> Reply {
        Reply { how, ..self }
    }

    /// A redirect.
    pub fn redirect(to: &str) -> Reply {
        Reply::new(307, b"").with("Location", to)
    }
}

impl Asked {
    /// Is it about a blob?
    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    /// Is it about a manifest?
    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }
}

fn serve(stream: TcpStream, script: &Script, image: &Image, seen: &Mutex<Vec<Asked>>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader)? {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(asked.clone());
        let reply = script(&asked).unwrap_or_else(|| honest(image, &asked));
        if !write(reader.get_mut(), &asked, &reply)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> Result<Option<Asked>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut asked = Asked { method: method.to_owned(), path: path.to_owned(), headers: BTreeMap::new() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        asked.headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = asked.headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    Ok(Some(asked))
}

/// False: the connection is over.
fn write(stream: &mut TcpStream, asked: &Asked, reply: &Reply) -> Result<bool> {
    if reply.how == How::Silent {
        return wait_for_the_end(stream);
    }
    let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    match reply.how {
        How::Length(length) => head.push_str(&format!("Content-Length: {length}\r\n\r\n")),
        How::Endless => head.push_str("Transfer-Encoding: chunked\r\n\r\n"),
        _ => head.push_str(&format!("Content-Length: {}\r\n\r\n", reply.body.len())),
    }
    stream.write_all(head.as_bytes())?;
    if asked.method == "HEAD" {
        return Ok(true);
    }
    match reply.how {
        How::Whole => stream.write_all(&reply.body)?,
        How::Length(_) | How::Silent => {
            stream.write_all(&reply.body)?;
            return Ok(false);
        }
        How::Cut(at) => {
            stream.write_all(&reply.body[..at])?;
            return Ok(false);
        }
        How::Stall(at) => {
            stream.write_all(&reply.body[..at])?;
            return wait_for_the_end(stream);
        }
        How::Endless => endless(stream, &reply.body)?,
    }
    Ok(true)
}

fn endless(stream: &mut TcpStream, piece: &[u8]) -> Result<()> {
    let mut sent = 0;
    while sent < ENDLESS {
        write!(stream, "{:x}\r\n", piece.len())?;
        stream.write_all(piece)?;
        stream.write_all(b"\r\n")?;
        sent += piece.len();
    }
    Ok(stream.write_all(b"0\r\n\r\n")?)
}

/// Until the other side has had enough.
fn wait_for_the_end(stream: &mut TcpStream) -> Result<bool> {
    std::io::copy(stream, &mut std::io::sink())?;
    Ok(false)
}

fn honest(image: &Image, asked: &Asked) -> Reply {
    let path = asked.path.split('?').next().unwrap_or_default();
    let object = path.rsplit('/').next().unwrap_or_default();
    let manifest = image.manifest_blob();
    if asked.is_manifest() && (object == "1" || object == manifest.digest) {
        return Reply::new(200, &manifest.bytes)
            .with("Content-Type", &manifest.media_type)
            .with("Docker-Content-Digest", &manifest.digest);
    }
    match image.blobs().into_iter().find(|blob| blob.digest == object) {
        Some(blob) => Reply::new(200, &blob.bytes),
        None => Reply::new(404, br#"{"errors":[{"code":"NAME_UNKNOWN","message":"not here"}]}"#),
    }
}
