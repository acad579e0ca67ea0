//! One snapshotter's calls: the records, and the backend's files in step with them.

use std::sync::Arc;

use errors::{Error, Kind as ErrorKind, Result};
use events::Bus;
use filters::Filters;
use ids::{Labels, Namespace};
use metadata::{Store, Transaction};
use proto_containerd::events::{SnapshotCommit, SnapshotPrepare, SnapshotRemove};

use crate::backend::Backend;
use crate::numbers::Numbers;
use crate::plan::{self, Commit, Creation};
use crate::record::{self, CHILDREN, Record, SNAPSHOTS};
use crate::remover::Remover;
use crate::spare::Spare;
use crate::{Info, Kind, Mount, Usage, sweep, tree};

/// One snapshotter with its records. Publishes /snapshot/{prepare,commit,remove}. Cheap to clone.
#[derive(Clone)]
pub struct Snapshotter {
    backend: Arc<dyn Backend>,
    store: Store,
    events: Bus,
    remover: Remover,
    numbers: Arc<Numbers>,
    spare: Spare,
}

impl Snapshotter {
    /// Takes up what is there: removes folders that no record names (in the background).
    pub(crate) fn open(backend: Arc<dyn Backend>, store: Store, events: Bus) -> Result<Snapshotter> {
        let _step = marks::step("snapshot.open.sweep")?;
        let found = sweep::folders(&*backend)?;
        let records = sweep::records(&store, backend.name())?;
        let number = |name: &str| name.strip_prefix("new-").unwrap_or(name).parse::<u64>().ok();
        let highest = found
            .iter()
            .filter_map(|name| number(name))
            .chain(records.iter().map(|(_, _, record)| record.id))
            .max();
        let remover = Remover::start()?;
        // What is in the way of one that is made anew goes first, and not in the background.
        let lost = sweep::restore(&*backend, &store, &records)?;
        for folder in sweep::leftovers(&*backend, found, &lost, &records) {
            remover.remove(folder);
        }
        let numbers = Arc::new(Numbers::after(highest.unwrap_or(0)));
        let spare = Spare::new(backend.clone(), numbers.clone());
        Ok(Snapshotter { backend, store, events, remover, numbers, spare })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.backend.name()
    }

    /// The folder with a folder for each snapshot, named by a number. Other names are left alone.
    pub fn folder(&self) -> &std::path::Path {
        self.backend.folder()
    }

    /// The record under `key`.
    pub fn stat(&self, namespace: &Namespace, key: &str) -> Result<Info> {
        Ok(self.find(namespace, key)?.into_info(key))
    }

    pub(crate) fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn events(&self) -> &Bus {
        &self.events
    }

    pub(crate) fn find(&self, namespace: &Namespace, key: &str) -> Result<Record> {
        record::find(&self.store.read(), namespace.as_str(), self.name(), key)
    }

    /// Changes labels: those that `mask` names, or all when it is empty. An empty value deletes the label.
    pub async fn update(
        &self,
        namespace: &Namespace,
        key: &str,
        labels: Labels,
        mask: &[String],
    ) -> Result<Info> {
        let names = self.names(namespace, key);
        let mask = mask.to_vec();
        self.store
            .write(move |transaction| {
                let [namespace, snapshotter, key] = &names;
                let mut record = record::find(transaction, namespace, snapshotter, key)?;
                record.set_labels(key, labels, &mask)?;
                transaction.put(&SNAPSHOTS, &[namespace, snapshotter, key], &record)?;
                Ok(record.into_info(key))
            })
            .await
    }

    /// Disk usage without parents: counted for an active snapshot, remembered for a committed one, nothing for a view.
    pub async fn usage(&self, namespace: &Namespace, key: &str) -> Result<Usage> {
        let record = self.find(namespace, key)?;
        match (record.kind, record.usage) {
            (Kind::View, _) => Ok(Usage::default()),
            (Kind::Committed, Some(usage)) => Ok(usage),
            _ => {
                let tree = self.backend.tree(record.id);
                blocking(move || tree::usage(&tree)).await
            }
        }
    }

    /// How to mount an active snapshot or a view.
    pub fn mounts(&self, namespace: &Namespace, key: &str) -> Result<Vec<Mount>> {
        let record = self.find(namespace, key)?;
        if record.kind == Kind::Committed {
            return Err(Error::precondition(format!(
                "requested snapshot {key} not active or view: failed precondition"
            )));
        }
        let parents = record::parents(&self.store.read(), namespace.as_str(), self.name(), &record.parent)?;
        Ok(self.backend.mounts(record.id, record.kind, &parents))
    }

    /// Makes a writable snapshot on `parent` (empty: none).
    pub async fn prepare(
        &self,
        namespace: &Namespace,
        key: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<Vec<Mount>> {
        let mounts = self.create(namespace, Kind::Active, key, parent, labels).await?;
        let event = SnapshotPrepare {
            key: key.to_owned(),
            parent: parent.to_owned(),
            snapshotter: self.name().to_owned(),
        };
        self.events.publish(namespace, "/snapshot/prepare", &event);
        Ok(mounts)
    }

    /// Makes a read-only snapshot on `parent`.
    pub async fn view(
        &self,
        namespace: &Namespace,
        key: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<Vec<Mount>> {
        self.create(namespace, Kind::View, key, parent, labels).await
    }

    /// Folder first, then record: one transaction. Nothing is synced here, see `sweep::restore`.
    pub(crate) async fn create(
        &self,
        namespace: &Namespace,
        kind: Kind,
        key: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<Vec<Mount>> {
        let labels = plan::check(key, labels)?;
        let creation =
            Creation { names: self.names(namespace, key), kind, parent: parent.to_owned(), labels };
        let parents = creation.check(&self.store.read())?;
        let this = self.clone();
        to_end(async move { this.carry_out(creation, parents).await }).await
    }

    async fn carry_out(&self, creation: Creation, parents: Vec<u64>) -> Result<Vec<Mount>> {
        let step = marks::step("snapshot.prepare.folder")?;
        let kind = creation.kind;
        let spare = self.spare.take(kind);
        let is_spare = spare.is_some();
        let number = spare.unwrap_or_else(|| self.numbers.take());
        let id = number.id;
        let made = self.make(id, kind, parents.clone(), is_spare).await;
        drop(step);
        let recorded = match made.and_then(|()| Ok(marks::step("snapshot.prepare.record")?)) {
            Ok(_step) => {
                let parents = parents.clone();
                self.store.write(move |transaction| creation.record(transaction, id, &parents)).await
            }
            Err(error) => Err(error),
        };
        drop(number);
        if let Err(error) = recorded {
            for part in [id.to_string(), format!("new-{id}")] {
                self.remover.remove(self.backend.folder().join(part));
            }
            return Err(error);
        }
        if kind == Kind::Active {
            self.spare.renew();
        }
        Ok(self.backend.mounts(id, kind, &parents))
    }

    async fn make(&self, id: u64, kind: Kind, parents: Vec<u64>, is_spare: bool) -> Result<()> {
        let backend = self.backend.clone();
        blocking(move || match is_spare {
            true => backend.use_draft(id, &parents),
            false => backend.create(id, kind, &parents),
        })
        .await
    }

    /// Finishes the active snapshot `key` as `name`; durable (its files are synced) when this returns.
    pub async fn commit(&self, namespace: &Namespace, name: &str, key: &str, labels: Labels) -> Result<()> {
        let labels = plan::check(name, labels)?;
        let commit = Commit { names: self.names(namespace, key), target: name.to_owned(), labels };
        let id = commit.check(&self.store.read())?.id;
        let mut step = marks::step("snapshot.commit.sync")?;
        let tree = self.backend.tree(id);
        let synced = blocking(move || {
            tree::sync(&tree)?;
            tree::usage(&tree)
        });
        let usage = match synced.await {
            Err(error) if error.is_not_found() => {
                // Removed meanwhile? Then that is what is to be told.
                commit.check(&self.store.read())?;
                return Err(error);
            }
            usage => usage?,
        };
        step.next("snapshot.commit.record")?;
        self.store.write(move |transaction| commit.record(transaction, id, usage)).await?;
        marks::passed("snapshot.commit.done");
        let event = SnapshotCommit {
            key: key.to_owned(),
            name: name.to_owned(),
            snapshotter: self.name().to_owned(),
        };
        self.events.publish(namespace, "/snapshot/commit", &event);
        Ok(())
    }

    /// Removes a snapshot without children. Its folder goes in the background; see [`Snapshotter::cleanup`].
    pub async fn remove(&self, namespace: &Namespace, key: &str) -> Result<()> {
        let _step = marks::step("snapshot.remove.record")?;
        let (this, owner, name) = (self.clone(), namespace.clone(), key.to_owned());
        let id = self.store.write(move |transaction| this.forget(transaction, &owner, &name)).await?;
        marks::passed("snapshot.remove.recorded");
        // Should the caller go away before this, the folder waits for the next cleanup.
        self.reap(namespace, key, id);
        Ok(())
    }

    /// Removes the record of a snapshot without children within `transaction`, and returns its folder's number for
    /// [`Snapshotter::reap`], which follows once that is written.
    pub fn forget(&self, transaction: &mut Transaction<'_>, namespace: &Namespace, key: &str) -> Result<u64> {
        let (namespace, snapshotter) = (namespace.as_str(), self.name());
        let record = record::find(transaction, namespace, snapshotter, key)?;
        if !transaction.scan(&CHILDREN, &[namespace, snapshotter, key])?.is_empty() {
            return Err(Error::precondition("cannot remove snapshot with child: failed precondition"));
        }
        transaction.delete(&SNAPSHOTS, &[namespace, snapshotter, key])?;
        if !record.parent.is_empty() {
            transaction.delete(&CHILDREN, &[namespace, snapshotter, &record.parent, key])?;
        }
        Ok(record.id)
    }

    /// What is left to do when a snapshot's record is gone: its folder goes in the background, and the removal is told.
    pub fn reap(&self, namespace: &Namespace, key: &str, id: u64) {
        self.remover.remove(self.backend.folder().join(id.to_string()));
        let event = SnapshotRemove { key: key.to_owned(), snapshotter: self.name().to_owned() };
        self.events.publish(namespace, "/snapshot/remove", &event);
    }

    /// The snapshots that `filters` (fields kind, name, parent, labels) let through, in name order.
    pub fn list(&self, namespace: &Namespace, filters: &[String]) -> Result<Vec<Info>> {
        let filters = Filters::parse(filters)?;
        let records = self.store.read().scan(&SNAPSHOTS, &[namespace.as_str(), self.name()])?;
        Ok(records
            .into_iter()
            .filter_map(|(key, record)| Some(record.into_info(key.last()?)))
            .filter(|info| filters.matches(info))
            .collect())
    }

    /// The snapshots of every namespace, for garbage collection.
    pub fn all(&self) -> Result<Vec<(Namespace, Info)>> {
        sweep::records(&self.store, self.name())?
            .into_iter()
            .map(|(namespace, key, record)| Ok((Namespace::parse(&namespace)?, record.into_info(&key))))
            .collect()
    }

    /// Removes what removed snapshots left on disk, and waits until it is gone.
    pub async fn cleanup(&self) -> Result<()> {
        let this = self.clone();
        blocking(move || {
            // In this order: a snapshot that is being made is busy, or has its record, by the time that is asked.
            let found = sweep::folders(&*this.backend)?;
            let busy = this.numbers.busy();
            let records = sweep::records(&this.store, this.backend.name())?;
            for folder in sweep::leftovers(&*this.backend, found, &busy, &records) {
                this.remover.remove(folder);
            }
            Ok(())
        })
        .await?;
        self.remover.settle().await
    }

    fn names(&self, namespace: &Namespace, key: &str) -> [String; 3] {
        [namespace.to_string(), self.name().to_owned(), key.to_owned()]
    }
}

/// Goes on when the caller goes away: a folder must not lose its number while it is being made. Its writes are as durable as the caller's.
pub(crate) async fn to_end<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    finished(tokio::spawn(marks::carry(metadata::carry(work))).await)
}

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    finished(tokio::task::spawn_blocking(marks::carry_call(work)).await)
}

fn finished<T>(joined: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| {
        Err(Error::with_source(ErrorKind::Internal, "work on a snapshot did not finish", error))
    })
}
