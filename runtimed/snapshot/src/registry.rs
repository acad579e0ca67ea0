//! The snapshotters by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use errors::{Error, Result};
use events::Bus;
use metadata::Store;

use crate::Snapshotter;
use crate::native::Native;
use crate::overlay::Overlay;

/// The snapshotter that an empty name means.
pub const DEFAULT: &str = "overlayfs";

/// The snapshotters by name.
#[derive(Clone)]
pub struct Snapshotters {
    loaded: Arc<BTreeMap<&'static str, Snapshotter>>,
    /// Those this machine cannot have, and why.
    refused: Arc<BTreeMap<&'static str, String>>,
}

impl Snapshotters {
    /// Opens overlayfs and native below `root`; removes folders that no record names. Where the kernel or the file
    /// system below cannot have overlayfs, it is left out, and asking for it says why.
    pub fn open(root: &Path, store: Store, events: Bus) -> Result<Snapshotters> {
        let mut loaded = BTreeMap::new();
        let mut refused = BTreeMap::new();
        match Overlay::open(root) {
            Ok(overlay) => {
                let snapshotter = Snapshotter::open(Arc::new(overlay), store.clone(), events.clone())?;
                loaded.insert("overlayfs", snapshotter);
            }
            Err(error) => {
                tracing::warn!(error = error.chain(), "no overlayfs snapshotter here");
                refused.insert("overlayfs", error.chain());
            }
        }
        let native = Snapshotter::open(Arc::new(Native::open(root)?), store, events)?;
        loaded.insert("native", native);
        Ok(Snapshotters { loaded: Arc::new(loaded), refused: Arc::new(refused) })
    }

    /// The snapshotter `name`; an empty name is the default (overlayfs); unknown is `InvalidArgument` "snapshotter not loaded: NAME".
    pub fn get(&self, name: &str) -> Result<Snapshotter> {
        let name = if name.is_empty() { DEFAULT } else { name };
        if let Some(snapshotter) = self.loaded.get(name) {
            return Ok(snapshotter.clone());
        }
        let why = self.refused.get(name).map(|why| format!(" ({why})")).unwrap_or_default();
        Err(Error::invalid(format!("snapshotter not loaded: {name}{why}: invalid argument")))
    }

    /// The names, sorted.
    pub fn names(&self) -> Vec<String> {
        self.loaded.keys().map(|name| (*name).to_owned()).collect()
    }
}
