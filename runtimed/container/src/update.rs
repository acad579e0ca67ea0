//! A changed record: the fields that a mask names.

use std::time::SystemTime;

use errors::{Context, Error, Result};
use ids::Namespace;
use proto_containerd::events::ContainerUpdate;

use crate::container::Container;
use crate::containers::{Containers, not_found};
use crate::record::{Record, TABLE};
use crate::validate::validate;

/// What an update without a mask replaces.
const ALL: [&str; 5] = ["labels", "spec", "extensions", "image", "snapshotkey"];

impl Containers {
    /// Changes the fields that `mask` names (labels, labels.K, spec, extensions, extensions.K, image, snapshotkey), or
    /// all that may change when it is empty; then a different snapshotter or runtime is an error, as these are
    /// immutable. A label set to nothing is deleted.
    pub async fn update(
        &self,
        namespace: &Namespace,
        container: Container,
        mask: &[String],
    ) -> Result<Container> {
        let (owner, mask) = (namespace.clone(), mask.to_vec());
        let updated = self
            .store
            .write(move |transaction| {
                let id = container.id.clone();
                let key = [owner.as_str(), id.as_str()];
                let stored = transaction.get(&TABLE, &key)?.ok_or_else(|| not_found(&owner, &id))?;
                let updated = apply(stored.into(), container, &mask)?;
                transaction.put(&TABLE, &key, &Record::from(updated.clone()))?;
                Ok(updated)
            })
            .await?;

        let event = ContainerUpdate {
            id: updated.id.to_string(),
            image: updated.image.clone(),
            labels: updated.labels.clone(),
            snapshot_key: updated.snapshot_key.clone(),
        };
        self.events.publish(namespace, "/containers/update", &event);
        self.written(&updated);
        Ok(updated)
    }
}

/// The stored record with `wanted`'s values in the masked fields.
fn apply(mut stored: Container, wanted: Container, mask: &[String]) -> Result<Container> {
    if mask.is_empty() {
        let immutable =
            |field| Err(Error::invalid(format!("container.{field} field is immutable: invalid argument")));
        if stored.snapshotter != wanted.snapshotter {
            return immutable("Snapshotter");
        }
        if stored.runtime != wanted.runtime {
            return immutable("Runtime.Name");
        }
        for path in ALL {
            set(&mut stored, &wanted, path)?;
        }
    }
    for path in mask {
        set(&mut stored, &wanted, path)?;
    }
    validate(&stored).context(|| "update failed validation")?;
    stored.labels.retain(|_, value| !value.is_empty());
    stored.updated_at = SystemTime::now();
    Ok(stored)
}

fn set(stored: &mut Container, wanted: &Container, path: &str) -> Result<()> {
    if let Some(key) = path.strip_prefix("labels.") {
        // An absent label is one without a value: it goes.
        let value = wanted.labels.get(key).cloned().unwrap_or_default();
        stored.labels.insert(key.to_owned(), value);
        return Ok(());
    }
    if let Some(name) = path.strip_prefix("extensions.") {
        match wanted.extensions.get(name) {
            Some(extension) => stored.extensions.insert(name.to_owned(), extension.clone()),
            None => stored.extensions.remove(name),
        };
        return Ok(());
    }
    match path {
        "labels" => stored.labels = wanted.labels.clone(),
        "spec" => stored.spec = wanted.spec.clone(),
        "extensions" => stored.extensions = wanted.extensions.clone(),
        "image" => stored.image = wanted.image.clone(),
        "snapshotkey" => stored.snapshot_key = wanted.snapshot_key.clone(),
        _ => {
            let id = stored.id.as_str();
            return Err(Error::invalid(format!("cannot update {path:?} field on {id:?}: invalid argument")));
        }
    }
    Ok(())
}
