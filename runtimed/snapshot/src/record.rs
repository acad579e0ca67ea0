//! What `metadata` keeps of a snapshot.

use std::time::SystemTime;

use errors::{Error, Kind as ErrorKind, Result};
use filters::Fields;
use ids::Labels;
use metadata::{Reader, Table, Transaction};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Info, Kind, Usage};

/// The snapshots, by namespace, snapshotter and key.
pub(crate) const SNAPSHOTS: Table<Record> = Table::namespaced("snapshot.records");
/// Who stands on whom, by namespace, snapshotter, parent and child.
pub(crate) const CHILDREN: Table<()> = Table::new("snapshot.children");

/// The longest chain of parents that is followed: overlayfs takes 500 lower folders, so more is a loop or damage.
const MAX_CHAIN: usize = 4096;

/// A snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The name of its folder.
    pub(crate) id: u64,
    /// What it is.
    pub(crate) kind: Kind,
    /// Its parent's name, or empty.
    pub(crate) parent: String,
    /// Labels.
    pub(crate) labels: Labels,
    /// When it was created.
    pub(crate) created_at: SystemTime,
    /// When it was last changed.
    pub(crate) updated_at: SystemTime,
    /// What it takes, once committed.
    pub(crate) usage: Option<Usage>,
}

/// Committed state, or what a transaction sees of it.
pub(crate) trait Read {
    /// The record under `key`.
    fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &[&str]) -> Result<Option<V>>;
}

impl Read for Reader<'_> {
    fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &[&str]) -> Result<Option<V>> {
        Reader::get(self, table, key)
    }
}

impl Read for Transaction<'_> {
    fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &[&str]) -> Result<Option<V>> {
        Transaction::get(self, table, key)
    }
}

impl Record {
    /// A record made now.
    pub(crate) fn new(id: u64, kind: Kind, parent: &str, labels: Labels) -> Record {
        let now = SystemTime::now();
        Record { id, kind, parent: parent.to_owned(), labels, created_at: now, updated_at: now, usage: None }
    }

    /// The record with its name.
    pub(crate) fn into_info(self, name: &str) -> Info {
        Info {
            kind: self.kind,
            name: name.to_owned(),
            parent: self.parent,
            labels: self.labels,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    /// Changes the labels that `mask` names, or all when it is empty. An empty value deletes.
    pub(crate) fn set_labels(&mut self, key: &str, labels: Labels, mask: &[String]) -> Result<()> {
        if mask.is_empty() {
            self.labels = labels.clone();
        }
        for path in mask {
            if path == "labels" {
                self.labels = labels.clone();
            } else if let Some(label) = path.strip_prefix("labels.") {
                self.labels.insert(label.to_owned(), labels.get(label).cloned().unwrap_or_default());
            } else {
                return Err(Error::invalid(format!(
                    "cannot update {path:?} field on snapshot {key:?}: invalid argument"
                )));
            }
        }
        self.labels.retain(|_, value| !value.is_empty());
        ids::validate_labels(&self.labels)?;
        self.updated_at = SystemTime::now();
        Ok(())
    }
}

/// The snapshot under `key`; `NotFound` in containerd's words.
pub(crate) fn find(reader: &impl Read, namespace: &str, snapshotter: &str, key: &str) -> Result<Record> {
    reader.get(&SNAPSHOTS, &[namespace, snapshotter, key])?.ok_or_else(|| missing(key))
}

/// The numbers of `parent` and all below it, nearest first; none for an empty name. The nearest must be committed.
pub(crate) fn parents(
    reader: &impl Read,
    namespace: &str,
    snapshotter: &str,
    parent: &str,
) -> Result<Vec<u64>> {
    let mut ids = Vec::new();
    let mut name = parent.to_owned();
    while !name.is_empty() {
        let record = reader
            .get(&SNAPSHOTS, &[namespace, snapshotter, &name])?
            .ok_or_else(|| Error::not_found(format!("parent snapshot {name} does not exist: not found")))?;
        if record.kind != Kind::Committed {
            return Err(Error::invalid(format!(
                "parent {name:?} is not committed snapshot: invalid argument"
            )));
        }
        if ids.len() == MAX_CHAIN {
            return Err(Error::new(
                ErrorKind::DataLoss,
                format!("snapshot {parent} has more than {MAX_CHAIN} parents"),
            ));
        }
        ids.push(record.id);
        name = record.parent;
    }
    Ok(ids)
}

/// `NotFound`, in containerd's words.
pub(crate) fn missing(key: &str) -> Error {
    Error::not_found(format!("snapshot {key} does not exist: not found"))
}

/// `AlreadyExists`, in containerd's words.
pub(crate) fn exists(key: &str) -> Error {
    Error::already_exists(format!("snapshot {key:?}: already exists"))
}

impl Fields for Info {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["kind"] => Some(
                match self.kind {
                    Kind::View => "view",
                    Kind::Active => "active",
                    Kind::Committed => "committed",
                }
                .to_owned(),
            ),
            ["name"] => Some(self.name.clone()),
            ["parent"] => Some(self.parent.clone()),
            ["labels", rest @ ..] if !rest.is_empty() => self.labels.get(&rest.join(".")).cloned(),
            _ => None,
        }
    }
}
