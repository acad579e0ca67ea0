//! The room's working half: what pull, unpack, import and export share, and reading an image's config.

use std::sync::Arc;

use bytes::Bytes;
use content::Content;
use errors::{Context, Error, Result};
use futures::future::BoxFuture;
use ids::{Digest, Labels, Namespace, Reference};
use snapshot::Snapshotters;
use tokio::io::AsyncWrite;
use tokio::sync::Semaphore;

use crate::chain::chain_ids;
use crate::export::{self, Export, ExportOptions};
use crate::import::{self, ImportOptions};
use crate::locks::Locks;
use crate::manifest::{self, Index, Manifest};
use crate::progress::ProgressSink;
use crate::pull::{self, PullOptions};
use crate::push::{self, PushOptions};
use crate::registry::{Registries, RegistryConfig};
use crate::{Descriptor, Image, Names, Platform, unpack};

/// How deep an index may hold indexes.
const MAX_INDEX_DEPTH: usize = 4;

/// The most blocking threads for one sort of long work: far below tokio's own limit of 512.
const MAX_THREADS: usize = 64;

/// Protects what arrives from garbage collection: is called with a lease resource's sort (`content`, `ingests`,
/// `snapshots/NAME`) and id before the thing is made.
pub type Hold = Arc<dyn Fn(String, String) -> BoxFuture<'static, Result<()>> + Send + Sync>;

/// Moves images between registries, archives, content and snapshots.
#[derive(Clone)]
pub struct Images {
    pub(crate) shared: Arc<Shared>,
}

/// The parts.
pub(crate) struct Shared {
    pub(crate) config: RegistryConfig,
    pub(crate) registries: Registries,
    pub(crate) names: Names,
    pub(crate) content: Content,
    pub(crate) snapshotters: Snapshotters,
    pub(crate) locks: Locks,
    /// Layers that are applied at once, over all pulls. Each has a blocking thread and may wait for another that
    /// writes content: unbounded, they could take up all threads and wait forever.
    pub(crate) applies: Semaphore,
    /// Archives that are read at once, for the same reason.
    pub(crate) imports: Semaphore,
}

/// A blob's user-visible facts, read from its config.
#[derive(Debug, Clone)]
pub struct ImageConfig {
    /// The config's document; the blob itself but for what no string can hold, in whose place is U+FFFD.
    pub raw: Bytes,
    /// Its digest: docker's image id.
    pub digest: Digest,
    /// The manifest it belongs to.
    pub manifest: Descriptor,
    /// The layers, in order from the base.
    pub layers: Vec<Descriptor>,
    /// The digests of the uncompressed layers.
    pub diff_ids: Vec<Digest>,
    /// The snapshot name of the top layer (OCI image-spec config.md "Layer ChainID").
    pub chain_id: Option<Digest>,
}

impl Images {
    /// Puts the parts together.
    pub fn new(config: RegistryConfig, names: Names, content: Content, snapshotters: Snapshotters) -> Images {
        let registries = Registries::new(config.clone());
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        let shared = Shared {
            registries,
            config,
            names,
            content,
            snapshotters,
            locks: Locks::default(),
            applies: Semaphore::new((2 * processors).clamp(4, MAX_THREADS)),
            imports: Semaphore::new(MAX_THREADS),
        };
        Images { shared: Arc::new(shared) }
    }

    /// Resolves `reference`, fetches what the platform needs, unpacks if asked, in one pass a layer, layers in parallel; then the
    /// name `name` (mostly the reference's text) points to it.
    pub async fn pull(
        &self,
        namespace: &Namespace,
        reference: &Reference,
        name: &str,
        options: &PullOptions,
        progress: ProgressSink,
    ) -> Result<Image> {
        pull::pull(&self.shared, namespace, reference, name, options, progress)
            .await
            .context(|| format!("failed to pull image {name:?}"))
    }

    /// Uploads what `target` refers to and the registry lacks, then points `reference` at it.
    pub async fn push(
        &self,
        namespace: &Namespace,
        target: &Descriptor,
        reference: &Reference,
        options: &PushOptions,
        progress: ProgressSink,
    ) -> Result<()> {
        push::push(&self.shared, namespace, target, reference, options, progress)
            .await
            .context(|| format!("failed to push image {:?}", reference.to_string()))
    }

    /// The manifest, config and layers that an image has for `platform` (`None`: this machine's). `NotFound` when the
    /// image has nothing for the platform, or when a blob is missing.
    pub async fn config(
        &self,
        namespace: &Namespace,
        target: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<ImageConfig> {
        let platform = platform.cloned().unwrap_or_else(Platform::host);
        self.shared.image_config(namespace, target, &platform).await
    }

    /// Unpacks what the snapshotter has not yet; returns the chain ID. The caller holds the snapshot's chain against
    /// collection: the name's config blob refers to it from here on.
    pub async fn unpack(
        &self,
        namespace: &Namespace,
        target: &Descriptor,
        platform: Option<&Platform>,
        snapshotter: &str,
        hold: Option<&Hold>,
        progress: ProgressSink,
    ) -> Result<Option<Digest>> {
        let image = self.config(namespace, target, platform).await?;
        unpack::unpack_stored(&self.shared, namespace, &image, snapshotter, hold, progress).await
    }

    /// The blobs of an image that this namespace has, each once, parents before children: all platforms'.
    pub async fn blobs(&self, namespace: &Namespace, target: &Descriptor) -> Result<Vec<Descriptor>> {
        self.shared.blobs(namespace, target, None).await
    }

    /// Takes in an archive: an OCI layout, what `docker save` writes, or both in one; plain, gzip or zstd. `reader` is
    /// read on a thread of its own (see [`crate::pipe`] for an async source). Returns the names that were made.
    pub async fn import(
        &self,
        namespace: &Namespace,
        reader: impl std::io::Read + Send + 'static,
        options: &ImportOptions,
        progress: ProgressSink,
    ) -> Result<Vec<Image>> {
        import::import(&self.shared, namespace, reader, options, progress).await
    }

    /// Writes `images` as one archive that is both an OCI layout and what `docker load` reads, and flushes `writer`.
    pub async fn export(
        &self,
        namespace: &Namespace,
        images: &[Export],
        options: &ExportOptions,
        writer: impl AsyncWrite + Send + Unpin,
        progress: ProgressSink,
    ) -> Result<()> {
        export::export(&self.shared, namespace, images, options, writer, progress).await
    }
}

impl Shared {
    /// Reads a small blob that a descriptor names, and checks its size against the descriptor.
    pub(crate) async fn read_small(&self, namespace: &Namespace, descriptor: &Descriptor) -> Result<Bytes> {
        let bytes = self.content.read(namespace, &descriptor.digest, self.config.manifest_limit()).await?;
        if bytes.len() as u64 != descriptor.length()? {
            return Err(Error::precondition(format!(
                "blob {} is {} bytes, its descriptor says {}",
                descriptor.digest,
                bytes.len(),
                descriptor.size
            )));
        }
        Ok(bytes)
    }

    /// Reads an index.
    pub(crate) async fn index(&self, namespace: &Namespace, descriptor: &Descriptor) -> Result<Index> {
        manifest::parse_index(&self.read_small(namespace, descriptor).await?, &descriptor.digest)
    }

    /// Reads a manifest.
    pub(crate) async fn manifest(&self, namespace: &Namespace, descriptor: &Descriptor) -> Result<Manifest> {
        manifest::parse_manifest(&self.read_small(namespace, descriptor).await?, &descriptor.digest)
    }

    /// The best manifest for `platform` that is here, with its descriptor.
    pub(crate) async fn select(
        &self,
        namespace: &Namespace,
        target: &Descriptor,
        platform: &Platform,
    ) -> Result<(Descriptor, Manifest)> {
        let mut missing = None;
        // Indexes may name each other over and over: each is read once.
        let mut seen = std::collections::BTreeSet::new();
        let mut pending = vec![(target.clone(), 0)];
        while let Some((descriptor, depth)) = pending.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            if descriptor.is_manifest() {
                match self.manifest(namespace, &descriptor).await {
                    Ok(manifest) => return Ok((descriptor, manifest)),
                    Err(error) if error.is_not_found() && depth > 0 => missing = missing.or(Some(error)),
                    Err(error) => return Err(error),
                }
            } else if descriptor.is_index() && depth < MAX_INDEX_DEPTH {
                let index = match self.index(namespace, &descriptor).await {
                    Ok(index) => index,
                    Err(error) if error.is_not_found() && depth > 0 => continue,
                    Err(error) => return Err(error),
                };
                let ranked = index.ranked(platform).into_iter().rev();
                pending.extend(ranked.map(|manifest| (manifest.clone(), depth + 1)));
            } else if depth == 0 {
                return Err(not_an_image(&descriptor));
            }
        }
        let none = || {
            Error::not_found(format!(
                "no match for platform {platform} in manifest {}: not found",
                target.digest
            ))
        };
        Err(missing.unwrap_or_else(none))
    }

    /// See [`Images::config`].
    pub(crate) async fn image_config(
        &self,
        namespace: &Namespace,
        target: &Descriptor,
        platform: &Platform,
    ) -> Result<ImageConfig> {
        let (descriptor, manifest) = self.select(namespace, target, platform).await?;
        let raw = self.read_small(namespace, &manifest.config).await?;
        image_config(raw, descriptor, manifest)
    }

    /// The blobs below and with `target` that are here, each once, parents first; with `platform`, only what that
    /// platform needs.
    pub(crate) async fn blobs(
        &self,
        namespace: &Namespace,
        target: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<Vec<Descriptor>> {
        let mut found: Vec<Descriptor> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        let mut pending = vec![(target.clone(), 0)];
        while let Some((descriptor, depth)) = pending.pop() {
            if depth > MAX_INDEX_DEPTH + 1 || !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            match self.content.info(namespace, &descriptor.digest) {
                Ok(_) => {}
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error),
            }
            let children = self.children(namespace, &descriptor, platform).await?;
            pending.extend(children.into_iter().rev().map(|child| (child, depth + 1)));
            found.push(descriptor);
        }
        Ok(found)
    }

    /// What `descriptor` refers to; nothing for a layer or a config.
    async fn children(
        &self,
        namespace: &Namespace,
        descriptor: &Descriptor,
        platform: Option<&Platform>,
    ) -> Result<Vec<Descriptor>> {
        if descriptor.is_index() {
            let index = self.index(namespace, descriptor).await?;
            return Ok(match platform {
                None => index.manifests,
                Some(platform) => index.ranked(platform).into_iter().cloned().collect(),
            });
        }
        if descriptor.is_manifest() {
            let manifest = self.manifest(namespace, descriptor).await?;
            return Ok([manifest.config].into_iter().chain(manifest.layers).collect());
        }
        Ok(Vec::new())
    }

    /// Calls `hold` if there is one.
    pub(crate) async fn hold(hold: Option<&Hold>, sort: &str, id: &str) -> Result<()> {
        match hold {
            Some(hold) => hold(sort.to_owned(), id.to_owned()).await.context(|| format!("hold {sort} {id}")),
            None => Ok(()),
        }
    }

    /// Adds labels to a blob, if it lacks them.
    pub(crate) async fn label(&self, namespace: &Namespace, digest: &Digest, labels: Labels) -> Result<()> {
        let info = self.content.info(namespace, digest)?;
        let missing: Labels =
            labels.into_iter().filter(|(key, value)| info.labels.get(key) != Some(value)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let mask: Vec<String> = missing.keys().map(|key| format!("labels.{key}")).collect();
        self.content.update(namespace, digest, missing, &mask).await.map(drop)
    }
}

/// The error for a target that is neither manifest nor index.
pub(crate) fn not_an_image(descriptor: &Descriptor) -> Error {
    Error::invalid(format!("{} is not an image: media type {:?}", descriptor.digest, descriptor.media_type))
}

/// The labels by which a document keeps its children from being collected, as containerd sets them.
pub(crate) fn child_labels<'a>(children: impl IntoIterator<Item = &'a Descriptor>) -> Labels {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    let mut labels = Labels::new();
    for child in children {
        let key = match () {
            () if crate::media_type::is_config(&child.media_type) => {
                "containerd.io/gc.ref.content.config".to_owned()
            }
            () => {
                let sort = match () {
                    () if child.is_index() || child.is_manifest() => "m.",
                    () if child.media_type.contains(".rootfs.") || child.media_type.contains(".layer.") => {
                        "l."
                    }
                    () => "",
                };
                let count = counts.entry(sort).or_default();
                let key = format!("containerd.io/gc.ref.content.{sort}{count}");
                *count += 1;
                key
            }
        };
        labels.insert(key, child.digest.to_string());
    }
    labels
}

/// Puts an image's facts together and checks that they fit each other.
pub(crate) fn image_config(raw: Bytes, descriptor: Descriptor, manifest: Manifest) -> Result<ImageConfig> {
    let raw = crate::json::readable(raw);
    let config = manifest::parse_config(&raw, &manifest.config.digest)?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        return Err(Error::invalid(format!(
            "number of layers and diffIDs don't match: {} != {} in image config {}",
            manifest.layers.len(),
            diff_ids.len(),
            manifest.config.digest
        )));
    }
    Ok(ImageConfig {
        raw,
        digest: manifest.config.digest,
        manifest: descriptor,
        chain_id: chain_ids(&diff_ids).pop(),
        layers: manifest.layers,
        diff_ids,
    })
}
