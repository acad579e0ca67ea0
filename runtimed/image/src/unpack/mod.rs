//! Layers into snapshots (OCI image-spec layer.md; names as containerd's unpacker makes them).
//!
//! Where the snapshotter stacks layers they are applied side by side (`stacked`), otherwise one upon the other.

mod stacked;
mod stop;

use std::hash::{BuildHasher as _, RandomState};
use std::io::Read;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use diff::{Applied, Compression};
use errors::{Context, Error, Kind, Result, WithKind};
use ids::{Digest, Labels, Namespace};
use snapshot::Snapshotter;

use crate::chain::chain_ids;
use crate::images::{Hold, Shared};
use crate::progress::{ProgressSink, tell};
use crate::pull::{Arrival, Failed, Feed};
use crate::{Descriptor, ImageConfig};
use stop::Counted;
pub(crate) use stop::Stop;

/// Where a layer's bytes come from.
pub(crate) enum Source {
    /// It is in content.
    Stored,
    /// It is being fetched for an equal layer, and will be in content.
    Arriving(Arrival),
    /// It is being fetched, and may be had on the way.
    Feed(Feed),
}

/// A layer's packed bytes, as the unpacker reads them.
type Packed = Box<dyn Read + Send>;

/// One image's way into one snapshotter.
pub(crate) struct Unpack {
    pub(crate) shared: Arc<Shared>,
    pub(crate) namespace: Namespace,
    pub(crate) snapshotter: String,
    pub(crate) hold: Option<Hold>,
    pub(crate) progress: ProgressSink,
    /// Said when it fails, before it has cleaned up.
    pub(crate) stop: Stop,
}

/// One layer's place in the chain.
struct Step {
    layer: Descriptor,
    diff_id: Digest,
    chain_id: String,
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
    let unpack = Arc::new(Unpack {
        shared: shared.clone(),
        namespace: namespace.clone(),
        snapshotter: snapshotter.to_owned(),
        hold: hold.cloned(),
        progress,
        stop: Stop::new(),
    });
    let image = image.clone();
    let sources = image.layers.iter().map(|_| Source::Stored).collect();
    let task = tokio::spawn(marks::carry(async move { unpack.run(&image, sources).await }));
    task.await.kind(Kind::Internal, || "the unpacking task ended before its time")?
}

impl Unpack {
    /// Unpacks what is not there yet; returns the top's name.
    pub(crate) async fn run(
        self: &Arc<Unpack>,
        image: &ImageConfig,
        sources: Vec<Source>,
    ) -> Result<Option<Digest>> {
        let snapshotter = self.shared.snapshotters.get(&self.snapshotter)?;
        let chain = chain_ids(&image.diff_ids);
        let layers = image.layers.iter().zip(&image.diff_ids).zip(&chain);
        let steps = layers.map(|((layer, diff_id), chain_id)| Step {
            layer: layer.clone(),
            diff_id: diff_id.clone(),
            chain_id: chain_id.to_string(),
        });
        let steps: Vec<Step> = steps.collect();
        match snapshotter.stacks() {
            true => stacked::run(self, &snapshotter, steps, sources).await?,
            false => self.in_turn(&snapshotter, steps, sources).await?,
        }
        if let Some(top) = chain.last() {
            let _step = marks::step("image.unpack.label")?;
            let key = format!("containerd.io/gc.ref.snapshot.{}", snapshotter.name());
            let labels = Labels::from([(key, top.to_string())]);
            self.shared.label(&self.namespace, &image.digest, labels).await?;
        }
        Ok(chain.last().cloned())
    }

    /// Layer by layer, each upon the one below.
    async fn in_turn(&self, snapshotter: &Snapshotter, steps: Vec<Step>, sources: Vec<Source>) -> Result<()> {
        let mut parent = String::new();
        for (step, source) in steps.into_iter().zip(sources) {
            self.layer(snapshotter, &step, &parent, source)
                .await
                .context(|| format!("unpack layer {} into {}", step.layer.digest, snapshotter.name()))?;
            parent = step.chain_id;
        }
        Ok(())
    }

    async fn layer(
        &self,
        snapshotter: &Snapshotter,
        step: &Step,
        parent: &str,
        source: Source,
    ) -> Result<()> {
        let sort = format!("snapshots/{}", snapshotter.name());
        Shared::hold(self.hold.as_ref(), &sort, &step.chain_id).await?;
        let lock = format!("unpack {} {sort} {}", self.namespace, step.chain_id);
        // Another unpack of the same chain waits here, and then finds it.
        let alone = self.shared.locks.lock(lock).await;
        if self.is_there(snapshotter, &step.chain_id)? {
            drop(alone);
            return self.there(step, source).await;
        }
        let key = format!("{} {}", extract_name(), step.chain_id);
        Shared::hold(self.hold.as_ref(), &sort, &key).await?;
        let labels = Labels::from([("containerd.io/snapshot.ref".to_owned(), step.chain_id.clone())]);
        let mounts = match snapshotter.prepare(&self.namespace, &key, parent, labels).await {
            Ok(mounts) => mounts,
            Err(error) if error.is_already_exists() && self.is_there(snapshotter, &step.chain_id)? => {
                return self.there(step, source).await;
            }
            Err(error) => return Err(error),
        };
        let scratch = self.shared.config.scratch();
        let apply = move |layer: Packed, compression, limits: &diff::Limits| {
            diff::apply(&mounts, layer, compression, limits, &scratch).map(|applied| (applied, ()))
        };
        let filled = self.fill(snapshotter, step, &key, source, apply).await;
        if filled.is_err() {
            self.remove(snapshotter, &key).await;
        }
        filled
    }

    /// Takes away a snapshot that did not come to be a layer, if it is there.
    async fn remove(&self, snapshotter: &Snapshotter, key: &str) {
        if let Err(left) = snapshotter.remove(&self.namespace, key).await
            && !left.is_not_found()
        {
            tracing::warn!(key, "snapshot of a failed unpack left behind: {}", left.chain());
        }
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
        step: &Step,
        key: &str,
        source: Source,
        apply: impl FnOnce(Packed, Compression, &diff::Limits) -> Result<(Applied, ())> + Send + 'static,
    ) -> Result<()> {
        let (applied, ()) = self.apply(step, source, apply).await?;
        step.expect(&applied)?;
        match snapshotter.commit(&self.namespace, &step.chain_id, key, Labels::new()).await {
            Err(error) if error.is_already_exists() => snapshotter.remove(&self.namespace, key).await?,
            committed => committed?,
        }
        self.unpacked(step).await
    }

    /// The layer is a committed snapshot: notes what it unpacks to.
    async fn unpacked(&self, step: &Step) -> Result<()> {
        let labels = Labels::from([("containerd.io/uncompressed".to_owned(), step.diff_id.to_string())]);
        self.shared.label(&self.namespace, &step.layer.digest, labels).await?;
        tell(&self.progress, &step.layer, "done", step.layer.length()?);
        Ok(())
    }

    /// Applies, on a thread of its own; when this returns, the layer is in content and its digest verified.
    async fn apply<T: Send + 'static>(
        &self,
        step: &Step,
        source: Source,
        apply: impl FnOnce(Packed, Compression, &diff::Limits) -> Result<(Applied, T)> + Send + 'static,
    ) -> Result<(Applied, T)> {
        let cut_off = || cut_off(&step.layer);
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
            let applied = self.apply_from(&step.layer, reader, apply).await?;
            arrived(arrival).await.map_err(|_| cut_off())?;
            return Ok(applied);
        }
        // What is not streamed is waited for without a thread.
        drop(permit);
        arrived(arrival).await.map_err(|_| cut_off())?;
        let _permit =
            self.shared.applies.acquire().await.kind(Kind::Internal, || "wait for a thread to unpack")?;
        let blob = self.shared.content.open_blob(&self.namespace, &step.layer.digest)?;
        self.apply_from(&step.layer, blob.into_std()?, apply).await
    }

    async fn apply_from<T: Send + 'static>(
        &self,
        layer: &Descriptor,
        reader: impl Read + Send + 'static,
        apply: impl FnOnce(Packed, Compression, &diff::Limits) -> Result<(Applied, T)> + Send + 'static,
    ) -> Result<(Applied, T)> {
        let compression = Compression::of_media_type(&layer.media_type)?;
        let limits = self.shared.config.layer.clone();
        let counted = Counted::new(reader, layer, &self.progress, &self.stop);
        tell(&self.progress, layer, "extracting", 0);
        let _step = marks::step("image.unpack.apply")?;
        tokio::task::spawn_blocking(marks::carry_call(move || apply(Box::new(counted), compression, &limits)))
            .await
            .kind(Kind::Internal, || format!("the thread that applied {} ended", layer.digest))?
    }
}

impl Step {
    /// Is what was unpacked what the config says?
    fn expect(&self, applied: &Applied) -> Result<()> {
        if applied.diff_id == self.diff_id {
            return Ok(());
        }
        Err(Error::precondition(format!(
            "wrong diff id {} calculated on extraction, the image config says {}: failed precondition",
            applied.diff_id, self.diff_id
        )))
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

/// `extract-NANOSECONDS-RANDOM`.
pub(crate) fn extract_name() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Every RandomState has its own random keys.
    let random = RandomState::new().hash_one(now) as u32;
    format!("extract-{}-{random:08x}", now.subsec_nanos())
}
