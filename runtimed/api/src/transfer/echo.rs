//! From a stream of the client's back to the client, byte for byte: how clients try their streams.

use errors::Result;
use proto_containerd::types::transfer::{ImageExportStream, ImageImportStream};

use super::Job;
use crate::streaming;

impl Job<'_> {
    /// Hands on what comes. Nothing is an archive here, so what the ends say of one does not count, as with containerd.
    pub(super) async fn echo(&self, source: ImageImportStream, destination: ImageExportStream) -> Result<()> {
        let from = self.streams.take(&self.caller.namespace, &source.stream)?;
        let to = self.streams.take(&self.caller.namespace, &destination.stream)?;
        streaming::relay(from, to).await
    }
}
