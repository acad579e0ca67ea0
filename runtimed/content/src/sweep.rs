//! What an earlier life left: files without a record go, records without a whole file are told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use errors::{Context, Result};
use ids::Digest;

use crate::layout::{ALGORITHMS, Layout};
use crate::record::BLOBS;
use crate::{blob, ingest};

/// Runs before anyone can write. Blobs lie under their final name just before their record is durable; one that never
/// got it is not visible to anybody, and goes.
pub(crate) fn sweep(layout: &Layout, store: &metadata::Store) -> Result<()> {
    let _step = marks::step("content.open.sweep")?;
    let mut sizes: BTreeMap<String, u64> = BTreeMap::new();
    for (key, record) in store.read().scan(&BLOBS, &[])? {
        if let [_, digest] = key.as_slice() {
            sizes.insert(digest.clone(), record.size);
        }
    }
    remove_unrecorded(layout, &sizes)?;
    report_damage(layout, &sizes);
    remove_torn_ingests(layout)
}

fn remove_unrecorded(layout: &Layout, recorded: &BTreeMap<String, u64>) -> Result<()> {
    for algorithm in ALGORITHMS {
        let folder = layout.blobs(algorithm);
        for entry in fs::read_dir(&folder).context(|| format!("read folder {}", folder.display()))? {
            let entry = entry.context(|| format!("read folder {}", folder.display()))?;
            let name = format!("{}:{}", algorithm.as_str(), entry.file_name().to_string_lossy());
            // What is no digest was put there by somebody else, and is his to remove.
            if Digest::parse(&name).is_err() || recorded.contains_key(&name) {
                continue;
            }
            let path = entry.path();
            fs::remove_file(&path).context(|| format!("remove {}", path.display()))?;
            tracing::info!(digest = name, "removed a blob that was never recorded");
        }
    }
    Ok(())
}

fn report_damage(layout: &Layout, recorded: &BTreeMap<String, u64>) {
    let damaged: BTreeSet<&str> = recorded
        .iter()
        .filter(|(name, size)| {
            Digest::parse(name).is_ok_and(|digest| !blob::is_whole(layout, &digest, **size))
        })
        .map(|(name, _)| name.as_str())
        .collect();
    for digest in damaged {
        tracing::error!(digest, "the file of a recorded blob is missing or short; pull its image again");
    }
}

/// An ingest without a readable status can be neither resumed nor listed.
fn remove_torn_ingests(layout: &Layout) -> Result<()> {
    let folder = layout.ingests();
    for entry in fs::read_dir(&folder).context(|| format!("read folder {}", folder.display()))? {
        let path = entry.context(|| format!("read folder {}", folder.display()))?.path();
        if let Err(error) = ingest::read_status(&path) {
            tracing::info!(path = %path.display(), error = error.chain(), "removed a torn ingest");
            ingest::remove(&path)?;
        }
    }
    Ok(())
}
