//! From the image store into an archive that the client receives.

use errors::{Error, Result};
use image::{Export, ExportOptions};
use proto_containerd::types::transfer::{ImageExportStream, ImageStore};
use tokio::io::AsyncWriteExt;

use super::Job;
use super::endpoint::unserved;
use crate::convert::platform_from_wire;
use crate::streaming;

/// Bytes between the archive and the stream.
const BUFFER: usize = 256 << 10;

impl Job<'_> {
    /// Writes the images that the source names.
    pub(super) async fn export(&self, source: ImageStore, destination: ImageExportStream) -> Result<()> {
        unserved(destination.skip_non_distributable, "leaving out layers that are not for distribution")?;
        let options = options(&destination)?;
        let stream = self.streams.take(&self.caller.namespace, &destination.stream)?;
        self.reporter.event("Exporting");
        let images = self.named(&source)?;
        let (reader, mut writer) = tokio::io::duplex(BUFFER);
        let archive = async {
            let progress = self.reporter.sink(&source.name);
            let room = &self.rooms.images;
            room.export(&self.caller.namespace, &images, &options, &mut writer, progress).await?;
            // The end of the archive is the end of the stream.
            let ended = writer.shutdown().await;
            drop(writer);
            ended.map_err(|error| Error::with_source(errors::Kind::Internal, "end an archive", error))
        };
        tokio::try_join!(archive, streaming::send(stream, reader))?;
        self.reporter.event("Completed export");
        Ok(())
    }

    fn named(&self, source: &ImageStore) -> Result<Vec<Export>> {
        unserved(source.extra_references.iter().any(|reference| reference.is_prefix), "an export by prefix")?;
        let own = Some(&source.name).filter(|name| !name.is_empty());
        let names: Vec<_> =
            own.into_iter().chain(source.extra_references.iter().map(|found| &found.name)).collect();
        if names.is_empty() {
            return Err(Error::invalid("an export needs the name of an image"));
        }
        let export = |name: &String| {
            let image = self.rooms.names.get(&self.caller.namespace, name)?;
            Ok(Export { names: vec![image.name], target: image.target })
        };
        names.into_iter().map(export).collect()
    }
}

fn options(destination: &ImageExportStream) -> Result<ExportOptions> {
    let mut platforms = destination.platforms.iter().cloned().map(platform_from_wire);
    let platform = platforms.next();
    unserved(
        platforms.next().is_some() && !destination.all_platforms,
        "an export of some platforms but not all",
    )?;
    Ok(ExportOptions {
        platform,
        all_platforms: destination.all_platforms,
        skip_docker_manifest: destination.skip_compatibility_manifest,
    })
}
