//! Layers into snapshots, in order from the base (OCI image-spec layer.md; names as containerd's unpacker makes them).

use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use diff::{Applied, Compression};
use errors::{Context, Error, Kind, Result, WithKind};
use ids::{Digest, Labels, Namespace};
use snapshot::{Mount, Snapshotter};

use crate::chain::chain_ids;
use crate::images::{Hold, Shared};
use crate::progress::{ProgressSink, tell};
use crate::pull::{Arrival, Failed, Feed};
use crate::{Descriptor, ImageConfig};

/// How many bytes go by between two words about progress.
const PROGRESS_STEP: u64 = 1 << 20;

/// Where a layer's bytes come from.
pub(crate) enum Source {
    /// It is in content.
    Stored,
    /// It is being fetched for an equal layer, and will be in content.
    Arriving(Arrival),
    /// It is being fetched, and may be had on the way.
    Feed(Feed),
}

/// One image's way into one snapshotter.
pub(crate) struct Unpack {
    pub(crate) shared: Arc<Shared>,
    pub(crate) namespace: Namespace,
    pub(crate) snapshotter: String,
    pub(crate) hold: Option<Hold>,
    pub(crate) progress: ProgressSink,
}

/// One layer's place in the chain.
struct Step<'a> {
    layer: &'a Descriptor,
    diff_id: &'a Digest,
    chain_id: String,
    parent: String,
}

/// Tells how far a layer was read.
struct Counted<R> {
    inner: R,
    layer: Descriptor,
    progress: ProgressSink,
    offset: u64,
    told: u64,
}

/// Unpacks an image whose layers are in content. Runs to its end, or to its clean-up, even when the caller goes away.
pub(crate) async fn unpack_stored(
    shared: &Arc<Shared>,
    namespace: &Namespace,
    image: &ImageConfig,
    snapshotter: &str,
    hold: Option<&Hold>,
    progress: ProgressSink,
) -> Result<Option<Digest>> {
    let unpack = Unpack {
        shared: shared.clone(),
        namespace: namespace.clone(),
        snapshotter: snapshotter.to_owned(),
        hold: hold.cloned(),
        progress,
    };
    let image = image.clone();
    let sources = image.layers.iter().map(|_| Source::Stored).collect();
    let task = tokio::spawn(async move { unpack.run(&image, sources).await });
    task.await.kind(Kind::Internal, || "the unpacking task ended before its time")?
}

impl Unpack {
    /// Unpacks what is not there yet, layer by layer; returns the top's name.
    pub(crate) async fn run(&self, image: &ImageConfig, sources: Vec<Source>) -> Result<Option<Digest>> {
        let snapshotter = self.shared.snapshotters.get(&self.snapshotter)?;
        let chain = chain_ids(&image.diff_ids);
        let mut parent = String::new();
        for (index, source) in sources.into_iter().enumerate() {
            let (layer, diff_id) = (&image.layers[index], &image.diff_ids[index]);
            let step = Step { layer, diff_id, chain_id: chain[index].to_string(), parent };
            self.layer(&snapshotter, &step, source)
                .await
                .context(|| format!("unpack layer {} into {}", layer.digest, snapshotter.name()))?;
            parent = step.chain_id;
        }
        if let Some(top) = chain.last() {
            let key = format!("containerd.io/gc.ref.snapshot.{}", snapshotter.name());
            let labels = Labels::from([(key, top.to_string())]);
            self.shared.label(&self.namespace, &image.digest, labels).await?;
        }
        Ok(chain.last().cloned())
    }

    async fn layer(&self, snapshotter: &Snapshotter, step: &Step<'_>, source: Source) -> Result<()> {
        let sort = format!("snapshots/{}", snapshotter.name());
        Shared::hold(self.hold.as_ref(), &sort, &step.chain_id).await?;
        let lock = format!("unpack {} {sort} {}", self.namespace, step.chain_id);
        // Another unpack of the same chain waits here, and then finds it.
        let alone = self.shared.locks.lock(lock).await;
        if self.is_there(snapshotter, &step.chain_id)? {
            drop(alone);
            // Its packed form may still be on its way, for a later export or push.
            arrived(source.arrival()).await.map_err(|_| cut_off(step.layer))?;
            tell(&self.progress, step.layer, "exists", step.layer.length()?);
            return Ok(());
        }
        let key = format!("{} {}", extract_name(), step.chain_id);
        Shared::hold(self.hold.as_ref(), &sort, &key).await?;
        let labels = Labels::from([("containerd.io/snapshot.ref".to_owned(), step.chain_id.clone())]);
        let mounts = match snapshotter.prepare(&self.namespace, &key, &step.parent, labels).await {
            Ok(mounts) => mounts,
            Err(error) if error.is_already_exists() && self.is_there(snapshotter, &step.chain_id)? => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let filled = self.fill(snapshotter, step, &key, mounts, source).await;
        if filled.is_err()
            && let Err(left) = snapshotter.remove(&self.namespace, &key).await
            && !left.is_not_found()
        {
            tracing::warn!(key, "snapshot of a failed unpack left behind: {}", left.chain());
        }
        filled
    }

    fn is_there(&self, snapshotter: &Snapshotter, chain_id: &str) -> Result<bool> {
        match snapshotter.stat(&self.namespace, chain_id) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Applies the layer to the prepared snapshot, checks it, commits it.
    async fn fill(
        &self,
        snapshotter: &Snapshotter,
        step: &Step<'_>,
        key: &str,
        mounts: Vec<Mount>,
        source: Source,
    ) -> Result<()> {
        let applied = self.apply(step, mounts, source).await?;
        if applied.diff_id != *step.diff_id {
            return Err(Error::precondition(format!(
                "wrong diff id {} calculated on extraction, the image config says {}: failed precondition",
                applied.diff_id, step.diff_id
            )));
        }
        let committed = snapshotter.commit(&self.namespace, &step.chain_id, key, Labels::new()).await;
        match committed {
            Ok(()) => {}
            Err(error) if error.is_already_exists() => {
                snapshotter.remove(&self.namespace, key).await?;
            }
            Err(error) => return Err(error),
        }
        let labels = Labels::from([("containerd.io/uncompressed".to_owned(), step.diff_id.to_string())]);
        self.shared.label(&self.namespace, &step.layer.digest, labels).await?;
        tell(&self.progress, step.layer, "done", step.layer.length()?);
        Ok(())
    }

    /// Applies, on a thread of its own; when this returns, the layer is in content and its digest verified.
    async fn apply(&self, step: &Step<'_>, mounts: Vec<Mount>, source: Source) -> Result<Applied> {
        let cut_off = || cut_off(step.layer);
        let arrival = source.arrival();
        let feed = match source {
            Source::Feed(mut feed) => {
                feed.begun().await.map_err(|_| cut_off())?;
                Some(feed)
            }
            _ => None,
        };
        // Before the claim, which ties the fetch to this thread's pace.
        let permit =
            self.shared.applies.acquire().await.kind(Kind::Internal, || "wait for a thread to unpack")?;
        let stream = feed.and_then(Feed::claim);
        if let Some(reader) = stream {
            let applied = self.apply_from(step.layer, mounts, reader).await?;
            arrived(arrival).await.map_err(|_| cut_off())?;
            return Ok(applied);
        }
        // What is not streamed is waited for without a thread.
        drop(permit);
        arrived(arrival).await.map_err(|_| cut_off())?;
        let _permit =
            self.shared.applies.acquire().await.kind(Kind::Internal, || "wait for a thread to unpack")?;
        let blob = self.shared.content.open_blob(&self.namespace, &step.layer.digest)?;
        self.apply_from(step.layer, mounts, blob.into_std()?).await
    }

    async fn apply_from(
        &self,
        layer: &Descriptor,
        mounts: Vec<Mount>,
        reader: impl Read + Send + 'static,
    ) -> Result<Applied> {
        let compression = Compression::of_media_type(&layer.media_type)?;
        let (limits, scratch) = (self.shared.config.layer_limits(), self.shared.config.scratch());
        let counted = Counted {
            inner: reader,
            layer: layer.clone(),
            progress: self.progress.clone(),
            offset: 0,
            told: 0,
        };
        tell(&self.progress, layer, "extracting", 0);
        let apply = move || diff::apply(&mounts, counted, compression, &limits, &scratch);
        tokio::task::spawn_blocking(apply)
            .await
            .kind(Kind::Internal, || format!("the thread that applied {} ended", layer.digest))?
    }
}

impl Source {
    /// To wait for the blob, if it is not there for certain.
    fn arrival(&self) -> Option<Arrival> {
        match self {
            Source::Stored => None,
            Source::Arriving(arrival) => Some(arrival.clone()),
            Source::Feed(feed) => Some(feed.arrival()),
        }
    }
}

/// Why it did not come is told by the fetch.
fn cut_off(layer: &Descriptor) -> Error {
    Error::new(Kind::Aborted, format!("layer {} did not arrive", layer.digest))
}

async fn arrived(arrival: Option<Arrival>) -> Result<(), Failed> {
    match arrival {
        Some(mut arrival) => arrival.wait().await,
        None => Ok(()),
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.offset += count as u64;
        if self.offset >= self.told + PROGRESS_STEP {
            self.told = self.offset;
            tell(&self.progress, &self.layer, "extracting", self.offset);
        }
        Ok(count)
    }
}

/// `extract-NANOSECONDS-RANDOM`.
pub(crate) fn extract_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Every RandomState has its own random keys.
    let random = RandomState::new().hash_one(now) as u32;
    format!("extract-{}-{random:08x}", now.subsec_nanos())
}
