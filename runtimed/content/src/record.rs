//! What `metadata` keeps of a blob: one record a namespace.

use std::time::SystemTime;

use errors::{Error, Result};
use filters::Fields;
use ids::{Digest, Labels};
use metadata::Table;
use serde::{Deserialize, Serialize};

use crate::{Info, Status};

/// The blobs, by namespace and digest.
pub(crate) const BLOBS: Table<Record> = Table::namespaced("content.blobs");

/// Who has a blob, by digest and namespace: kept in step with [`BLOBS`], so that nobody has to read all of it.
pub(crate) const OWNERS: Table<()> = Table::new("content.owners");

/// A blob in a namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Bytes.
    pub(crate) size: u64,
    /// When the namespace got it.
    pub(crate) created_at: SystemTime,
    /// When the labels were last changed.
    pub(crate) updated_at: SystemTime,
    /// Labels.
    pub(crate) labels: Labels,
}

impl Record {
    /// A record made now.
    pub(crate) fn new(size: u64, labels: Labels) -> Record {
        let now = SystemTime::now();
        Record { size, created_at: now, updated_at: now, labels }
    }

    /// The record with its digest.
    pub(crate) fn into_info(self, digest: Digest) -> Info {
        Info {
            digest,
            size: self.size,
            created_at: self.created_at,
            updated_at: self.updated_at,
            labels: self.labels,
        }
    }

    /// Changes the labels that `mask` names, or all when it is empty. An empty value deletes.
    pub(crate) fn set_labels(&mut self, digest: &Digest, labels: Labels, mask: &[String]) -> Result<()> {
        if mask.is_empty() {
            self.labels = labels.clone();
        }
        for path in mask {
            if path == "labels" {
                self.labels = labels.clone();
            } else if let Some(key) = path.strip_prefix("labels.") {
                let value = labels.get(key).cloned().unwrap_or_default();
                self.labels.insert(key.to_owned(), value);
            } else {
                return Err(Error::invalid(format!(
                    "cannot update {path:?} field on content info {digest:?}: invalid argument"
                )));
            }
        }
        self.labels.retain(|_, value| !value.is_empty());
        ids::validate_labels(&self.labels)?;
        self.updated_at = SystemTime::now();
        Ok(())
    }
}

impl Fields for Info {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["digest"] => Some(self.digest.to_string()),
            ["size"] => Some(self.size.to_string()),
            ["labels", key] => self.labels.get(*key).cloned(),
            ["labels", rest @ ..] => self.labels.get(&rest.join(".")).cloned(),
            _ => None,
        }
    }
}

impl Fields for Status {
    fn field(&self, path: &[&str]) -> Option<String> {
        (path == ["ref"]).then(|| self.reference.clone())
    }
}

/// `NotFound`, in containerd's words.
pub(crate) fn missing(digest: &Digest) -> Error {
    Error::not_found(format!("content digest {digest}: not found"))
}

/// `AlreadyExists`, in containerd's words.
pub(crate) fn exists(digest: &Digest) -> Error {
    Error::already_exists(format!("content {digest}: already exists"))
}
