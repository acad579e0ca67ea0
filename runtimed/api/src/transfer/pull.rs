//! From a registry into the image store.

use errors::{Error, Result};
use image::{Image, Platform, PullOptions};
use proto_containerd::types::transfer::{ImageStore, OciRegistry};

use super::Job;
use super::registry::Remote;
use super::store::{Platforms, names, platforms, unpack_for};

/// One pull; its options change from platform to platform.
struct Pull<'a> {
    job: &'a Job<'a>,
    remote: Remote,
    name: String,
    options: PullOptions,
}

impl Job<'_> {
    /// Fetches what the destination asks for and names it. With `all_metadata` clients also want the manifests of platforms
    /// that they do not want the layers of; nothing here needs those.
    pub(super) async fn pull(&self, source: OciRegistry, destination: ImageStore) -> Result<()> {
        // The digest is not known yet, so the first of the names must do without.
        let name = names(&destination, "").into_iter().find(|name| !name.ends_with('@'));
        let name = name.ok_or_else(|| Error::not_found("no image name found: not found"))?;
        let remote = Remote::new(self, source)?;
        let options = PullOptions {
            plain_http: remote.plain_http,
            hosts_directory: remote.hosts_directory.clone(),
            headers: remote.headers.clone(),
            labels: destination.labels.clone(),
            hold: Some(self.lease.hold()),
            ..Default::default()
        };
        let shown = remote.shown.clone();
        self.reporter.event(format!("Resolving from {shown}"));
        let mut pull = Pull { job: self, remote, name, options };
        self.reporter.event(format!("Pulling from {shown}"));
        self.reporter.image("fetching image content", &pull.name, None);
        let image = pull.platforms(&destination).await?;
        self.save(image, &destination).await?;
        self.reporter.event(format!("Completed pull from {shown}"));
        Ok(())
    }

    /// Makes the other names.
    async fn save(&self, image: Image, destination: &ImageStore) -> Result<()> {
        for name in names(destination, &image.target.digest.to_string()) {
            if name != image.name {
                let named = Image { name: name.clone(), labels: destination.labels.clone(), ..image.clone() };
                self.rooms.names.put(&self.caller.namespace, named).await?;
            }
            self.reporter.image("saved", &name, Some(&image.target));
        }
        Ok(())
    }
}

impl Pull<'_> {
    /// Pulls for each platform; what they share is fetched once.
    async fn platforms(&mut self, destination: &ImageStore) -> Result<Image> {
        let these = match platforms(destination)? {
            Platforms::These(these) => these,
            Platforms::All => {
                self.options.all_platforms = true;
                self.options.unpack = unpack_for(destination, &Platform::host());
                return self.attempt().await;
            }
        };
        let mut image = None;
        for platform in these {
            self.options.unpack = unpack_for(destination, &platform);
            self.options.platform = Some(platform);
            image = Some(self.attempt().await?);
        }
        image.ok_or_else(|| Error::internal("a pull for no platform"))
    }

    /// Pulls, and once more with credentials when the registry wants some and the client has them.
    async fn attempt(&mut self) -> Result<Image> {
        let refused = match self.once().await {
            Err(refused) => refused,
            image => return image,
        };
        self.options.credentials = Some(self.remote.credentials_after(refused).await?);
        self.once().await
    }

    async fn once(&self) -> Result<Image> {
        let Pull { job, remote, name, options } = self;
        let progress = job.reporter.sink(name);
        job.rooms.images.pull(&job.caller.namespace, &remote.reference, name, options, progress).await
    }
}
