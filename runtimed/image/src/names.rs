//! What names point to: the records of containerd's images service.

use std::collections::BTreeMap;
use std::time::SystemTime;

use errors::{Error, Result};
use events::Bus;
use filters::{Fields, Filters};
use ids::{Digest, Labels, Namespace, validate_labels};
use metadata::{Store, Table, Transaction};
use proto_containerd::events::{ImageCreate, ImageDelete, ImageUpdate};
use serde::{Deserialize, Serialize};

use crate::{Descriptor, Platform};

/// The records, by namespace and name.
const IMAGES: Table<Record> = Table::namespaced("images");

/// The longest name, in bytes: far beyond any reference, and well below what a record should weigh.
const MAX_NAME: usize = 4096;

/// A name and what it points to.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The name, mostly a full reference.
    pub name: String,
    /// Labels.
    pub labels: Labels,
    /// What it points to.
    pub target: Descriptor,
    /// When it was created; assigned here.
    pub created_at: SystemTime,
    /// When it was last changed; assigned here.
    pub updated_at: SystemTime,
}

/// The image names. Publishes /images/{create,update,delete}.
#[derive(Clone)]
pub struct Names {
    store: Store,
    events: Bus,
}

/// An [`Image`] as it is stored; every field always present, so that any encoding reads it back.
#[derive(Serialize, Deserialize)]
struct Record {
    labels: Labels,
    media_type: String,
    digest: Digest,
    size: i64,
    annotations: BTreeMap<String, String>,
    platform: Option<[String; 4]>,
    created_at: SystemTime,
    updated_at: SystemTime,
}

impl Names {
    /// The records in `store`.
    pub fn new(store: Store, events: Bus) -> Names {
        Names { store, events }
    }

    /// The record; `NotFound` "image \"NAME\": not found".
    pub fn get(&self, namespace: &Namespace, name: &str) -> Result<Image> {
        let record = self.store.read().get(&IMAGES, &[namespace.as_str(), name])?;
        record.map(|record| record.into_image(name)).ok_or_else(|| not_found(name))
    }

    /// The images that `filters` (fields name, target.digest, target.mediatype, labels, annotations) let through, in name order.
    pub fn list(&self, namespace: &Namespace, filters: &[String]) -> Result<Vec<Image>> {
        let filters = Filters::parse(filters)?;
        let records = self.store.read().scan(&IMAGES, &[namespace.as_str()])?;
        let images = records
            .into_iter()
            .filter_map(|(mut key, record)| key.pop().map(|name| record.into_image(&name)));
        Ok(images.filter(|image| filters.matches(image)).collect())
    }

    /// Creates a name; `AlreadyExists` when it is taken.
    pub async fn create(&self, namespace: &Namespace, image: Image) -> Result<Image> {
        self.create_at(namespace, image, SystemTime::now()).await
    }

    /// As [`Names::create`], with a time of the caller's choice (a source date epoch).
    pub async fn create_at(&self, namespace: &Namespace, image: Image, now: SystemTime) -> Result<Image> {
        validate(&image)?;
        let space = namespace.clone();
        let created = self
            .store
            .write(move |tx| {
                let key = [space.as_str(), image.name.as_str()];
                if tx.get(&IMAGES, &key)?.is_some() {
                    return Err(Error::already_exists(format!("image {:?}: already exists", image.name)));
                }
                let created = Image { created_at: now, updated_at: now, ..image };
                tx.put(&IMAGES, &[space.as_str(), created.name.as_str()], &Record::of(&created))?;
                Ok(created)
            })
            .await?;
        self.tell_create(namespace, &created);
        Ok(created)
    }

    /// Changes the fields that `mask` names (labels, labels.K, target, annotations), or all when it is empty.
    pub async fn update(&self, namespace: &Namespace, image: Image, mask: &[String]) -> Result<Image> {
        self.update_at(namespace, image, mask, SystemTime::now()).await
    }

    /// As [`Names::update`], with a time of the caller's choice (a source date epoch).
    pub async fn update_at(
        &self,
        namespace: &Namespace,
        image: Image,
        mask: &[String],
        now: SystemTime,
    ) -> Result<Image> {
        if image.name.is_empty() {
            return Err(Error::invalid("image name is required for update"));
        }
        let (space, mask) = (namespace.clone(), mask.to_vec());
        let updated = self
            .store
            .write(move |tx| {
                let key = [space.as_str(), image.name.as_str()];
                let current = tx.get(&IMAGES, &key)?.ok_or_else(|| not_found(&image.name))?;
                let mut updated = merged(current.into_image(&image.name), &image, &mask)?;
                validate(&updated)?;
                updated.updated_at = now;
                tx.put(&IMAGES, &key, &Record::of(&updated))?;
                Ok(updated)
            })
            .await?;
        self.tell_update(namespace, &updated);
        Ok(updated)
    }

    /// Creates the name, or points it elsewhere.
    pub async fn put(&self, namespace: &Namespace, image: Image) -> Result<Image> {
        validate(&image)?;
        let space = namespace.clone();
        let (image, fresh) = self
            .store
            .write(move |tx| {
                let key = [space.as_str(), image.name.as_str()];
                let now = SystemTime::now();
                let old = tx.get(&IMAGES, &key)?;
                let fresh = old.is_none();
                let created_at = old.map_or(now, |old| old.created_at);
                let image = Image { created_at, updated_at: now, ..image.clone() };
                tx.put(&IMAGES, &key, &Record::of(&image))?;
                Ok((image, fresh))
            })
            .await?;
        match fresh {
            true => self.tell_create(namespace, &image),
            false => self.tell_update(namespace, &image),
        }
        Ok(image)
    }

    /// Deletes the name, only if it points to `target` when one is given.
    pub async fn delete(&self, namespace: &Namespace, name: &str, target: Option<&Digest>) -> Result<()> {
        let (space, key, target) = (namespace.clone(), name.to_owned(), target.cloned());
        self.store
            .write(move |tx| {
                let path = [space.as_str(), key.as_str()];
                let current = tx.get(&IMAGES, &path)?.ok_or_else(|| not_found(&key))?;
                if let Some(target) = target
                    && target != current.digest
                {
                    let text =
                        format!("image {key:?} has target {}, not {target}: not found", current.digest);
                    return Err(Error::not_found(text));
                }
                tx.delete(&IMAGES, &path).map(drop)
            })
            .await?;
        self.reap(namespace, name);
        Ok(())
    }

    /// Deletes the record within `transaction`; [`Names::reap`] follows once that is written.
    pub fn forget(&self, transaction: &mut Transaction<'_>, namespace: &Namespace, name: &str) -> Result<()> {
        match transaction.delete(&IMAGES, &[namespace.as_str(), name])? {
            true => Ok(()),
            false => Err(not_found(name)),
        }
    }

    /// What is left to do when a record is gone: the deletion is told.
    pub fn reap(&self, namespace: &Namespace, name: &str) {
        self.events.publish(namespace, "/images/delete", &ImageDelete { name: name.to_owned() });
    }

    fn tell_create(&self, namespace: &Namespace, image: &Image) {
        let message = ImageCreate { name: image.name.clone(), labels: image.labels.clone() };
        self.events.publish(namespace, "/images/create", &message);
    }

    fn tell_update(&self, namespace: &Namespace, image: &Image) {
        let message = ImageUpdate { name: image.name.clone(), labels: image.labels.clone() };
        self.events.publish(namespace, "/images/update", &message);
    }
}

impl Record {
    fn of(image: &Image) -> Record {
        let target = image.target.clone();
        let platform = target.platform.map(|p| [p.os, p.architecture, p.variant, p.os_version]);
        Record {
            labels: image.labels.clone(),
            media_type: target.media_type,
            digest: target.digest,
            size: target.size,
            annotations: target.annotations,
            platform,
            created_at: image.created_at,
            updated_at: image.updated_at,
        }
    }

    fn into_image(self, name: &str) -> Image {
        let platform = self.platform.map(|[os, architecture, variant, os_version]| Platform {
            os,
            architecture,
            variant,
            os_version,
        });
        Image {
            name: name.to_owned(),
            labels: self.labels,
            target: Descriptor {
                media_type: self.media_type,
                digest: self.digest,
                size: self.size,
                annotations: self.annotations,
                platform,
            },
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

impl Fields for Image {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["name"] => Some(self.name.clone()),
            ["target", "digest"] => Some(self.target.digest.to_string()),
            ["target", "mediatype"] => Some(self.target.media_type.clone()),
            ["labels", key @ ..] => self.labels.get(&key.join(".")).cloned(),
            ["annotations", key @ ..] => self.target.annotations.get(&key.join(".")).cloned(),
            _ => None,
        }
    }
}

fn not_found(name: &str) -> Error {
    Error::not_found(format!("image {name:?}: not found"))
}

fn validate(image: &Image) -> Result<()> {
    if image.name.is_empty() {
        return Err(Error::invalid("image name must not be empty"));
    }
    if image.name.len() > MAX_NAME {
        return Err(Error::invalid(format!("image name must not be more than {MAX_NAME} bytes")));
    }
    validate_labels(&image.labels)?;
    if image.target.size <= 0 {
        return Err(Error::invalid(format!("image {:?}: Target.Size must be greater than zero", image.name)));
    }
    if image.target.media_type.is_empty() {
        return Err(Error::invalid(format!("image {:?}: Target.MediaType must be set", image.name)));
    }
    Ok(())
}

/// `current` with those fields of `wanted` that `mask` names.
fn merged(mut current: Image, wanted: &Image, mask: &[String]) -> Result<Image> {
    if mask.is_empty() {
        let labels = wanted.labels.iter().filter(|(_, value)| !value.is_empty());
        current.labels = labels.map(|(key, value)| (key.clone(), value.clone())).collect();
        current.target = wanted.target.clone();
        return Ok(current);
    }
    for path in mask {
        match path.split_once('.').unwrap_or((path, "")) {
            ("target", "") => current.target = wanted.target.clone(),
            ("labels", "") => current.labels = wanted.labels.clone(),
            ("labels", key) => set(&mut current.labels, key, wanted.labels.get(key)),
            ("annotations", "") => current.target.annotations = wanted.target.annotations.clone(),
            ("annotations", key) => {
                set(&mut current.target.annotations, key, wanted.target.annotations.get(key));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "cannot update {path:?} field on image {:?}",
                    wanted.name
                )));
            }
        }
    }
    current.labels.retain(|_, value| !value.is_empty());
    Ok(current)
}

/// An empty or absent value deletes.
fn set(map: &mut BTreeMap<String, String>, key: &str, value: Option<&String>) {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => map.insert(key.to_owned(), value.clone()),
        None => map.remove(key),
    };
}
