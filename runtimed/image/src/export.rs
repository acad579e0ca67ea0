//! From content into an archive: an OCI layout (OCI image-spec image-layout.md) that is also what `docker load` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use errors::{Context, Kind, Result, WithKind};
use ids::{Digest, Namespace, Reference};
use serde::Serialize;
use tar::{EntryType, Header};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::descriptor::media_type;
use crate::images::Shared;
use crate::manifest::Index;
use crate::progress::{ProgressSink, tell, tell_name};
use crate::{Descriptor, Platform};

/// containerd's annotation for an image's full name.
pub(crate) const ANNOTATION_NAME: &str = "io.containerd.image.name";
/// The image-spec's annotation for a name, mostly a tag (annotations.md).
pub(crate) const ANNOTATION_REF: &str = "org.opencontainers.image.ref.name";

/// A tar block.
const BLOCK: u64 = 512;
/// How much is read and written at once.
const CHUNK: usize = 256 << 10;

/// One thing to export.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// The names it shall have in the archive; none is allowed.
    pub names: Vec<String>,
    /// The manifest or index.
    pub target: Descriptor,
}

/// What a caller wants of one export.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// The platform; `None` is this machine's.
    pub platform: Option<Platform>,
    /// All platforms' content that is there.
    pub all_platforms: bool,
    /// Leave out docker's `manifest.json`.
    pub skip_docker_manifest: bool,
}

/// One image of docker's `manifest.json`.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// What goes into the archive.
#[derive(Default)]
struct Plan {
    index: Vec<Descriptor>,
    docker: Vec<DockerEntry>,
    blobs: BTreeMap<Digest, Descriptor>,
}

pub(crate) async fn export(
    shared: &Arc<Shared>,
    namespace: &Namespace,
    images: &[Export],
    options: &ExportOptions,
    mut writer: impl AsyncWrite + Send + Unpin,
    progress: ProgressSink,
) -> Result<()> {
    let mut step = marks::step("image.save.plan")?;
    let platform = options.platform.clone().unwrap_or_else(Platform::host);
    let mut plan = Plan::default();
    for image in images {
        plan.add(shared, namespace, image, &platform, options).await.context(|| {
            format!("export {}", image.names.first().unwrap_or(&image.target.digest.to_string()))
        })?;
    }
    step.next("image.save.blobs")?;
    folder(&mut writer, "blobs/").await?;
    let algorithms: BTreeSet<&str> = plan.blobs.keys().map(|digest| digest.algorithm().as_str()).collect();
    for algorithm in algorithms {
        folder(&mut writer, &format!("blobs/{algorithm}/")).await?;
    }
    for descriptor in plan.blobs.values() {
        blob(shared, namespace, descriptor, &mut writer, &progress).await?;
    }
    step.next("image.save.index")?;
    let index = Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.to_owned(),
        manifests: plan.index,
        annotations: BTreeMap::new(),
    };
    document(&mut writer, "index.json", &index).await?;
    if !options.skip_docker_manifest && !plan.docker.is_empty() {
        document(&mut writer, "manifest.json", &plan.docker).await?;
    }
    let layout = serde_json::json!({ "imageLayoutVersion": "1.0.0" });
    document(&mut writer, "oci-layout", &layout).await?;
    put(&mut writer, &[0; 2 * BLOCK as usize]).await?;
    writer.flush().await.context(|| "write the archive")?;
    for name in images.iter().flat_map(|image| &image.names) {
        tell_name(&progress, name, "saved");
    }
    Ok(())
}

impl Plan {
    async fn add(
        &mut self,
        shared: &Arc<Shared>,
        namespace: &Namespace,
        image: &Export,
        platform: &Platform,
        options: &ExportOptions,
    ) -> Result<()> {
        if options.all_platforms {
            for descriptor in shared.blobs(namespace, &image.target, None).await? {
                self.blobs.insert(descriptor.digest.clone(), descriptor);
            }
            self.docker(shared, namespace, image, platform).await.or_else(|error| {
                match error.is_not_found() {
                    // docker's manifest has no place for platforms: without this machine's there is none.
                    true => Ok(()),
                    false => Err(error),
                }
            })?;
        } else {
            self.docker(shared, namespace, image, platform).await?;
            // The index itself, if there is one, goes along: the digest of what was pulled stays what it was.
            self.blobs.insert(image.target.digest.clone(), image.target.clone());
        }
        if image.names.is_empty() {
            self.index.push(image.target.clone());
        }
        for name in &image.names {
            let mut named = image.target.clone();
            annotate(&mut named, name);
            self.index.push(named);
        }
        Ok(())
    }

    /// One platform's manifest with all it needs, and its entry for docker.
    async fn docker(
        &mut self,
        shared: &Arc<Shared>,
        namespace: &Namespace,
        image: &Export,
        platform: &Platform,
    ) -> Result<()> {
        let (descriptor, manifest) = shared.select(namespace, &image.target, platform).await?;
        let children: Vec<&Descriptor> = [&manifest.config].into_iter().chain(&manifest.layers).collect();
        for child in [&descriptor].into_iter().chain(children) {
            shared.content.info(namespace, &child.digest)?;
            self.blobs.insert(child.digest.clone(), child.clone());
        }
        if media_type::is_config(&manifest.config.media_type) {
            self.docker.push(DockerEntry {
                config: path(&manifest.config.digest),
                repo_tags: image.names.iter().map(|name| familiar(name)).collect(),
                layers: manifest.layers.iter().map(|layer| path(&layer.digest)).collect(),
            });
        }
        Ok(())
    }
}

/// Gives a manifest its name, as containerd and docker write it.
pub(crate) fn annotate(descriptor: &mut Descriptor, name: &str) {
    let short = match Reference::parse(name) {
        Ok(reference) => reference.object(),
        Err(_) => name.to_owned(),
    };
    descriptor.annotations.insert(ANNOTATION_NAME.to_owned(), name.to_owned());
    descriptor.annotations.insert(ANNOTATION_REF.to_owned(), short);
}

/// The name as docker shows it, with its tag.
fn familiar(name: &str) -> String {
    match Reference::parse(name) {
        Ok(reference) => match (reference.tag(), reference.digest()) {
            (Some(tag), _) => format!("{}:{tag}", reference.familiar_name()),
            (None, Some(digest)) => format!("{}@{digest}", reference.familiar_name()),
            (None, None) => reference.familiar_name(),
        },
        Err(_) => name.to_owned(),
    }
}

fn path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

async fn blob(
    shared: &Shared,
    namespace: &Namespace,
    descriptor: &Descriptor,
    writer: &mut (impl AsyncWrite + Send + Unpin),
    progress: &ProgressSink,
) -> Result<()> {
    let source = shared.content.open_blob(namespace, &descriptor.digest)?;
    let size = source.size();
    put(writer, header(&path(&descriptor.digest), EntryType::Regular, size)?.as_bytes()).await?;
    let mut offset = 0;
    while offset < size {
        let bytes = source.read_at(offset, CHUNK).await?;
        if bytes.is_empty() {
            return Err(errors::Error::new(
                Kind::DataLoss,
                format!("blob {} ended early", descriptor.digest),
            ));
        }
        put(writer, &bytes).await?;
        offset += bytes.len() as u64;
        tell(progress, descriptor, "saving", offset);
    }
    pad(writer, size).await?;
    tell(progress, descriptor, "done", size);
    Ok(())
}

async fn document(
    writer: &mut (impl AsyncWrite + Send + Unpin),
    name: &str,
    value: &impl Serialize,
) -> Result<()> {
    let bytes = serde_json::to_vec(value).kind(Kind::Internal, || format!("write {name}"))?;
    put(writer, header(name, EntryType::Regular, bytes.len() as u64)?.as_bytes()).await?;
    put(writer, &bytes).await?;
    pad(writer, bytes.len() as u64).await
}

async fn folder(writer: &mut (impl AsyncWrite + Send + Unpin), name: &str) -> Result<()> {
    put(writer, header(name, EntryType::Directory, 0)?.as_bytes()).await
}

/// A header without times and owners: equal images make equal archives.
fn header(name: &str, kind: EntryType, size: u64) -> Result<Header> {
    let mut header = Header::new_gnu();
    header.set_path(name).context(|| format!("name {name} in the archive"))?;
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o444 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

async fn pad(writer: &mut (impl AsyncWrite + Send + Unpin), size: u64) -> Result<()> {
    let rest = (BLOCK - size % BLOCK) % BLOCK;
    put(writer, &[0; BLOCK as usize][..rest as usize]).await
}

async fn put(writer: &mut (impl AsyncWrite + Send + Unpin), bytes: &[u8]) -> Result<()> {
    writer.write_all(bytes).await.context(|| "write the archive")
}
