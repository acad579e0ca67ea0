//! From an archive that the client sends into the image store.

use errors::Result;
use image::{ImportOptions, Platform, pipe};
use proto_containerd::types::transfer::{ImageImportStream, ImageStore};

use super::Job;
use super::endpoint::unserved;
use super::store::{Platforms, naming, platforms, unpack_for};
use crate::streaming;

/// Chunks between the stream and the archive's reader.
const CHUNKS: usize = 16;

impl Job<'_> {
    /// Reads the archive and makes the names that the destination asks for.
    pub(super) async fn import(&self, source: ImageImportStream, destination: ImageStore) -> Result<()> {
        let options = self.options(&source, &destination)?;
        let stream = self.streams.take(&self.caller.namespace, &source.stream)?;
        self.reporter.event("Importing");
        let (writer, reader) = pipe(CHUNKS);
        let receiver = tokio::spawn(streaming::receive(stream, writer));
        let progress = self.reporter.sink(&destination.name);
        let imported = self.rooms.images.import(&self.caller.namespace, reader, &options, progress).await;
        // What follows an archive's end is not waited for.
        receiver.abort();
        for image in imported? {
            self.reporter.image("saved", &image.name, Some(&image.target));
        }
        self.reporter.event("Completed import");
        Ok(())
    }

    fn options(&self, source: &ImageImportStream, destination: &ImageStore) -> Result<ImportOptions> {
        let extra = destination.extra_references.iter().any(|reference| !reference.is_prefix);
        unserved(extra, "an import under extra names")?;
        let naming = naming(destination)?;
        let (platform, all_platforms) = match platforms(destination)? {
            Platforms::All => (None, true),
            Platforms::These(mut these) => {
                unserved(these.len() > 1, "an import of some platforms but not all")?;
                (these.pop(), false)
            }
        };
        let unpack = unpack_for(destination, platform.as_ref().unwrap_or(&Platform::host()));
        Ok(ImportOptions {
            names: naming.rule,
            digest_prefix: naming.digest_prefix,
            digest_only_unnamed: naming.digest_only_unnamed,
            index_name: Some(destination.name.clone()).filter(|name| !name.is_empty()),
            platform,
            all_platforms,
            compress: source.force_compress,
            labels: destination.labels.clone(),
            unpack,
            hold: Some(self.lease.hold()),
        })
    }
}
