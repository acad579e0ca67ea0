//! What an earlier life left: files without a record go, files that are not as their record says are set aside, and ingests of before
//! a reboot begin anew.

use std::collections::BTreeMap;
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
    set_damage_aside(layout, &sizes)?;
    if is_another_boot(layout)? {
        remove_all_ingests(layout)?;
    }
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

fn set_damage_aside(layout: &Layout, recorded: &BTreeMap<String, u64>) -> Result<()> {
    for (name, size) in recorded {
        let Ok(digest) = Digest::parse(name) else { continue };
        if !blob::is_whole(layout, &digest, *size) {
            tracing::error!(%digest, "the file of a recorded blob is missing or has another size; pull its image again");
            quarantine(layout, &digest)?;
        }
    }
    Ok(())
}

/// Moves a blob's file to where nobody takes it for the blob, if it is there. It is removed once the blob was written again.
pub(crate) fn quarantine(layout: &Layout, digest: &Digest) -> Result<()> {
    let (from, to) = (layout.blob(digest), layout.quarantined(digest));
    let folder = to.parent().unwrap_or(&layout.root);
    fs::create_dir_all(folder).context(|| format!("mkdir -p {}", folder.display()))?;
    match fs::rename(&from, &to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("rename {} to {}", from.display(), to.display()))
        }
        _ => Ok(()),
    }
}

/// Was the machine started anew since the store was last opened? Tells only once.
fn is_another_boot(layout: &Layout) -> Result<bool> {
    let (kernel, path) = ("/proc/sys/kernel/random/boot_id", layout.boot());
    let boot = fs::read_to_string(kernel).context(|| format!("read {kernel}"))?;
    let known = fs::read_to_string(&path).unwrap_or_default();
    if boot == known {
        return Ok(false);
    }
    fs::write(&path, boot).context(|| format!("write {}", path.display()))?;
    Ok(!known.is_empty())
}

/// What was written to them and not synced may be lost, or be zeros: they begin anew.
fn remove_all_ingests(layout: &Layout) -> Result<()> {
    let folder = layout.ingests();
    for entry in fs::read_dir(&folder).context(|| format!("read folder {}", folder.display()))? {
        ingest::remove(&entry.context(|| format!("read folder {}", folder.display()))?.path())?;
    }
    Ok(())
}

/// An ingest without a readable status can be neither resumed nor listed; one that is made once is nobody's any more.
fn remove_torn_ingests(layout: &Layout) -> Result<()> {
    let folder = layout.ingests();
    for entry in fs::read_dir(&folder).context(|| format!("read folder {}", folder.display()))? {
        let path = entry.context(|| format!("read folder {}", folder.display()))?.path();
        match ingest::read_status(&path) {
            Ok((_, status)) if !status.reference.starts_with(crate::ONCE) => {}
            Ok(_) => ingest::remove(&path)?,
            Err(error) => {
                tracing::info!(path = %path.display(), error = error.chain(), "removed a torn ingest");
                ingest::remove(&path)?;
            }
        }
    }
    Ok(())
}
