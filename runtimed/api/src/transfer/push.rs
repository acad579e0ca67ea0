//! From the image store to a registry.

use errors::Result;
use image::{Image, PushOptions};
use proto_containerd::types::transfer::{ImageStore, OciRegistry};

use super::Job;
use super::endpoint::unserved;
use super::registry::Remote;
use super::store::{Platforms, platforms, source_name};

impl Job<'_> {
    /// Uploads what the image refers to, or one platform's part of it.
    pub(super) async fn push(&self, source: ImageStore, destination: OciRegistry) -> Result<()> {
        let platform = match platforms(&source)? {
            Platforms::All => None,
            Platforms::These(mut these) => {
                unserved(these.len() > 1, "a push of some platforms but not all")?;
                these.pop()
            }
        };
        let image = self.rooms.names.get(&self.caller.namespace, source_name(&source)?)?;
        let mut remote = Remote::new(self, destination)?;
        let shown = remote.shown.clone();
        self.reporter.event(format!("Pushing to {shown}"));
        self.reporter.image("pushing content", &image.name, Some(&image.target));
        let mut options = PushOptions {
            platform,
            plain_http: remote.plain_http,
            hosts_directory: remote.hosts_directory.clone(),
            headers: remote.headers.clone(),
            ..Default::default()
        };
        if let Err(refused) = self.pushed(&image, &remote, &options).await {
            options.credentials = Some(remote.credentials_after(refused).await?);
            self.pushed(&image, &remote, &options).await?;
        }
        self.reporter.image("pushed content", &image.name, Some(&image.target));
        self.reporter.event(format!("Completed push to {shown}"));
        Ok(())
    }

    async fn pushed(&self, image: &Image, remote: &Remote, options: &PushOptions) -> Result<()> {
        let progress = self.reporter.sink(&image.name);
        let room = &self.rooms.images;
        room.push(&self.caller.namespace, &image.target, &remote.reference, options, progress).await
    }
}
