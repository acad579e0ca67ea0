//! Writes the difference of two sets of mounts into the content store.

use ::diff::Compression;
use errors::Result;
use flows::Rooms;
use ids::Labels;
use proto_containerd::types;
use snapshot::Mount;

use super::{blocking, compression_of};
use crate::caller::Caller;
use crate::convert::signed;
use crate::sink::{self, Sink};

/// What a layer is written as when the caller does not choose.
const DEFAULT: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Says on a compressed layer what it is uncompressed.
const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// One diff to be made.
pub(super) struct Job {
    media_type: String,
    compression: Compression,
    reference: String,
    labels: Labels,
}

impl Job {
    /// Fills in what the caller left open.
    pub(super) fn new(media_type: &str, reference: String, labels: Labels) -> Result<Job> {
        let media_type = if media_type.is_empty() { DEFAULT } else { media_type };
        let reference = if reference.is_empty() { sink::unique_reference("diff") } else { reference };
        Ok(Job {
            media_type: media_type.to_owned(),
            compression: compression_of(media_type)?,
            reference,
            labels,
        })
    }

    /// Makes it and returns what was made. On failure nothing is left of it.
    pub(super) async fn run(
        mut self,
        rooms: &Rooms,
        caller: &Caller,
        left: Vec<Mount>,
        right: Vec<Mount>,
    ) -> Result<types::Descriptor> {
        let mut sink = Sink::open(rooms, caller, &self.reference).await?;
        let (compression, scratch) = (self.compression, rooms.scratch.clone());
        let written = blocking(move || {
            let applied = ::diff::create(&left, &right, &mut sink, compression, &scratch);
            Ok((applied, sink))
        })
        .await;
        let (applied, sink) = written?;
        let applied = match applied {
            Ok(applied) => applied,
            Err(error) => {
                sink.abort().await;
                return Err(error);
            }
        };
        let compressed = self.compression != Compression::None;
        if compressed {
            self.labels.insert(UNCOMPRESSED.to_owned(), applied.diff_id.to_string());
        }
        let info = sink.commit(self.labels.clone()).await?;
        self.label(rooms, caller, &info, compressed).await?;
        Ok(types::Descriptor {
            media_type: self.media_type,
            digest: info.digest.to_string(),
            size: signed(info.size),
            ..Default::default()
        })
    }

    /// A blob that was there before may lack the label.
    async fn label(
        &self,
        rooms: &Rooms,
        caller: &Caller,
        info: &content::Info,
        compressed: bool,
    ) -> Result<()> {
        if !compressed || info.labels.contains_key(UNCOMPRESSED) {
            return Ok(());
        }
        let mask = [format!("labels.{UNCOMPRESSED}")];
        rooms.content.update(&caller.namespace, &info.digest, self.labels.clone(), &mask).await?;
        Ok(())
    }
}
