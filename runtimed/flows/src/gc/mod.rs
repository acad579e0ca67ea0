//! Garbage collection over the rooms: what there is, what keeps what alive, and how it goes.
//!
//! The rules are containerd's (docs/garbage-collection.md): leases, images and containers are in use for themselves, as is
//! what bears the label `containerd.io/gc.root`; labels refer from one thing to another.

mod graph;
mod labels;
mod sweep;
#[cfg(test)]
mod tests;

use container::Containers;
use content::Content;
use errors::Result;
use gc::{Graph, Heap};
use image::Names;
use lease::Leases;
use metadata::Store;
use snapshot::Snapshotters;
use tokio::sync::watch;

/// The rooms that hold what can be collected, and those that keep it alive. Cheap to clone.
#[derive(Clone)]
pub struct RoomsHeap {
    store: Store,
    content: Content,
    snapshotters: Snapshotters,
    names: Names,
    containers: Containers,
    leases: Leases,
}

impl RoomsHeap {
    /// Puts the rooms together; all of them keep their records in `store`.
    pub fn new(
        store: Store,
        content: Content,
        snapshotters: Snapshotters,
        names: Names,
        containers: Containers,
        leases: Leases,
    ) -> RoomsHeap {
        RoomsHeap { store, content, snapshotters, names, containers, leases }
    }
}

impl Heap for RoomsHeap {
    fn graph(&self) -> Result<Graph> {
        graph::build(self, std::time::SystemTime::now())
    }

    async fn sweep(&self) -> Result<usize> {
        sweep::sweep(self).await
    }

    fn has_leftovers(&self) -> bool {
        self.content.has_unremoved()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.store.written()
    }
}
