//! One layer: from the registry into content, and past the unpacker on the way.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use content::Writer;
use errors::{Context, Error, Kind, Result, WithKind};
use ids::Labels;

use super::Pull;
use super::feed::Tap;
use crate::Descriptor;
use crate::images::Shared;
use crate::progress::tell;
use crate::registry::BlobStream;

/// How much is gathered before it is written: enough that a write's overhead does not count.
pub(crate) const CHUNK: usize = 256 << 10;

/// How long somebody else's ingest of the same blob may stand still before this pull gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pauses while somebody else writes.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long the last write of a fetch that was cut off may take.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// May a later pull go on with what has come so far? Only where the network broke it off: not after lies, and not with what fills a disk.
pub(super) fn may_go_on(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::DeadlineExceeded)
}

/// Fetches `layer`, unless it is there.
pub(crate) async fn fetch(pull: Arc<Pull>, layer: Descriptor, mut tap: Tap) -> Result<()> {
    tell(&pull.progress, &layer, "waiting", 0);
    let fetched = async {
        let permit = pull.permits.clone().acquire_owned().await;
        let _permit = permit.kind(Kind::Internal, || "wait for a turn to fetch")?;
        pull.layer(&layer, &mut tap).await
    };
    match fetched.await.context(|| format!("fetch layer {}", layer.digest)) {
        Ok(()) => {
            tap.stored();
            Ok(())
        }
        Err(error) => {
            // Before the tap goes: whoever is cut off by that can then tell why.
            let mut first = pull.failure.lock().unwrap_or_else(PoisonError::into_inner);
            let again = Error::new(error.kind(), error.chain());
            first.get_or_insert(error);
            Err(again)
        }
    }
}

impl Pull {
    async fn layer(&self, layer: &Descriptor, tap: &mut Tap) -> Result<()> {
        let lock = format!("fetch {} {}", self.namespace, layer.digest);
        // Another pull that fetches the same waits here, and then finds it.
        let _alone = self.shared.locks.lock(lock).await;
        Shared::hold(self.hold.as_ref(), "content", &layer.digest.to_string()).await?;
        Shared::hold(self.hold.as_ref(), "ingests", &layer.ingest()).await?;
        let Some(writer) = self.writer(layer).await? else { return self.exists(layer, tap).await };
        let resumed = writer.status().offset > 0;
        let copied = match self.copy(layer, writer, tap).await {
            Err(error) if resumed && error.kind() == Kind::FailedPrecondition => {
                // What an earlier fetch left may have been damaged: once more, from the beginning.
                tracing::warn!(digest = %layer.digest, "resumed layer is damaged: {}", error.chain());
                match self.writer(layer).await? {
                    Some(writer) => self.copy(layer, writer, tap).await,
                    None => self.exists(layer, tap).await,
                }
            }
            result => result,
        };
        if let Err(error) = &copied
            && !may_go_on(error)
        {
            self.abort(layer).await;
        }
        copied
    }

    /// Gives up what has come of a layer, unless another pull goes on with it.
    pub(super) async fn abort(&self, layer: &Descriptor) {
        let begun = Instant::now();
        loop {
            match self.shared.content.abort(&self.namespace, &layer.ingest()).await {
                // The last write of a fetch that was cut off is under way; there is no event for its end.
                Err(error) if error.kind() == Kind::Unavailable && begun.elapsed() < LAST_WRITE => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(digest = %layer.digest, "ingest left behind: {}", error.chain());
                    return;
                }
                _ => return,
            }
        }
    }

    /// It is in content already; its size is what the descriptor says, or somebody lies.
    async fn exists(&self, layer: &Descriptor, tap: &mut Tap) -> Result<()> {
        let info = self.shared.content.info(&self.namespace, &layer.digest)?;
        if info.size != layer.length()? {
            return Err(Error::precondition(format!(
                "blob {} is {} bytes, its descriptor says {}",
                layer.digest, info.size, layer.size
            )));
        }
        tap.begin(false);
        let mut labels = Labels::new();
        self.add_source(&layer.digest, &mut labels);
        self.shared.label(&self.namespace, &layer.digest, labels).await?;
        if !self.unpacks {
            tell(&self.progress, layer, "exists", info.size);
        }
        Ok(())
    }

    /// The ingest's writer, or nothing when the blob is there. Somebody else's writer is waited for as long as it gets on.
    async fn writer(&self, layer: &Descriptor) -> Result<Option<Writer>> {
        let (content, ingest) = (&self.shared.content, layer.ingest());
        let (mut pause, mut still, mut seen) = (Duration::from_millis(50), Duration::ZERO, 0);
        loop {
            let expected = Some(layer.digest.clone());
            match content.writer(&self.namespace, &ingest, layer.length()?, expected).await {
                Ok(writer) => return Ok(Some(writer)),
                Err(error) if error.is_already_exists() => return Ok(None),
                Err(error) if error.kind() == Kind::Unavailable && still < PATIENCE => {}
                Err(error) => return Err(error),
            }
            // A client of the content service holds it; there is no event for its end.
            tokio::time::sleep(pause).await;
            let offset = content.status(&self.namespace, &ingest).map(|status| status.offset).unwrap_or(seen);
            still = if offset == seen { still + pause } else { Duration::ZERO };
            seen = offset;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// The one pass: network to content and tap.
    async fn copy(&self, layer: &Descriptor, mut writer: Writer, tap: &mut Tap) -> Result<()> {
        let total = layer.length()?;
        let mut offset = writer.status().offset;
        if offset > total {
            offset = 0;
        }
        let mut step = marks::step("image.fetch.body")?;
        tap.begin(offset == 0);
        let mut stream = BlobStream::new(self.session.clone(), layer, offset)?;
        let mut gathered = BytesMut::new();
        loop {
            let more = stream.next().await?;
            let end = more.is_none();
            gathered.extend_from_slice(&more.unwrap_or_default());
            if gathered.len() >= CHUNK || (end && !gathered.is_empty()) {
                let bytes: Bytes = gathered.split().freeze();
                let next = offset + bytes.len() as u64;
                tap.pass(bytes.clone()).await;
                writer.write(offset, bytes).await?;
                offset = next;
                tell(&self.progress, layer, "downloading", offset);
            }
            if end {
                break;
            }
        }
        tap.end().await;
        step.next("image.fetch.commit")?;
        self.commit(layer, writer).await
    }

    async fn commit(&self, layer: &Descriptor, writer: Writer) -> Result<()> {
        let mut labels = Labels::new();
        self.add_source(&layer.digest, &mut labels);
        match writer.commit(layer.length()?, Some(&layer.digest), labels).await {
            Ok(_) => {}
            Err(error) if error.is_already_exists() => {}
            Err(error) => {
                // Wrong bytes must not be resumed.
                self.abort(layer).await;
                return Err(error);
            }
        }
        if !self.unpacks {
            tell(&self.progress, layer, "done", layer.length()?);
        }
        Ok(())
    }
}
