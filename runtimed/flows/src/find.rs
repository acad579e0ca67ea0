//! From what a person types to the record it means.

use container::Container;
use errors::{Error, Result};
use ids::{ContainerId, Digest, Namespace, Reference};
use image::Image;

use crate::{Flows, tables};

/// An image that was found, and by which of its names.
#[derive(Debug, Clone)]
pub struct FoundImage {
    /// The names that point to the same target; more than one when it was found by id.
    pub names: Vec<Image>,
    /// It was found by its id, not by a name.
    pub by_id: bool,
}

impl Flows {
    /// The container that `text` names: a name, an id, or the beginning of exactly one id.
    pub fn find(&self, namespace: &Namespace, text: &str) -> Result<Container> {
        let rooms = self.rooms();
        let bare = text.strip_prefix('/').unwrap_or(text);
        if let Ok(id) = ContainerId::parse(bare) {
            match rooms.containers.get(namespace, &id) {
                Err(error) if error.is_not_found() => {}
                found => return found,
            }
            if let Some(owner) = tables::id_of_name(&rooms.store, namespace, bare)? {
                match rooms.containers.get(namespace, &ContainerId::parse(&owner)?) {
                    Err(error) if error.is_not_found() => {}
                    found => return found,
                }
            }
        }
        self.find_by_prefix(namespace, bare)
    }

    fn find_by_prefix(&self, namespace: &Namespace, text: &str) -> Result<Container> {
        let none = || Error::not_found(format!("No such container: {}", shown(text)));
        if text.is_empty() {
            return Err(Error::invalid("a container's name or id must not be empty"));
        }
        let mut matching = self
            .rooms()
            .containers
            .list(namespace, &[])?
            .into_iter()
            .filter(|container| container.id.as_str().starts_with(text));
        let first = matching.next().ok_or_else(none)?;
        match matching.next() {
            None => Ok(first),
            Some(_) => {
                Err(Error::invalid(format!("multiple IDs found with provided prefix: {}", shown(text))))
            }
        }
    }

    /// The image that `text` names: a reference, a record's exact name, or (the beginning of) an id.
    pub async fn find_image(&self, namespace: &Namespace, text: &str) -> Result<FoundImage> {
        let names = &self.rooms().names;
        let reference = Reference::parse(text);
        let full = reference.as_ref().map(ToString::to_string).ok();
        for name in full.as_deref().into_iter().chain([text]) {
            match names.get(namespace, name) {
                Ok(image) => return Ok(FoundImage { names: vec![image], by_id: false }),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let found = self.images_by_id(namespace, text).await?;
        if !found.is_empty() {
            return Ok(FoundImage { names: found, by_id: true });
        }
        match reference {
            Err(error) if !is_id(text) => Err(error),
            _ => Err(Error::not_found(format!("No such image: {}", full.as_deref().unwrap_or(text)))),
        }
    }

    /// All names whose target, or whose config, has an id that begins with `text`; several ids are an error.
    async fn images_by_id(&self, namespace: &Namespace, text: &str) -> Result<Vec<Image>> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if !is_id(text) {
            return Ok(Vec::new());
        }
        let mut found: Vec<Image> = Vec::new();
        let mut ids: Vec<Digest> = Vec::new();
        for image in self.rooms().names.list(namespace, &[])? {
            let id = match self.rooms().images.config(namespace, &image.target, None).await {
                Ok(config) => config.digest,
                Err(_) => image.target.digest.clone(),
            };
            if id.hex().starts_with(hex) || image.target.digest.hex().starts_with(hex) {
                if !ids.contains(&id) {
                    ids.push(id);
                }
                found.push(image);
            }
        }
        if ids.len() > 1 {
            return Err(Error::invalid(format!(
                "image ID {text} is ambiguous: it matches {} images",
                ids.len()
            )));
        }
        Ok(found)
    }
}

fn is_id(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    !hex.is_empty()
        && hex.len() <= 64
        && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}
