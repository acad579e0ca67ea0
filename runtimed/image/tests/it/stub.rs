//! A registry of a few lines that does what it is told, and keeps what it was asked.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use flate2::write::GzEncoder;
use ids::Digest;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What came in.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

/// What goes out.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub end: End,
}

/// How an answer ends.
#[derive(Clone)]
pub enum End {
    /// As it should.
    Whole,
    /// Closed after so many bytes of the body.
    Cut(usize),
    /// Silent after so many bytes of the body.
    Stall(usize),
    /// Goes on after so many bytes only when told.
    Wait(usize, Arc<Notify>),
    /// Without a length, in one chunk.
    Chunked,
    /// Never begun.
    Silent,
}

pub type Answer = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// The listener, stopped when dropped.
pub struct Stub {
    pub host: String,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Stub {
    pub async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen): (Answer, _) = (Arc::new(answer), requests.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), seen.clone()));
            }
        });
        Stub { host, requests, task }
    }

    /// The requests whose path has `part`, so far.
    pub fn asked(&self, part: &str) -> Vec<Request> {
        self.requests.lock().unwrap().iter().filter(|request| request.path.contains(part)).cloned().collect()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, answer: Answer, seen: Arc<Mutex<Vec<Request>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        seen.lock().unwrap().push(request.clone());
        let reply = answer(&request);
        if write(stream.get_mut(), &request, reply).await.is_none() {
            return;
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines[0].split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let field = |line: &String| {
        line.split_once(':').map(|(key, value)| (key.to_lowercase(), value.trim().to_owned()))
    };
    let headers: HashMap<String, String> = lines[1..].iter().filter_map(field).collect();
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// Nothing: the connection is over.
async fn write(stream: &mut TcpStream, request: &Request, reply: Reply) -> Option<()> {
    if matches!(reply.end, End::Silent) {
        return stream.read_u8().await.ok().map(drop);
    }
    let mut head = format!("HTTP/1.1 {} X\r\n", reply.status);
    for (key, value) in &reply.headers {
        head.push_str(&format!("{key}: {value}\r\n"));
    }
    let chunked = matches!(reply.end, End::Chunked);
    let stated = reply.headers.iter().any(|(key, _)| key == "content-length");
    match chunked {
        true => head.push_str("transfer-encoding: chunked\r\n\r\n"),
        false if stated => head.push_str("\r\n"),
        false => head.push_str(&format!("content-length: {}\r\n\r\n", reply.body.len())),
    }
    stream.write_all(head.as_bytes()).await.ok()?;
    if request.method == "HEAD" {
        return Some(());
    }
    match reply.end {
        End::Whole | End::Silent => stream.write_all(&reply.body).await.ok(),
        End::Cut(at) => {
            stream.write_all(&reply.body[..at]).await.ok()?;
            None
        }
        End::Stall(at) => {
            stream.write_all(&reply.body[..at]).await.ok()?;
            // Until the other side has had enough.
            stream.read_u8().await.ok().map(drop)
        }
        End::Wait(at, told) => {
            stream.write_all(&reply.body[..at]).await.ok()?;
            told.notified().await;
            stream.write_all(&reply.body[at..]).await.ok()
        }
        End::Chunked => {
            stream.write_all(format!("{:x}\r\n", reply.body.len()).as_bytes()).await.ok()?;
            stream.write_all(&reply.body).await.ok()?;
            stream.write_all(b"\r\n0\r\n\r\n").await.ok()
        }
    }
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Bytes>) -> Reply {
        Reply { status, headers: Vec::new(), body: body.into(), end: End::Whole }
    }

    pub fn with(mut self, key: &str, value: impl Into<String>) -> Reply {
        self.headers.push((key.to_owned(), value.into()));
        self
    }

    pub fn ending(mut self, end: End) -> Reply {
        self.end = end;
        self
    }

    pub fn redirect(to: impl Into<String>) -> Reply {
        Reply::new(307, "").with("location", to)
    }
}

/// An image in memory, served under any repository and the tag `v1`.
#[derive(Clone)]
pub struct Sample {
    pub layer: Bytes,
    layer_digest: Digest,
    pub manifest: Bytes,
    pub manifest_type: String,
    pub config: Bytes,
}

impl Sample {
    /// One gzipped layer with one file.
    pub fn new(content: &[u8]) -> Sample {
        let tar = tar_of("file", content);
        Sample::of(&tar, &digest(&tar))
    }

    /// The layer `tar`, of which the config says `diff_id`.
    pub fn of(tar: &[u8], diff_id: &Digest) -> Sample {
        let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(tar).unwrap();
        let layer = Bytes::from(gzip.finish().unwrap());
        let layer_digest = digest(&layer);
        let config = serde_json::json!({
            "os": "linux", "architecture": "amd64", "config": {},
            "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        });
        let config = Bytes::from(config.to_string());
        let manifest_type = image::media_type::OCI_MANIFEST.to_owned();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": { "mediaType": image::media_type::OCI_CONFIG, "digest": digest(&config), "size": config.len() },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": layer_digest, "size": layer.len(),
            }],
        });
        Sample { layer, layer_digest, manifest: manifest.to_string().into(), manifest_type, config }
    }

    pub fn layer_digest(&self) -> Digest {
        self.layer_digest.clone()
    }

    /// What an honest registry answers.
    pub fn answer(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        let (_, object) = path.rsplit_once('/').unwrap_or_default();
        if path.contains("/manifests/") && (object == "v1" || object == digest(&self.manifest).to_string()) {
            return Reply::new(200, self.manifest.clone())
                .with("content-type", &self.manifest_type)
                .with("docker-content-digest", digest(&self.manifest).to_string());
        }
        match object {
            _ if object == digest(&self.config).to_string() => Reply::new(200, self.config.clone()),
            _ if object == self.layer_digest().to_string() => ranged(&self.layer, request),
            _ => Reply::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"not here"}]}"#),
        }
    }

    pub fn is_layer(&self, request: &Request) -> bool {
        request.path.contains(&self.layer_digest().to_string())
    }
}

/// All of it, or the part that `Range` asks for.
fn ranged(bytes: &Bytes, request: &Request) -> Reply {
    let start = request.headers.get("range").and_then(|text| text.strip_prefix("bytes="));
    match start.and_then(|text| text.trim_end_matches('-').parse::<usize>().ok()) {
        Some(start) => Reply::new(206, bytes.slice(start..))
            .with("content-range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
        None => Reply::new(200, bytes.clone()),
    }
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

/// A tar archive with one file.
pub fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}
