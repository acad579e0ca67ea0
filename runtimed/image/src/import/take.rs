//! The one pass over the archive: blobs into content, documents into memory, bounded.

use std::collections::HashMap;
use std::io::{BufReader, Read};

use bytes::Bytes;
use content::Writer;
use errors::{Context, Error, Kind, Result};
use flate2::read::MultiGzDecoder;
use ids::{Digest, Labels};
use tokio::runtime::Handle;

use super::Import;
use super::tarindex::{self, TarStream};
use crate::Descriptor;
use crate::images::Shared;
use crate::progress::tell;

/// How much is read and written at once.
const CHUNK: usize = 256 << 10;
/// How much may follow the archive's end.
const MAX_TRAILER: u64 = 64 << 20;
/// How many bytes all names in an archive may have together, and what its links lead to: they are kept until it was read.
const MAX_NAMES: usize = 64 << 20;
/// How many links may lead from a name to a file.
const MAX_LINKS: usize = 8;

/// What an archive had.
#[derive(Default)]
pub(crate) struct Taken {
    /// `oci-layout`.
    pub(crate) layout: Option<Bytes>,
    /// `index.json`.
    pub(crate) index: Option<Bytes>,
    /// `manifest.json`.
    pub(crate) docker: Option<Bytes>,
    /// Files by path, as blobs.
    files: HashMap<String, File>,
    /// Links by path.
    links: HashMap<String, String>,
}

/// A file that is a blob now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// The way into content from a blocking thread.
struct Sink<'a> {
    import: &'a Import,
    handle: &'a Handle,
}

/// Reads the whole archive, plain or compressed.
pub(crate) fn take(import: &Import, reader: impl Read, handle: &Handle) -> Result<Taken> {
    let mut reader = BufReader::with_capacity(CHUNK, reader);
    let mut magic = [0; 4];
    let got = read_up_to(&mut reader, &mut magic).context(|| "read the archive")?;
    let whole = std::io::Cursor::new(magic[..got].to_vec()).chain(reader);
    let sink = Sink { import, handle };
    match magic {
        [0x1f, 0x8b, ..] => sink.archive(MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd] => {
            let mut decoder = zstd::Decoder::with_buffer(whole).context(|| "read the archive")?;
            let window = import.shared.config.layer.window.max(1 << 10);
            decoder.window_log_max(window.ilog2()).context(|| "read the archive")?;
            sink.archive(decoder)
        }
        _ => sink.archive(whole),
    }
}

fn read_up_to(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl Sink<'_> {
    fn archive(&self, reader: impl Read) -> Result<Taken> {
        // Compression makes much of little: what may come out is bounded as a layer is.
        let limit = self.import.shared.config.layer.bytes;
        let mut stream = TarStream::new(reader.take(limit));
        let small = self.import.shared.config.manifest_limit();
        let (mut taken, mut names) = (Taken::default(), 0);
        while let Some(entry) = stream.next()? {
            let path = clean(&entry.path);
            names += path.len() + if let tarindex::Kind::Link(to) = &entry.kind { to.len() } else { 0 };
            if names > MAX_NAMES {
                let text = format!("the names in the archive have more than {MAX_NAMES} bytes");
                return Err(Error::new(Kind::ResourceExhausted, text));
            }
            match (entry.kind, path.as_str()) {
                (tarindex::Kind::File, "oci-layout") => {
                    taken.layout = Some(stream.read_small(&path, small)?.into())
                }
                (tarindex::Kind::File, "index.json") => {
                    taken.index = Some(stream.read_small(&path, small)?.into())
                }
                (tarindex::Kind::File, "manifest.json") => {
                    taken.docker = Some(stream.read_small(&path, small)?.into())
                }
                (tarindex::Kind::File, _) if is_legacy(&path) => {}
                (tarindex::Kind::File, _) => {
                    let file = self.file(&path, entry.size, &mut stream)?;
                    taken.files.insert(path, file);
                }
                (tarindex::Kind::Link(to), _) => drop(taken.links.insert(path.clone(), relative(&path, &to))),
                (tarindex::Kind::Other, _) => {}
            }
        }
        stream.drain(MAX_TRAILER);
        Ok(taken)
    }

    /// A file becomes a blob: below `blobs/` one of the digest that its name says.
    fn file(&self, path: &str, size: u64, stream: &mut impl Read) -> Result<File> {
        let expected = match path.strip_prefix("blobs/").and_then(|rest| rest.split_once('/')) {
            Some((algorithm, hex)) => Some(Digest::parse(&format!("{algorithm}:{hex}"))?),
            None => None,
        };
        let stored = self.handle.block_on(self.open(path, size, expected.as_ref()))?;
        let Some(writer) = stored else {
            // It is here already: its bytes in the archive are passed over, and must be as many.
            let digest = expected
                .ok_or_else(|| Error::internal(format!("{path}: a blob of unknown digest exists")))?;
            return self.known(digest, path, size);
        };
        let ingest = writer.status().reference;
        let written = self.write(writer, path, size, expected.as_ref(), stream);
        if written.is_err()
            && let Err(left) =
                self.handle.block_on(self.import.shared.content.abort(&self.import.namespace, &ingest))
            && !left.is_not_found()
        {
            tracing::warn!(ingest, "ingest of a failed import left behind: {}", left.chain());
        }
        written.context(|| format!("{path} in the archive"))
    }

    fn known(&self, digest: Digest, path: &str, size: u64) -> Result<File> {
        let info = self.import.shared.content.info(&self.import.namespace, &digest)?;
        if info.size != size {
            let text = format!("{path} in the archive is {size} bytes, the blob {digest} is {}", info.size);
            return Err(Error::precondition(text));
        }
        Ok(File { digest, size })
    }

    /// A writer for a fresh ingest, or nothing when the blob is here.
    async fn open(&self, path: &str, size: u64, expected: Option<&Digest>) -> Result<Option<Writer>> {
        let (content, namespace) = (&self.import.shared.content, &self.import.namespace);
        let hold = self.import.options.hold.as_ref();
        // A name of its own: two imports of one archive do not wait for each other.
        let ingest = format!("{}import-{}-{path}", content::ONCE, crate::unpack::extract_name());
        Shared::hold(hold, "ingests", &ingest).await?;
        if let Some(digest) = expected {
            Shared::hold(hold, "content", &digest.to_string()).await?;
        }
        match content.writer(namespace, &ingest, size, expected.cloned()).await {
            Ok(writer) => Ok(Some(writer)),
            Err(error) if error.is_already_exists() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(
        &self,
        mut writer: Writer,
        path: &str,
        size: u64,
        expected: Option<&Digest>,
        stream: &mut impl Read,
    ) -> Result<File> {
        let _step = marks::step("image.load.blob")?;
        let mut offset = 0;
        while offset < size {
            let mut chunk = vec![0; CHUNK.min(usize::try_from(size - offset).unwrap_or(CHUNK))];
            stream.read_exact(&mut chunk).context(|| "read the archive")?;
            let next = offset + chunk.len() as u64;
            self.handle.block_on(writer.write(offset, Bytes::from(chunk)))?;
            offset = next;
        }
        self.handle.block_on(self.commit(writer, path, size, expected))
    }

    async fn commit(
        &self,
        mut writer: Writer,
        path: &str,
        size: u64,
        expected: Option<&Digest>,
    ) -> Result<File> {
        let digest = match expected {
            Some(digest) => digest.clone(),
            None => {
                let digest = writer.digest().await?;
                Shared::hold(self.import.options.hold.as_ref(), "content", &digest.to_string()).await?;
                digest
            }
        };
        match writer.commit(size, Some(&digest), Labels::new()).await {
            Err(error) if !error.is_already_exists() => return Err(error),
            _ => {}
        }
        tell(&self.import.progress, &Descriptor::new(path, digest.clone(), size), "done", size);
        Ok(File { digest, size })
    }
}

impl Taken {
    /// The file that a path in a document names, through links.
    pub(crate) fn file(&self, path: &str) -> Result<&File> {
        let mut at = clean(path);
        for _ in 0..=MAX_LINKS {
            if let Some(file) = self.files.get(&at) {
                return Ok(file);
            }
            match self.links.get(&at) {
                Some(next) => at = next.clone(),
                None => break,
            }
        }
        let shown: String = path.chars().take(200).collect();
        Err(Error::new(
            Kind::InvalidArgument,
            format!("manifest.json names {shown:?}, which the archive does not have"),
        ))
    }
}

/// `docker save`'s files for readers older than manifest.json; nothing refers to them.
fn is_legacy(path: &str) -> bool {
    path == "repositories" || path.ends_with("/VERSION") || path.ends_with("/json")
}

/// The path without `.`, `..` and doubled slashes: a key, never a place on disk.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Where a link at `path` to `target` leads.
fn relative(path: &str, target: &str) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    clean(&format!("{folder}/{target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_keys_without_dots() {
        assert_eq!(clean("./a//b/../c/"), "a/c");
        assert_eq!(clean("../../x"), "x");
        assert_eq!(relative("a/layer.tar", "../b/layer.tar"), "b/layer.tar");
        assert!(is_legacy("abc/VERSION") && is_legacy("repositories") && !is_legacy("abc.json"));
    }

    #[test]
    fn links_are_followed_and_rings_end() {
        let file = File { digest: Digest::from_sha256([1; 32]), size: 1 };
        let mut taken = Taken::default();
        taken.files.insert("b/layer.tar".into(), file.clone());
        taken.links.insert("a/layer.tar".into(), "b/layer.tar".into());
        taken.links.insert("x".into(), "y".into());
        taken.links.insert("y".into(), "x".into());
        assert_eq!(taken.file("./a/layer.tar").unwrap(), &file);
        assert!(taken.file("x").unwrap_err().to_string().contains("\"x\""));
    }
}
