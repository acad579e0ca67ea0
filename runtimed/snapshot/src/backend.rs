//! What a kind of snapshotter has to know; the records are kept for it.

use std::path::{Path, PathBuf};

use errors::Result;

use crate::{Kind, Mount};

/// The files of one kind of snapshotter. Calls block. Snapshots are numbers here; a number is used once.
pub trait Backend: Send + Sync + 'static {
    /// The snapshotter's name.
    fn name(&self) -> &'static str;

    /// The folder that holds a folder a snapshot, named by its number.
    fn folder(&self) -> &Path;

    /// Makes the folder of snapshot `id` on `parents` (nearest first). What it leaves after a failure is removed by the
    /// caller.
    fn create(&self, id: u64, kind: Kind, parents: &[u64]) -> Result<()>;

    /// Can the folder of a writable snapshot be made before it is known what it will stand on?
    fn has_drafts(&self) -> bool {
        false
    }

    /// Makes such a folder for snapshot `id`, under the name `new-ID`. Only where there are drafts.
    fn draft(&self, id: u64) -> Result<()> {
        Err(errors::Error::internal(format!("{} has no drafts, and none for {id}", self.name())))
    }

    /// Makes the draft of `id` the folder of an active snapshot on `parents`. What it leaves after a failure is removed by the caller.
    fn use_draft(&self, id: u64, parents: &[u64]) -> Result<()> {
        self.create(id, Kind::Active, parents)
    }

    /// The tree of the snapshot's own files, which usage is counted over.
    fn tree(&self, id: u64) -> PathBuf;

    /// Is a snapshot's tree a layer that needs nothing of its parents in order to be filled?
    fn is_stackable(&self) -> bool {
        false
    }

    /// Where the layer of snapshot `id` goes, and how its marks are written; `None` unless the backend is stackable.
    fn apart(&self, id: u64) -> Option<Mount> {
        let _ = id;
        None
    }

    /// Snapshot `id`, made without parents, comes to stand on `parent`: its root takes on the parent's owner and mode.
    fn adopt(&self, id: u64, parent: u64) -> Result<()> {
        let _ = (id, parent);
        Ok(())
    }

    /// How to mount snapshot `id` on `parents` (nearest first).
    fn mounts(&self, id: u64, kind: Kind, parents: &[u64]) -> Vec<Mount>;
}
