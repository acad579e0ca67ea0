//! Folders without records go; records without folders get a new one, or are told.

use std::collections::BTreeSet;
use std::path::PathBuf;

use errors::{Context, Result};

use crate::backend::Backend;
use crate::record::{self, Record, SNAPSHOTS};
use crate::{Kind, tree};

/// All records of one snapshotter, over all namespaces, with namespace and key.
pub(crate) fn records(store: &metadata::Store, snapshotter: &str) -> Result<Vec<(String, String, Record)>> {
    let all = store.read().scan(&SNAPSHOTS, &[])?;
    Ok(all
        .into_iter()
        .filter_map(|(key, record)| match <[String; 3]>::try_from(key) {
            Ok([namespace, name, key]) if name == snapshotter => Some((namespace, key, record)),
            _ => None,
        })
        .collect())
}

/// The names in the backend's folder.
pub(crate) fn folders(backend: &dyn Backend) -> Result<BTreeSet<String>> {
    let folder = backend.folder();
    let entries = std::fs::read_dir(folder).context(|| format!("read folder {}", folder.display()))?;
    entries
        .map(|entry| {
            let entry = entry.context(|| format!("read folder {}", folder.display()))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

/// The folders among `found` that neither a record nor `busy` names.
pub(crate) fn leftovers(
    backend: &dyn Backend,
    found: BTreeSet<String>,
    busy: &BTreeSet<u64>,
    records: &[(String, String, Record)],
) -> Vec<PathBuf> {
    let mut used: BTreeSet<String> = records.iter().map(|(_, _, record)| record.id.to_string()).collect();
    for id in busy {
        used.insert(id.to_string());
        used.insert(format!("new-{id}"));
    }
    let ours = |name: &str| name.strip_prefix("new-").unwrap_or(name).parse::<u64>().is_ok();
    found
        .into_iter()
        .filter(|name| ours(name) && !used.contains(name))
        .map(|name| backend.folder().join(name))
        .collect()
}

/// A folder may be missing after a power cut, since making one is not synced. An active snapshot then had nothing that
/// was ever synced either, and is made anew, whatever lies there of the first time; a committed one was synced, so its loss
/// is damage. Says which were made anew.
pub(crate) fn restore(
    backend: &dyn Backend,
    store: &metadata::Store,
    records: &[(String, String, Record)],
) -> Result<BTreeSet<u64>> {
    let mut lost = BTreeSet::new();
    for (namespace, key, record) in records {
        if backend.tree(record.id).exists() {
            continue;
        }
        if record.kind == Kind::Committed {
            tracing::error!(
                namespace,
                key,
                "the folder of a committed snapshot is missing; remove and unpack again"
            );
            continue;
        }
        tracing::warn!(namespace, key, "the folder of a snapshot was lost before it was synced; made anew");
        let parents = record::parents(&store.read(), namespace, backend.name(), &record.parent)?;
        for part in [record.id.to_string(), format!("new-{}", record.id)] {
            tree::remove(&backend.folder().join(part))?;
        }
        backend.create(record.id, record.kind, &parents)?;
        lost.insert(record.id);
    }
    Ok(lost)
}
