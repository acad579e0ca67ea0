//! What `docker save` writes, version 1.2: `manifest.json` over configs and layers (moby's image specification).

use std::collections::BTreeMap;
use std::io::{Read, Write};

use bytes::Bytes;
use errors::{Context, Error, Kind, Result, WithKind};
use flate2::write::GzEncoder;
use ids::{Labels, Reference};
use serde::Deserialize;

use super::Import;
use super::take::{File, Taken};
use crate::descriptor::media_type;
use crate::images::Shared;
use crate::json;
use crate::manifest::{Index, Manifest, parse_config};
use crate::{Descriptor, export};

/// How much is compressed at once.
const CHUNK: usize = 256 << 10;

/// One image of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

impl Import {
    /// Writes a manifest for each image, and lists them by name.
    pub(crate) async fn docker(&self, manifest: &[u8], taken: &Taken) -> Result<Index> {
        let entries: Vec<Entry> =
            json::read(manifest).kind(Kind::InvalidArgument, || "parse manifest.json")?;
        let mut manifests = Vec::new();
        for entry in &entries {
            let descriptor = self.docker_image(entry, taken).await?;
            let tags = entry.repo_tags.iter().flatten();
            let named = tags.map(|tag| with_name(&descriptor, tag)).collect::<Result<Vec<_>>>()?;
            match named.is_empty() {
                true => manifests.push(descriptor),
                false => manifests.extend(named),
            }
        }
        let annotations = BTreeMap::new();
        Ok(Index { schema_version: 2, media_type: media_type::OCI_INDEX.to_owned(), manifests, annotations })
    }

    async fn docker_image(&self, entry: &Entry, taken: &Taken) -> Result<Descriptor> {
        let file = taken.file(&entry.config)?;
        check_name(&entry.config, file)?;
        let config = Descriptor::new(media_type::DOCKER_CONFIG, file.digest.clone(), file.size);
        let parsed = parse_config(&self.shared.read_small(&self.namespace, &config).await?, &config.digest)?;
        let paths = entry.layers.as_deref().unwrap_or_default();
        if paths.len() != parsed.rootfs.diff_ids.len() {
            return Err(Error::invalid(format!(
                "manifest.json lists {} layers for {:?}, the config has {}",
                paths.len(),
                entry.config,
                parsed.rootfs.diff_ids.len()
            )));
        }
        let mut layers = Vec::with_capacity(paths.len());
        for path in paths {
            layers.push(self.docker_layer(taken.file(path)?).await?);
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::DOCKER_MANIFEST.to_owned(),
            config,
            layers,
        };
        let bytes = serde_json::to_vec(&manifest).kind(Kind::Internal, || "write a manifest")?;
        let mut descriptor = self.keep_document(media_type::DOCKER_MANIFEST, bytes.into()).await?;
        descriptor.platform = parsed.platform.stated();
        Ok(descriptor)
    }

    /// A layer with the media type that its first bytes show.
    async fn docker_layer(&self, file: &File) -> Result<Descriptor> {
        let blob = self.shared.content.open_blob(&self.namespace, &file.digest)?;
        let magic = blob.read_at(0, 4.min(file.size as usize)).await?;
        let kind = match magic[..] {
            [0x1f, 0x8b, ..] => media_type::DOCKER_LAYER_GZIP,
            [0x28, 0xb5, 0x2f, 0xfd] => media_type::DOCKER_LAYER_ZSTD,
            _ if self.options.compress => return self.compressed(file).await,
            _ => media_type::DOCKER_LAYER,
        };
        Ok(Descriptor::new(kind, file.digest.clone(), file.size))
    }

    /// The same layer, gzipped: a blob of its own.
    async fn compressed(&self, file: &File) -> Result<Descriptor> {
        let (content, hold) = (&self.shared.content, self.options.hold.as_ref());
        let ingest = format!("{}import-{}-{}", content::ONCE, crate::unpack::extract_name(), file.digest);
        Shared::hold(hold, "ingests", &ingest).await?;
        let mut writer = content.writer(&self.namespace, &ingest, 0, None).await?;
        let plain = content.open_blob(&self.namespace, &file.digest)?.into_std()?;
        let (pipe, mut gzipped) = gzip(plain);
        while let Some(bytes) = gzipped.recv().await {
            let offset = writer.status().offset;
            writer.write(offset, bytes).await?;
        }
        pipe.await.kind(Kind::Internal, || "the thread that compressed a layer ended")??;
        let digest = writer.digest().await?;
        let size = writer.status().offset;
        Shared::hold(hold, "content", &digest.to_string()).await?;
        let labels = Labels::from([("containerd.io/uncompressed".to_owned(), file.digest.to_string())]);
        match writer.commit(size, Some(&digest), labels).await {
            Err(error) if !error.is_already_exists() => return Err(error),
            _ => {}
        }
        Ok(Descriptor::new(media_type::DOCKER_LAYER_GZIP, digest, size))
    }

    /// Stores a document that this import made.
    pub(crate) async fn keep_document(&self, kind: &str, bytes: Bytes) -> Result<Descriptor> {
        use sha2::{Digest as _, Sha256};
        let digest = ids::Digest::from_sha256(Sha256::digest(&bytes).into());
        Shared::hold(self.options.hold.as_ref(), "content", &digest.to_string()).await?;
        let size = bytes.len() as u64;
        self.shared.content.put(&self.namespace, bytes, Labels::new()).await?;
        Ok(Descriptor::new(kind, digest, size))
    }
}

type Gzipping = (tokio::task::JoinHandle<Result<()>>, tokio::sync::mpsc::Receiver<Bytes>);

/// Compresses on a thread of its own.
fn gzip(mut plain: impl Read + Send + 'static) -> Gzipping {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let work = move || {
        let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = plain.read(&mut buffer).context(|| "read a layer")?;
            encoder.write_all(&buffer[..count]).context(|| "compress a layer")?;
            if count == 0 {
                break;
            }
            if encoder.get_ref().len() >= CHUNK {
                send(&sender, std::mem::take(encoder.get_mut()))?;
            }
        }
        send(&sender, encoder.finish().context(|| "compress a layer")?)
    };
    (tokio::task::spawn_blocking(work), receiver)
}

fn send(sender: &tokio::sync::mpsc::Sender<Bytes>, bytes: Vec<u8>) -> Result<()> {
    let gone = |_| Error::new(Kind::Cancelled, "nobody takes the compressed layer");
    sender.blocking_send(Bytes::from(bytes)).map_err(gone)
}

/// A config whose file name says a digest must have it.
fn check_name(path: &str, file: &File) -> Result<()> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.strip_suffix(".json").unwrap_or(name);
    let says_digest = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    if says_digest && name != file.digest.hex() {
        return Err(Error::precondition(format!(
            "config {path:?} in the archive has the digest {}",
            file.digest
        )));
    }
    Ok(())
}

fn with_name(descriptor: &Descriptor, tag: &str) -> Result<Descriptor> {
    let reference = Reference::parse(tag).context(|| "parse manifest.json: RepoTags")?;
    let mut named = descriptor.clone();
    export::annotate(&mut named, &reference.to_string());
    Ok(named)
}
