//! Do records and folders agree? Asked while no daemon runs; and what is done about it after a store was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use errors::{Context, Result};
use ids::{Labels, Namespace};
use metadata::Store;

use crate::Kind;
use crate::record::{CHILDREN, Record, SNAPSHOTS};

/// The snapshotters, with the name of the folder that holds a snapshot's own files, if it is not the snapshot's itself.
const LAYOUTS: [(&str, Option<&str>); 2] = [("overlayfs", Some("fs")), ("native", None)];

/// Namespace, snapshotter, key.
type Key = [String; 3];

/// What a rebuild found and did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Snapshots that have their folder and their parents.
    pub kept: usize,
    /// Those that have not; their records were deleted.
    pub dropped: Vec<String>,
    /// Snapshots made known from mounts.
    pub adopted: usize,
    /// Folders that no record names; they were moved aside.
    pub unknown: Vec<PathBuf>,
}

/// A root that is mounted: what is above and what is below, as overlayfs' mount options say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    /// Whose it is.
    pub namespace: Namespace,
    /// The key that its snapshot is to have.
    pub key: String,
    /// `upperdir`.
    pub upper: PathBuf,
    /// `lowerdir`, nearest first.
    pub lower: Vec<PathBuf>,
}

/// What is wrong between records and folders below `root`, a sentence each. A folder without a record is not wrong: whoever was
/// killed leaves one, and the daemon's next start removes it.
pub fn check(root: &Path, store: &Store) -> Result<Vec<String>> {
    let records = records(store)?;
    let mut findings = Vec::new();
    for (key, reason) in broken(root, &records) {
        let [namespace, snapshotter, name] = key;
        findings.push(format!("snapshot {name:?} of {snapshotter} in namespace {namespace:?} {reason}"));
    }
    let children: BTreeSet<Vec<String>> = store.read().keys(&CHILDREN, &[])?.into_iter().collect();
    for wrong in children.symmetric_difference(&children_of(&records)) {
        findings
            .push(format!("the record of the child {} does not agree with its snapshot's", wrong.join("/")));
    }
    Ok(findings)
}

/// Makes the records agree with the folders below `root`: drops those without, makes known what is in `mounted` and in no record
/// (parents, whose names are lost, get `labels`), and moves folders aside that no record names.
pub async fn rebuild(root: &Path, store: &Store, mounted: &[Mounted], labels: &Labels) -> Result<Rebuilt> {
    let mut records = records(store)?;
    let mut rebuilt = Rebuilt::default();
    let dropped: Vec<Key> = broken(root, &records).into_keys().collect();
    for key in &dropped {
        records.remove(key);
        rebuilt.dropped.push(key.join("/"));
    }
    rebuilt.kept = records.len();
    for mounted in mounted {
        rebuilt.adopted += adopt(root, &mut records, mounted, labels);
    }
    for path in unknown(root, &records)? {
        move_aside(&path)?;
        rebuilt.unknown.push(path);
    }
    let children = children_of(&records);
    store
        .write(move |transaction| {
            transaction.delete_all(&CHILDREN, &[])?;
            for [namespace, snapshotter, key] in &dropped {
                transaction.delete(&SNAPSHOTS, &[namespace, snapshotter, key])?;
            }
            for ([namespace, snapshotter, key], record) in &records {
                transaction.put(&SNAPSHOTS, &[namespace, snapshotter, key], record)?;
            }
            for child in &children {
                let child: Vec<&str> = child.iter().map(String::as_str).collect();
                transaction.put(&CHILDREN, &child, &())?;
            }
            Ok(())
        })
        .await?;
    Ok(rebuilt)
}

fn records(store: &Store) -> Result<BTreeMap<Key, Record>> {
    let all = store.read().scan(&SNAPSHOTS, &[])?;
    Ok(all.into_iter().filter_map(|(key, record)| Some((Key::try_from(key).ok()?, record))).collect())
}

fn folder(root: &Path, snapshotter: &str) -> PathBuf {
    root.join(format!("io.containerd.snapshotter.v1.{snapshotter}")).join("snapshots")
}

fn tree(root: &Path, snapshotter: &str, id: u64) -> Option<PathBuf> {
    let (_, below) = LAYOUTS.iter().find(|(name, _)| *name == snapshotter)?;
    let folder = folder(root, snapshotter).join(id.to_string());
    Some(below.map_or(folder.clone(), |below| folder.join(below)))
}

/// The records that cannot be used, and why; those that stand on them, too.
fn broken(root: &Path, records: &BTreeMap<Key, Record>) -> BTreeMap<Key, String> {
    let mut broken = BTreeMap::new();
    for (key, record) in records {
        match tree(root, &key[1], record.id) {
            None => drop(broken.insert(key.clone(), format!("is of an unknown snapshotter {}", key[1]))),
            Some(tree) if !tree.is_dir() && record.kind == Kind::Committed => {
                broken.insert(key.clone(), format!("has lost its folder {}", tree.display()));
            }
            Some(_) => {}
        }
    }
    loop {
        let more: Vec<Key> = records
            .iter()
            .filter(|(key, record)| !broken.contains_key(*key) && !record.parent.is_empty())
            .filter(|(key, record)| {
                let parent = [key[0].clone(), key[1].clone(), record.parent.clone()];
                broken.contains_key(&parent)
                    || records.get(&parent).is_none_or(|parent| parent.kind != Kind::Committed)
            })
            .map(|(key, _)| key.clone())
            .collect();
        if more.is_empty() {
            return broken;
        }
        for key in more {
            let parent = &records[&key].parent;
            broken.insert(key.clone(), format!("stands on {parent:?}, which is not there"));
        }
    }
}

fn children_of(records: &BTreeMap<Key, Record>) -> BTreeSet<Vec<String>> {
    records
        .iter()
        .filter(|(_, record)| !record.parent.is_empty())
        .map(|([namespace, snapshotter, key], record)| {
            vec![namespace.clone(), snapshotter.clone(), record.parent.clone(), key.clone()]
        })
        .collect()
}

/// The numbered folders that no record names.
fn unknown(root: &Path, records: &BTreeMap<Key, Record>) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for (snapshotter, _) in LAYOUTS {
        let used: BTreeSet<String> = records
            .iter()
            .filter(|(key, _)| key[1] == snapshotter)
            .map(|(_, record)| record.id.to_string())
            .collect();
        let folder = folder(root, snapshotter);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.context(|| format!("read folder {}", folder.display()))?,
        };
        for entry in entries {
            let name = entry.context(|| format!("read folder {}", folder.display()))?.file_name();
            let name = name.to_string_lossy();
            if name.parse::<u64>().is_ok() && !used.contains(name.as_ref()) {
                found.push(folder.join(name.as_ref()));
            }
        }
    }
    Ok(found)
}

/// Enters what is mounted and in no record. Returns how many snapshots that made.
fn adopt(root: &Path, records: &mut BTreeMap<Key, Record>, mounted: &Mounted, labels: &Labels) -> usize {
    let base = folder(root, "overlayfs");
    let number =
        |path: &PathBuf| -> Option<u64> { path.strip_prefix(&base).ok()?.parent()?.to_str()?.parse().ok() };
    let Some(upper) = number(&mounted.upper) else { return 0 };
    let Some(lower) = mounted.lower.iter().map(number).collect::<Option<Vec<u64>>>() else { return 0 };
    let (mut parent, mut made) = (String::new(), 0);
    let namespace = mounted.namespace.as_str();
    let layers = lower.into_iter().rev().map(|id| (id, Kind::Committed)).chain([(upper, Kind::Active)]);
    for (id, kind) in layers {
        let known = records
            .iter()
            .find(|(key, record)| key[0] == namespace && key[1] == "overlayfs" && record.id == id)
            .map(|(key, _)| key[2].clone());
        parent = match known {
            Some(name) => name,
            None => {
                let name = if kind == Kind::Active { mounted.key.clone() } else { format!("rebuilt-{id}") };
                let key = [namespace.to_owned(), "overlayfs".to_owned(), name.clone()];
                let mut record = Record::new(id, kind, &parent, labels.clone());
                record.usage = (kind == Kind::Committed).then(Default::default);
                records.insert(key, record);
                made += 1;
                name
            }
        };
    }
    made
}

/// Moves a folder of `snapshots/` to `unknown/` beside it.
fn move_aside(path: &Path) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent().and_then(Path::parent), path.file_name()) else {
        return Ok(());
    };
    let aside = folder.join("unknown");
    fs::create_dir_all(&aside).context(|| format!("mkdir -p {}", aside.display()))?;
    let mut to = aside.join(name);
    for again in 1.. {
        if !to.exists() {
            break;
        }
        to = aside.join(format!("{}.{again}", name.to_string_lossy()));
    }
    fs::rename(path, &to).context(|| format!("rename {} to {}", path.display(), to.display()))
}

/// Has the namespace a record of the snapshot `key`?
pub fn is_recorded(store: &Store, namespace: &Namespace, snapshotter: &str, key: &str) -> Result<bool> {
    Ok(store.read().get(&SNAPSHOTS, &[namespace.as_str(), snapshotter, key])?.is_some())
}
