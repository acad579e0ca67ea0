//! `runtimed metadata check`: the store, and whether what its records name is there.

use std::path::Path;

use container::Containers;
use errors::{Error, Kind, Result};
use events::Bus;
use image::Names;
use metadata::{Salvage, Store};
use namespace::Namespaces;

/// What is wrong below `root`, a sentence each; none when all is well. Blobs are read whole if `deep`.
pub fn check(root: &Path, deep: bool) -> Result<Vec<String>> {
    if !super::exists(root) {
        return Err(Error::not_found(format!("there is no store in {}", super::store(root).display())));
    }
    match Store::open(&super::store(root)) {
        Ok(store) => references(root, &store, deep),
        Err(error) if [Kind::DataLoss, Kind::FailedPrecondition].contains(&error.kind()) => {
            let mut findings = vec![error.chain()];
            findings.push(match Salvage::open(&super::store(root), &super::copy(root)) {
                Ok(mut salvage) => {
                    let count = salvage.export(&mut std::io::sink())?;
                    format!("{count} records can be read, with the store's copy")
                }
                Err(error) => error.chain(),
            });
            Ok(findings)
        }
        Err(error) => Err(error),
    }
}

/// What records name that is not there.
pub(super) fn references(root: &Path, store: &Store, deep: bool) -> Result<Vec<String>> {
    let mut findings = content::check(root, store, deep)?;
    findings.extend(snapshot::check(root, store)?);
    let events = Bus::new();
    let names = Names::new(store.clone(), events.clone());
    let containers = Containers::new(store.clone(), events.clone());
    for info in Namespaces::new(store.clone(), events).list()? {
        let namespace = &info.name;
        let blobs = content::recorded(store, namespace)?;
        for image in names.list(namespace, &[])? {
            if !blobs.contains(&image.target.digest) {
                let (name, digest) = (&image.name, &image.target.digest);
                findings.push(format!(
                    "image {name:?} in namespace {namespace} is {digest}, which is not in the content store"
                ));
            }
        }
        for container in containers.list(namespace, &[])? {
            let key = &container.snapshot_key;
            if !key.is_empty() && !snapshot::is_recorded(store, namespace, &container.snapshotter, key)? {
                let (id, snapshotter) = (&container.id, &container.snapshotter);
                findings.push(format!(
                    "container {id} in namespace {namespace} has the root {key:?} of {snapshotter}, which is not there"
                ));
            }
        }
    }
    Ok(findings)
}
