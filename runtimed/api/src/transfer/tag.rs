//! From one name to another within the image store.

use errors::{Error, Result};
use image::Image;
use proto_containerd::types::transfer::ImageStore;

use super::Job;
use super::store::{names, source_name};

impl Job<'_> {
    /// Points the destination's names to what the source's points to.
    pub(super) async fn tag(&self, source: ImageStore, destination: ImageStore) -> Result<()> {
        let image = self.rooms.names.get(&self.caller.namespace, source_name(&source)?)?;
        let names = names(&destination, &image.target.digest.to_string());
        if names.is_empty() {
            return Err(Error::not_found("no image name found: not found"));
        }
        for name in names {
            let named = Image { name, labels: destination.labels.clone(), ..image.clone() };
            self.rooms.names.put(&self.caller.namespace, named).await?;
        }
        Ok(())
    }
}
