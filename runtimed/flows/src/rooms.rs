//! The rooms of one daemon, put together once at start.

use std::path::PathBuf;

use container::Containers;
use content::Content;
use events::Bus;
use gc::Collector;
use image::{Images, Names};
use lease::Leases;
use metadata::Store;
use namespace::Namespaces;
use snapshot::Snapshotters;
use task::Tasks;

/// Everything that flows and fronts call. Cheap to clone: each room is a handle.
#[derive(Clone)]
pub struct Rooms {
    /// Records.
    pub store: Store,
    /// Events.
    pub events: Bus,
    /// Namespaces.
    pub namespaces: Namespaces,
    /// Container records.
    pub containers: Containers,
    /// Blobs.
    pub content: Content,
    /// Snapshotters.
    pub snapshotters: Snapshotters,
    /// Image names.
    pub names: Names,
    /// Image movements.
    pub images: Images,
    /// Leases.
    pub leases: Leases,
    /// Tasks.
    pub tasks: Tasks,
    /// Garbage collection.
    pub collector: Collector,
    /// A folder for temporary mounts, on the machine's own disk and empty at start.
    pub scratch: PathBuf,
    /// Limits for layers that are unpacked.
    pub layer_limits: diff::Limits,
}
