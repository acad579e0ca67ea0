//! A lease as callers see it.

use std::time::SystemTime;

use errors::{Error, Result};
use filters::{Fields, map_field};
use ids::Labels;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The label with the time (RFC 3339) from which a lease holds nothing.
pub const EXPIRE: &str = "containerd.io/gc.expire";
/// The label that makes a lease hold its resources alone, not what they refer to.
pub const FLAT: &str = "containerd.io/gc.flat";

/// The label of a lease that a daemon made for work of its own: the next daemon ends what it finds of these.
pub const TRANSIENT: &str = "runtimed.io/transient";

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// When it was created.
    pub created_at: SystemTime,
    /// Its labels; `containerd.io/gc.expire` (RFC 3339) ends it, `containerd.io/gc.flat` stops at its resources.
    pub labels: Labels,
}

impl Lease {
    /// Has its time run out? A time that cannot be read never comes.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        let end = self.labels.get(EXPIRE).and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        end.is_some_and(|end| end < OffsetDateTime::from(now))
    }

    /// Does it stop at its resources?
    pub fn is_flat(&self) -> bool {
        self.labels.contains_key(FLAT)
    }
}

impl Fields for Lease {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["id", ..] => Some(self.id.clone()),
            ["labels", key @ ..] => map_field(&self.labels, key),
            _ => None,
        }
    }
}

/// Checks the labels of a new lease.
pub(crate) fn validate(labels: &Labels) -> Result<()> {
    ids::validate_labels(labels)?;
    match labels.get(EXPIRE).filter(|text| !text.is_empty()) {
        Some(text) if OffsetDateTime::parse(text, &Rfc3339).is_err() => Err(Error::invalid(format!(
            "label {EXPIRE} must be a time as in RFC 3339, not {text:?}: invalid argument"
        ))),
        _ => Ok(()),
    }
}
