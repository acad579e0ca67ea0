//! One suite for every snapshotter, on a real folder with real mounts, as root; and what only one of them has.

mod overlay;
mod power;
mod restart;
mod suite;

use std::path::{Path, PathBuf};

use errors::Kind as ErrorKind;
use events::Bus;
use ids::{Labels, Namespace};
use tempfile::TempDir;

use crate::{Mount, Snapshotter, Snapshotters, TemporaryMount};

/// Runs each test of the suite with each snapshotter.
macro_rules! with_each_snapshotter {
    ($($test:ident),* $(,)?) => {
        mod overlayfs {
            $(#[tokio::test] async fn $test() { super::$test(&super::Fixture::new("overlayfs")).await; })*
        }
        mod native {
            $(#[tokio::test] async fn $test() { super::$test(&super::Fixture::new("native")).await; })*
        }
    };
}
pub(crate) use with_each_snapshotter;

/// A snapshotter in a temporary root.
struct Fixture {
    root: TempDir,
    name: &'static str,
    snapshotter: Snapshotter,
    store: metadata::Store,
    events: Bus,
    ns: Namespace,
}

impl Fixture {
    fn new(name: &'static str) -> Fixture {
        Fixture::open(tempfile::tempdir().unwrap(), name)
    }

    fn open(root: TempDir, name: &'static str) -> Fixture {
        let events = Bus::new();
        let store = metadata::Store::open(&root.path().join("metadata")).unwrap();
        let all = Snapshotters::open(root.path(), store.clone(), events.clone()).unwrap();
        assert_eq!(all.names(), ["native", "overlayfs"]);
        let snapshotter = all.get(name).unwrap();
        Fixture { root, name, snapshotter, store, events, ns: Namespace::parse("default").unwrap() }
    }

    /// As after the daemon was stopped and started.
    fn reopen(self) -> Fixture {
        let Fixture { root, name, snapshotter, store, events, .. } = self;
        drop((snapshotter, events, store));
        Fixture::open(root, name)
    }

    /// The store is gone; the folders are there.
    fn forget_everything(self) -> TempDir {
        let Fixture { root, snapshotter, events, store, .. } = self;
        drop((snapshotter, events, store));
        std::fs::remove_dir_all(root.path().join("metadata")).unwrap();
        root
    }

    fn store(&self) -> metadata::Store {
        self.store.clone()
    }

    /// Where the snapshots' folders are.
    fn folder(&self) -> PathBuf {
        let store = format!("io.containerd.snapshotter.v1.{}", self.name);
        self.root.path().join(store).join("snapshots")
    }

    /// The names in that folder, after all removals.
    async fn folders(&self) -> Vec<String> {
        self.snapshotter.cleanup().await.unwrap();
        let mut names: Vec<String> = std::fs::read_dir(self.folder())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            // What is made ahead for the next.
            .filter(|name| self.snapshotter.name() != "overlayfs" || !name.starts_with("new-"))
            .collect();
        names.sort();
        names
    }

    fn mounted(&self, mounts: &[Mount]) -> TemporaryMount {
        TemporaryMount::new(&self.root.path().join("mounts"), mounts).unwrap()
    }

    async fn prepare(&self, key: &str, parent: &str) -> errors::Result<Vec<Mount>> {
        self.snapshotter.prepare(&self.ns, key, parent, Labels::new()).await
    }

    async fn view(&self, key: &str, parent: &str) -> errors::Result<Vec<Mount>> {
        self.snapshotter.view(&self.ns, key, parent, Labels::new()).await
    }

    async fn commit(&self, name: &str, key: &str) -> errors::Result<()> {
        self.snapshotter.commit(&self.ns, name, key, Labels::new()).await
    }

    async fn remove(&self, key: &str) -> errors::Result<()> {
        self.snapshotter.remove(&self.ns, key).await
    }

    /// Commits `name` on `parent` with whatever `write` does to it.
    async fn layer(&self, name: &str, parent: &str, write: impl FnOnce(&Path)) {
        let key = format!("making-{name}");
        let mounts = self.prepare(&key, parent).await.unwrap();
        let mounted = self.mounted(&mounts);
        write(mounted.path());
        mounted.close().unwrap();
        self.commit(name, &key).await.unwrap();
    }

    /// The names in the root of a view of `parent`.
    async fn seen(&self, parent: &str) -> Vec<String> {
        let mounts = self.view("looking", parent).await.unwrap();
        let mounted = self.mounted(&mounts);
        let names = names(mounted.path());
        mounted.close().unwrap();
        self.remove("looking").await.unwrap();
        names
    }
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn kind<T>(result: errors::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("should have failed"),
        Err(error) => error.kind(),
    }
}
