//! A room over a temporary folder.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use content::Content;
use events::Bus;
use ids::{Digest, Namespace};
use image::{Credentials, Images, Names, Progress, ProgressSink, PullOptions, RegistryConfig};
use snapshot::{Mount, Snapshotters};
use tempfile::TempDir;

/// Everything an image needs, gone when dropped.
pub struct Local {
    pub content: Content,
    pub snapshotters: Snapshotters,
    pub names: Names,
    pub images: Images,
    pub space: Namespace,
    pub bus: Bus,
    pub root: TempDir,
}

impl Local {
    pub fn new() -> Local {
        Local::with(RegistryConfig::default())
    }

    /// A room that gives up soon.
    pub fn hasty() -> Local {
        Local::with(RegistryConfig {
            attempts: 2,
            idle_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(2),
            ..RegistryConfig::default()
        })
    }

    pub fn with(config: RegistryConfig) -> Local {
        let root = tempfile::tempdir().unwrap();
        let store = metadata::Store::open(&root.path().join("metadata")).unwrap();
        let bus = Bus::new();
        let content = Content::open(&root.path().join("content"), store.clone(), bus.clone()).unwrap();
        let snapshotters =
            Snapshotters::open(&root.path().join("snapshots"), store.clone(), bus.clone()).unwrap();
        let names = Names::new(store, bus.clone());
        let images = Images::new(config, names.clone(), content.clone(), snapshotters.clone());
        let space = Namespace::parse("test").unwrap();
        Local { content, snapshotters, names, images, space, bus, root }
    }

    pub async fn pull(&self, reference: &str, options: &PullOptions) -> errors::Result<image::Image> {
        let parsed = ids::Reference::parse(reference).unwrap();
        self.images.pull(&self.space, &parsed, reference, options, image::silent()).await
    }

    /// The committed snapshot's folders, the top first.
    pub async fn folders(&self, snapshotter: &str, chain_id: &Digest) -> Vec<String> {
        let snapshotter = self.snapshotters.get(snapshotter).unwrap();
        let key = format!("look-{chain_id}");
        let mounts =
            snapshotter.view(&self.space, &key, &chain_id.to_string(), Default::default()).await.unwrap();
        snapshotter.remove(&self.space, &key).await.unwrap();
        folders(&mounts)
    }

    /// No snapshot is left half made.
    pub fn no_active_snapshots(&self) {
        for name in self.snapshotters.names() {
            let left = self.snapshotters.get(&name).unwrap().list(&self.space, &[]).unwrap();
            let active: Vec<_> = left.iter().filter(|info| info.kind != snapshot::Kind::Committed).collect();
            assert!(active.is_empty(), "{active:?}");
        }
    }
}

fn folders(mounts: &[Mount]) -> Vec<String> {
    let lower = |option: &String| {
        option.strip_prefix("lowerdir=").map(|value| value.split(':').map(String::from).collect())
    };
    mounts[0].options.iter().find_map(lower).unwrap_or_else(|| vec![mounts[0].source.clone()])
}

/// Options for a pull that unpacks.
pub fn unpacking() -> PullOptions {
    PullOptions { unpack: Some("overlayfs".into()), ..PullOptions::default() }
}

pub fn credentials(username: &str, secret: &str) -> Option<Credentials> {
    Some(Credentials { username: username.into(), secret: secret.into() })
}

/// A sink that remembers.
pub fn recorder() -> (ProgressSink, Arc<Mutex<Vec<Progress>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    (Arc::new(move |progress| sink.lock().unwrap().push(progress)), told)
}

/// The first folder of an overlay that has `path`.
pub fn find(folders: &[String], path: &str) -> Option<std::path::PathBuf> {
    folders.iter().map(|folder| Path::new(folder).join(path)).find(|path| path.symlink_metadata().is_ok())
}
