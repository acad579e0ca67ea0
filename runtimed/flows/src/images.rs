//! What people do with images: pull, load, save, tag, list, remove.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use errors::{Error, Result};
use ids::{Digest, Namespace, Reference};
use image::{
    Descriptor, Export, ExportOptions, Image, ImportOptions, NameRule, Platform, ProgressSink, PullOptions,
};
use tokio::io::AsyncWrite;

use crate::Flows;
use crate::config::ContainerConfig;

/// A line of `rctl images`.
#[derive(Debug, Clone)]
pub struct ImageLine {
    /// The name.
    pub image: Image,
    /// The digest of its config, or of its target when this machine's platform is not here.
    pub id: Digest,
    /// When the image was made, as its config says.
    pub created: String,
    /// Bytes of its unpacked layers, or of its packed ones when it is not unpacked.
    pub size: i64,
    /// The labels in its config.
    pub labels: BTreeMap<String, String>,
}

/// What a removal did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Names that are gone.
    pub untagged: Vec<String>,
    /// Ids of images that nothing names any more.
    pub deleted: Vec<String>,
}

impl Flows {
    /// Pulls `reference` under its full name and unpacks it for the default snapshotter. Says whether the name pointed there before.
    pub async fn pull(
        &self,
        namespace: &Namespace,
        reference: &Reference,
        mut options: PullOptions,
        progress: ProgressSink,
    ) -> Result<(Image, bool)> {
        let (flows, namespace, reference) = (self.clone(), namespace.clone(), reference.clone());
        let name = reference.to_string();
        let before = flows.rooms().names.get(&namespace, &name).ok().map(|image| image.target.digest);
        let mut step = marks::step("flows.pull.lease")?;
        let lease = flows.hold(&namespace).await?;
        options.hold = Some(lease.hold.clone());
        if options.unpack.is_none() {
            options.unpack = Some(flows.settings().snapshotter.clone());
        }
        step.next("flows.pull.image")?;
        let pulled = flows.rooms().images.pull(&namespace, &reference, &name, &options, progress).await;
        marks::passed("flows.pull.named");
        lease.end().await;
        drop(step);
        marks::passed("flows.pull.done");
        if pulled.is_err() {
            // What came before the failure is nobody's.
            flows.rooms().collector.schedule();
        }
        let image = pulled?;
        let same = before.as_ref() == Some(&image.target.digest);
        if !same && before.is_some() {
            flows.rooms().collector.schedule();
        }
        Ok((image, same))
    }

    /// Takes in an archive, and unpacks it for the default snapshotter.
    pub async fn load(
        &self,
        namespace: &Namespace,
        reader: impl std::io::Read + Send + 'static,
        platform: Option<Platform>,
        progress: ProgressSink,
    ) -> Result<Vec<Image>> {
        let mut step = marks::step("flows.load.lease")?;
        let lease = self.hold(namespace).await?;
        let options = ImportOptions {
            names: NameRule::Familiar,
            // One without a name can be found by its id, and is not swept away at once.
            digest_prefix: Some("docker.io/library/import".to_owned()),
            digest_only_unnamed: true,
            platform,
            unpack: Some(self.settings().snapshotter.clone()),
            hold: Some(lease.hold.clone()),
            ..ImportOptions::default()
        };
        step.next("flows.load.image")?;
        let loaded = self.rooms().images.import(namespace, reader, &options, progress).await;
        marks::passed("flows.load.named");
        lease.end().await;
        marks::passed("flows.load.done");
        if loaded.is_err() {
            self.rooms().collector.schedule();
        }
        loaded
    }

    /// Writes images, by name or id, as one archive.
    pub async fn save(
        &self,
        namespace: &Namespace,
        images: &[String],
        platform: Option<Platform>,
        writer: impl AsyncWrite + Send + Unpin,
    ) -> Result<()> {
        let mut step = marks::step("flows.save.find")?;
        let mut exports: Vec<Export> = Vec::new();
        for text in images {
            let found = self.find_image(namespace, text).await?;
            let Some(first) = found.names.first() else { continue };
            let names = if found.by_id { Vec::new() } else { vec![first.name.clone()] };
            match exports.iter_mut().find(|export| export.target.digest == first.target.digest) {
                Some(export) => export.names.extend(names),
                None => exports.push(Export { names, target: first.target.clone() }),
            }
        }
        step.next("flows.save.write")?;
        let options = ExportOptions { platform, ..ExportOptions::default() };
        self.rooms().images.export(namespace, &exports, &options, writer, image::silent()).await
    }

    /// Gives an image another name; a name that is taken is moved, as docker does.
    pub async fn tag(&self, namespace: &Namespace, source: &str, target: &str) -> Result<()> {
        let target = Reference::parse(target)?;
        if target.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let mut step = marks::step("flows.tag.find")?;
        let found = self.find_image(namespace, source).await?;
        let image =
            found.names.first().ok_or_else(|| Error::not_found(format!("No such image: {source}")))?;
        let named = Image {
            name: target.to_string(),
            labels: image.labels.clone(),
            target: image.target.clone(),
            created_at: SystemTime::now(),
            updated_at: SystemTime::now(),
        };
        step.next("flows.tag.name")?;
        self.rooms().names.put(namespace, named).await?;
        marks::passed("flows.tag.done");
        Ok(())
    }

    /// All images, newest first.
    pub async fn list_images(&self, namespace: &Namespace) -> Result<Vec<ImageLine>> {
        let mut lines = Vec::new();
        for image in self.rooms().names.list(namespace, &[])? {
            lines.push(self.image_line(namespace, image).await);
        }
        lines.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.image.name.cmp(&b.image.name)));
        Ok(lines)
    }

    /// An image that is not here for this machine still has its name, target and packed size.
    async fn image_line(&self, namespace: &Namespace, image: Image) -> ImageLine {
        let config = match self.rooms().images.config(namespace, &image.target, None).await {
            Ok(config) => config,
            Err(_) => {
                let (id, size) = (image.target.digest.clone(), image.target.size);
                return ImageLine { image, id, created: String::new(), size, labels: BTreeMap::new() };
            }
        };
        let parsed: serde_json::Value = serde_json::from_slice(&config.raw).unwrap_or_default();
        let size = match self.unpacked_size(namespace, config.chain_id.as_ref()).await {
            Some(size) => size,
            None => config.layers.iter().map(|layer| layer.size).sum(),
        };
        ImageLine {
            image,
            id: config.digest,
            created: parsed["created"].as_str().unwrap_or_default().to_owned(),
            size,
            labels: serde_json::from_value(parsed["config"]["Labels"].clone()).unwrap_or_default(),
        }
    }

    async fn unpacked_size(&self, namespace: &Namespace, chain: Option<&Digest>) -> Option<i64> {
        let snapshotter = self.rooms().snapshotters.get(&self.settings().snapshotter).ok()?;
        let mut size = 0;
        let mut key = chain?.to_string();
        while !key.is_empty() {
            size += snapshotter.usage(namespace, &key).await.ok()?.size;
            key = snapshotter.stat(namespace, &key).ok()?.parent;
        }
        Some(size)
    }

    /// Removes a name, or all names of an id, and waits until what only they kept is gone too.
    pub async fn remove_image(&self, namespace: &Namespace, text: &str, force: bool) -> Result<Removed> {
        let (flows, namespace, text) = (self.clone(), namespace.clone(), text.to_owned());
        self.to_the_end(async move { flows.remove_image_now(&namespace, &text, force).await }).await
    }

    async fn remove_image_now(&self, namespace: &Namespace, text: &str, force: bool) -> Result<Removed> {
        let mut step = marks::step("flows.rmi.find")?;
        let found = self.find_image(namespace, text).await?;
        let all = self.rooms().names.list(namespace, &[])?;
        let going: BTreeSet<&str> = found.names.iter().map(|image| image.name.as_str()).collect();
        if found.by_id && going.len() > 1 && !force {
            return Err(Error::precondition(format!(
                "conflict: unable to delete {text} (must be forced) - image is referenced in multiple repositories"
            )));
        }
        let mut removed = Removed::default();
        for image in &found.names {
            let last = !all.iter().any(|other| {
                other.target.digest == image.target.digest && !going.contains(other.name.as_str())
            });
            let id = self.image_id(namespace, &image.target).await;
            if last {
                self.refuse_used(namespace, image, &id, force).await?;
            }
            step.next("flows.rmi.name")?;
            self.rooms().names.delete(namespace, &image.name, None).await?;
            // Should the collection below not be come to.
            self.rooms().collector.schedule();
            removed.untagged.push(image.name.clone());
            let gone = id.to_string();
            if last && !removed.deleted.contains(&gone) {
                removed.deleted.push(gone);
            }
        }
        step.next("flows.rmi.collect")?;
        self.rooms().collector.collect().await?;
        marks::passed("flows.rmi.done");
        Ok(removed)
    }

    /// docker's conflicts: a running container's image stays, a stopped one's needs force.
    async fn refuse_used(
        &self,
        namespace: &Namespace,
        image: &Image,
        id: &Digest,
        force: bool,
    ) -> Result<()> {
        for line in self.list(namespace).await? {
            let uses = match &line.config {
                Some(config) => config.image_id == id.to_string() && line.container.image == image.name,
                None => line.container.image == image.name,
            };
            if !uses {
                continue;
            }
            let short: String = line.container.id.as_str().chars().take(12).collect();
            let name = Reference::parse(&image.name).map_or(image.name.clone(), |name| name.familiar_name());
            if line.is_running() {
                return Err(Error::precondition(format!(
                    "conflict: unable to remove repository reference \"{name}\" (cannot be forced) - container {short} is using its referenced image {}",
                    id.hex().chars().take(12).collect::<String>()
                )));
            }
            if !force {
                return Err(Error::precondition(format!(
                    "conflict: unable to remove repository reference \"{name}\" (must force) - container {short} is using its referenced image {}",
                    id.hex().chars().take(12).collect::<String>()
                )));
            }
        }
        Ok(())
    }

    /// docker's image id: the config's digest, or the target's when the config is not here.
    pub(crate) async fn image_id(&self, namespace: &Namespace, target: &Descriptor) -> Digest {
        match self.rooms().images.config(namespace, target, None).await {
            Ok(config) => config.digest,
            Err(_) => target.digest.clone(),
        }
    }

    /// How many containers were made from an image by name.
    pub fn uses_of(&self, namespace: &Namespace, name: &str) -> Result<usize> {
        let containers = self.rooms().containers.list(namespace, &[])?;
        let by_name = |container: &&container::Container| match ContainerConfig::of(container) {
            Ok(Some(_)) | Ok(None) => container.image == name,
            Err(_) => false,
        };
        Ok(containers.iter().filter(by_name).count())
    }
}
