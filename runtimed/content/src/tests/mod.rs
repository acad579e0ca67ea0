//! The store as its callers see it, on a real folder.

mod blobs;
mod full;
mod ingests;
mod model;
mod power;
mod restart;

use std::path::PathBuf;

use bytes::Bytes;
use errors::Kind;
use events::Bus;
use ids::{Digest, Labels, Namespace};
use tempfile::TempDir;

use crate::hasher::Hasher;
use crate::{Content, Layout};

/// A store in a temporary root, and what it takes to open it again.
struct Fixture {
    root: TempDir,
    content: Content,
    events: Bus,
}

impl Fixture {
    fn new() -> Fixture {
        let root = tempfile::tempdir().unwrap();
        let (content, events) = open(&root);
        Fixture { root, content, events }
    }

    /// As after the daemon was stopped and started.
    fn reopen(self) -> Fixture {
        let Fixture { root, content, events } = self;
        drop((content, events));
        let (content, events) = open(&root);
        Fixture { root, content, events }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        Layout::below(self.root.path()).blob(digest)
    }

    /// Names of what lies in the ingest folder.
    fn ingest_folders(&self) -> usize {
        std::fs::read_dir(Layout::below(self.root.path()).ingests()).unwrap().count()
    }

    async fn write(
        &self,
        namespace: &Namespace,
        reference: &str,
        data: &'static str,
    ) -> errors::Result<crate::Info> {
        let mut writer = self.content.writer(namespace, reference, 0, None).await?;
        writer.write(0, Bytes::from_static(data.as_bytes())).await?;
        writer.commit(data.len() as u64, Some(&digest(data)), Labels::new()).await
    }
}

fn open(root: &TempDir) -> (Content, Bus) {
    let events = Bus::new();
    let store = metadata::Store::open(&root.path().join("metadata")).unwrap();
    (Content::open(root.path(), store, events.clone()).unwrap(), events)
}

fn namespace(name: &str) -> Namespace {
    Namespace::parse(name).unwrap()
}

fn digest(data: &str) -> Digest {
    let mut hasher = Hasher::new(ids::Algorithm::Sha256);
    hasher.update(data.as_bytes());
    hasher.digest().unwrap()
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn kind<T>(result: errors::Result<T>) -> Kind {
    match result {
        Ok(_) => panic!("should have failed"),
        Err(error) => error.kind(),
    }
}
