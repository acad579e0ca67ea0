//! Do records and files agree? Asked while no daemon runs; and what is done about it after a store was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use errors::{Context, Result};
use ids::{Digest, Labels, Namespace};
use metadata::Store;

use crate::hasher::Hasher;
use crate::layout::{ALGORITHMS, Layout};
use crate::record::{BLOBS, OWNERS, Record};
use crate::sweep::quarantine;

/// What a rebuild found and did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Blobs that are whole and had a record.
    pub kept: usize,
    /// Blobs that are whole and got a record.
    pub adopted: usize,
    /// Blobs that are not what their name says: moved aside, their records deleted.
    pub damaged: Vec<Digest>,
    /// Blobs that have a record and no file: their records deleted.
    pub missing: Vec<Digest>,
}

/// What is wrong between records and files below `root`, a sentence each. Reads every byte if `deep`. A file without a record is not
/// wrong: whoever was killed leaves one, and the daemon's next start removes it.
pub fn check(root: &Path, store: &Store, deep: bool) -> Result<Vec<String>> {
    let layout = Layout::below(root);
    let files = files(&layout)?;
    let mut findings = Vec::new();
    let mut owned = BTreeSet::new();
    for (key, record) in store.read().scan(&BLOBS, &[])? {
        let [namespace, name] = key.as_slice() else { continue };
        owned.insert([name.clone(), namespace.clone()]);
        let Ok(digest) = Digest::parse(name) else {
            findings.push(format!("content {name:?} of namespace {namespace:?} is no digest"));
            continue;
        };
        match files.get(&digest) {
            None => findings.push(format!("content {digest} of namespace {namespace:?} has no file")),
            Some(size) if *size != record.size => findings.push(format!(
                "content {digest} of namespace {namespace:?} has {size} bytes, not {}",
                record.size
            )),
            Some(_) => {}
        }
    }
    if deep {
        for digest in files.keys() {
            if !is_what_it_says(&layout, digest)? {
                findings.push(format!("blob {digest} holds something else"));
            }
        }
    }
    let owners: BTreeSet<[String; 2]> =
        store.read().keys(&OWNERS, &[])?.into_iter().filter_map(|key| key.try_into().ok()).collect();
    for [digest, namespace] in owners.symmetric_difference(&owned) {
        findings.push(format!("content {digest} of namespace {namespace:?}: its two records do not agree"));
    }
    Ok(findings)
}

/// Makes the records agree with the files below `root`, each of which is read: those without a record get one in `namespace`, with
/// `labels`.
pub async fn rebuild(root: &Path, store: &Store, namespace: &Namespace, labels: &Labels) -> Result<Rebuilt> {
    let layout = Layout::below(root);
    let mut rebuilt = Rebuilt::default();
    let mut whole = BTreeMap::new();
    for (digest, size) in files(&layout)? {
        if is_what_it_says(&layout, &digest)? {
            whole.insert(digest, size);
        } else {
            quarantine(&layout, &digest)?;
            rebuilt.damaged.push(digest);
        }
    }
    let (namespace, labels) = (namespace.clone(), labels.clone());
    store
        .write(move |transaction| {
            let mut known = BTreeSet::new();
            transaction.delete_all(&OWNERS, &[])?;
            for (key, mut record) in transaction.scan(&BLOBS, &[])? {
                let [owner, name] = key.as_slice() else { continue };
                match Digest::parse(name).ok().and_then(|digest| Some((whole.get(&digest)?, digest))) {
                    Some((size, digest)) => {
                        record.size = *size;
                        transaction.put(&BLOBS, &[owner, name], &record)?;
                        transaction.put(&OWNERS, &[name, owner], &())?;
                        known.insert(digest);
                    }
                    None => {
                        transaction.delete(&BLOBS, &[owner, name])?;
                        let lost = Digest::parse(name).ok().filter(|lost| !rebuilt.damaged.contains(lost));
                        rebuilt.missing.extend(lost);
                    }
                }
            }
            rebuilt.kept = known.len();
            for (digest, size) in whole.iter().filter(|(digest, _)| !known.contains(digest)) {
                let name = digest.to_string();
                transaction.put(&BLOBS, &[namespace.as_str(), &name], &Record::new(*size, labels.clone()))?;
                transaction.put(&OWNERS, &[&name, namespace.as_str()], &())?;
                rebuilt.adopted += 1;
            }
            Ok(rebuilt)
        })
        .await
}

/// The files that are named as blobs are, with their sizes.
fn files(layout: &Layout) -> Result<BTreeMap<Digest, u64>> {
    let mut found = BTreeMap::new();
    for algorithm in ALGORITHMS {
        let folder = layout.blobs(algorithm);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.context(|| format!("read folder {}", folder.display()))?,
        };
        for entry in entries {
            let entry = entry.context(|| format!("read folder {}", folder.display()))?;
            let name = format!("{}:{}", algorithm.as_str(), entry.file_name().to_string_lossy());
            let Ok(digest) = Digest::parse(&name) else { continue };
            let metadata = entry.metadata().context(|| format!("stat {}", entry.path().display()))?;
            found.insert(digest, metadata.len());
        }
    }
    Ok(found)
}

fn is_what_it_says(layout: &Layout, digest: &Digest) -> Result<bool> {
    let path = layout.blob(digest);
    let file = File::open(&path).context(|| format!("open {}", path.display()))?;
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update_from(file).context(|| format!("read {}", path.display()))?;
    Ok(hasher.digest()? == *digest)
}

impl crate::Content {
    /// Does the namespace have the blob, with all of its bytes? One that is damaged is not told as missing by
    /// [`crate::Content::info`], and is replaced when it is written again.
    pub fn is_whole(&self, namespace: &Namespace, digest: &Digest) -> Result<bool> {
        self.has_whole(namespace, digest)
    }
}

/// The digests that the namespace has records of.
pub fn recorded(store: &Store, namespace: &Namespace) -> Result<BTreeSet<Digest>> {
    let keys = store.read().keys(&BLOBS, &[namespace.as_str()])?;
    Ok(keys.iter().filter_map(|key| Digest::parse(key.get(1)?).ok()).collect())
}
