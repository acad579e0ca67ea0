//! From a registry into the image store.

use errors::{Error, Kind, Result};
use ids::Reference;
use image::{Image, Platform, PullOptions};
use proto_containerd::types::transfer::{HttpDebug, ImageStore, OciRegistry, RegistryResolver};

use super::endpoint::unserved;
use super::store::{Platforms, names, platforms, unpack_for};
use super::{Job, auth};
use crate::streaming::Duplex;

/// One pull with what its attempts share.
struct Pull<'a> {
    job: &'a Job<'a>,
    reference: Reference,
    name: String,
    options: PullOptions,
    /// Where to ask for credentials, until they are known.
    auth: Option<Duplex>,
}

impl Job<'_> {
    /// Fetches what the destination asks for and names it. With `all_metadata` clients also want the manifests of other
    /// platforms, for a later push; pushes are not served, and nothing else needs those.
    pub(super) async fn pull(&self, source: OciRegistry, destination: ImageStore) -> Result<()> {
        let reference = Reference::parse(&source.reference)?;
        let resolver = source.resolver.unwrap_or_default();
        check(&resolver)?;
        // The digest is not known yet, so the first of the names must do without.
        let name = names(&destination, "").into_iter().find(|name| !name.ends_with('@'));
        let name = name.ok_or_else(|| Error::not_found("no image name found: not found"))?;
        let auth = match resolver.auth_stream.as_str() {
            "" => None,
            stream => Some(self.streams.take(&self.caller.namespace, stream)?),
        };
        let options = PullOptions {
            plain_http: resolver.default_scheme == "http",
            labels: destination.labels.clone(),
            hold: Some(self.lease.hold()),
            ..Default::default()
        };
        let registry = format!("OCI Registry ({})", source.reference);
        self.reporter.event(format!("Resolving from {registry}"));
        let mut pull = Pull { job: self, reference, name, options, auth };
        self.reporter.event(format!("Pulling from {registry}"));
        self.reporter.image("fetching image content", &pull.name, None);
        let image = pull.platforms(&destination).await?;
        self.save(image, &destination).await?;
        self.reporter.event(format!("Completed pull from {registry}"));
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
            Err(error) if matches!(error.kind(), Kind::Unauthenticated | Kind::PermissionDenied) => error,
            other => return other,
        };
        let Some(mut stream) = self.auth.take() else { return Err(refused) };
        self.options.credentials = auth::ask(&mut stream, &self.reference).await?;
        if self.options.credentials.is_none() {
            return Err(refused);
        }
        self.once().await
    }

    async fn once(&self) -> Result<Image> {
        let progress = self.job.reporter.sink(&self.name);
        let namespace = &self.job.caller.namespace;
        self.job.rooms.images.pull(namespace, &self.reference, &self.name, &self.options, progress).await
    }
}

fn check(resolver: &RegistryResolver) -> Result<()> {
    unserved(!resolver.headers.is_empty(), "a pull with headers of the client's own")?;
    unserved(!resolver.host_dir.is_empty(), "a hosts folder of the client's own")?;
    unserved(resolver.http_debug() != HttpDebug::Disabled, "a trace of the registry's answers")?;
    match resolver.default_scheme.as_str() {
        "" | "http" | "https" => Ok(()),
        other => Err(Error::invalid(format!("default scheme {other:?} is neither http nor https"))),
    }
}
