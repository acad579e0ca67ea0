//! What is checked before a snapshot is made or committed: once before the work, and again in the transaction.

use errors::{Error, Kind as ErrorKind, Result};
use ids::Labels;
use metadata::Transaction;

use crate::record::{self, CHILDREN, Read, Record, SNAPSHOTS, exists, missing};
use crate::{Kind, Usage};

/// Names the snapshot that a preparation is for; when that exists already, there is nothing to prepare.
const TARGET: &str = "containerd.io/snapshot.ref";
/// Labels that ask for ids to be mapped, which is not served.
const MAPPINGS: [&str; 2] = ["containerd.io/snapshot/uidmapping", "containerd.io/snapshot/gidmapping"];

/// A snapshot about to be made.
pub(crate) struct Creation {
    /// Namespace, snapshotter, key.
    pub(crate) names: [String; 3],
    /// What it will be.
    pub(crate) kind: Kind,
    /// The name of its parent, or empty.
    pub(crate) parent: String,
    /// Its labels.
    pub(crate) labels: Labels,
}

/// A snapshot about to be committed.
pub(crate) struct Commit {
    /// Namespace, snapshotter, key.
    pub(crate) names: [String; 3],
    /// Its name from then on.
    pub(crate) target: String,
    /// Its labels from then on.
    pub(crate) labels: Labels,
}

impl Creation {
    /// May it be made? Returns its parents' numbers.
    pub(crate) fn check(&self, reader: &impl Read) -> Result<Vec<u64>> {
        let [namespace, snapshotter, key] = &self.names;
        if let Some(target) = self.labels.get(TARGET)
            && reader.get(&SNAPSHOTS, &[namespace, snapshotter, target])?.is_some()
        {
            return Err(Error::already_exists(format!("target snapshot {target:?}: already exists")));
        }
        if reader.get(&SNAPSHOTS, &[namespace, snapshotter, key])?.is_some() {
            return Err(exists(key));
        }
        record::parents(reader, namespace, snapshotter, &self.parent)
    }

    /// Records it as number `id`, which was made on `parents`.
    pub(crate) fn record(self, transaction: &mut Transaction<'_>, id: u64, parents: &[u64]) -> Result<()> {
        if self.check(transaction)? != parents {
            return Err(changed(&self.parent));
        }
        let [namespace, snapshotter, key] = &self.names;
        let record = Record::new(id, self.kind, &self.parent, self.labels);
        transaction.put(&SNAPSHOTS, &[namespace, snapshotter, key], &record)?;
        if !self.parent.is_empty() {
            transaction.put(&CHILDREN, &[namespace, snapshotter, &self.parent, key], &())?;
        }
        Ok(())
    }
}

impl Commit {
    /// May it be committed? Returns its record.
    pub(crate) fn check(&self, reader: &impl Read) -> Result<Record> {
        let [namespace, snapshotter, key] = &self.names;
        if reader.get(&SNAPSHOTS, &[namespace, snapshotter, &self.target])?.is_some() {
            return Err(exists(&self.target));
        }
        let record = reader.get(&SNAPSHOTS, &[namespace, snapshotter, key])?.ok_or_else(|| missing(key))?;
        if record.kind != Kind::Active {
            return Err(Error::precondition(format!("snapshot {key:?} is not active: failed precondition")));
        }
        Ok(record)
    }

    /// Records number `id`, which was synced and takes `usage`, as committed.
    pub(crate) fn record(self, transaction: &mut Transaction<'_>, id: u64, usage: Usage) -> Result<()> {
        let old = self.check(transaction)?;
        if old.id != id {
            return Err(changed(&self.names[2]));
        }
        let parent = old.parent;
        self.record_on(transaction, id, usage, &parent)
    }

    /// Records a checked number `id`, which was synced and takes `usage`, as committed on `parent`.
    pub(crate) fn record_on(
        self,
        transaction: &mut Transaction<'_>,
        id: u64,
        usage: Usage,
        parent: &str,
    ) -> Result<()> {
        let [namespace, snapshotter, key] = &self.names;
        let mut new = Record::new(id, Kind::Committed, parent, self.labels);
        new.usage = Some(usage);
        transaction.delete(&SNAPSHOTS, &[namespace, snapshotter, key])?;
        transaction.put(&SNAPSHOTS, &[namespace, snapshotter, &self.target], &new)?;
        if !new.parent.is_empty() {
            // One that was made apart is nobody's child yet.
            transaction.delete(&CHILDREN, &[namespace, snapshotter, &new.parent, key])?;
            transaction.put(&CHILDREN, &[namespace, snapshotter, &new.parent, &self.target], &())?;
        }
        Ok(())
    }
}

/// Checks a key and the labels given with it; returns those that are not empty.
pub(crate) fn check(key: &str, mut labels: Labels) -> Result<Labels> {
    if key.is_empty() {
        return Err(Error::invalid("snapshot key must not be empty: invalid argument"));
    }
    labels.retain(|_, value| !value.is_empty());
    ids::validate_labels(&labels)?;
    match MAPPINGS.into_iter().find(|label| labels.contains_key(*label)) {
        Some(label) => Err(Error::unimplemented(format!(
            "snapshot {key:?}: label {label} asks for mapped ids, which is not supported"
        ))),
        None => Ok(labels),
    }
}

fn changed(key: &str) -> Error {
    Error::new(
        ErrorKind::Aborted,
        format!("snapshot {key:?} was removed and made again meanwhile; try again"),
    )
}
