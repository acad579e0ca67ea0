//! One snapshotter's calls: the records, and the backend's files in step with them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use errors::{Error, Kind as ErrorKind, Result};
use events::Bus;
use filters::Filters;
use ids::{Labels, Namespace};
use metadata::{Store, Transaction};
use proto_containerd::events::{SnapshotCommit, SnapshotPrepare, SnapshotRemove};

use crate::backend::Backend;
use crate::record::{self, CHILDREN, Read, Record, SNAPSHOTS, exists, missing};
use crate::remover::Remover;
use crate::{Info, Kind, Mount, Usage, sweep, tree};

/// Names the snapshot that a preparation is for; when that exists already, there is nothing to prepare.
const TARGET: &str = "containerd.io/snapshot.ref";
/// Labels that ask for ids to be mapped, which is not served.
const MAPPINGS: [&str; 2] = ["containerd.io/snapshot/uidmapping", "containerd.io/snapshot/gidmapping"];

/// One snapshotter with its records. Publishes /snapshot/{prepare,commit,remove}. Cheap to clone.
#[derive(Clone)]
pub struct Snapshotter {
    backend: Arc<dyn Backend>,
    store: Store,
    events: Bus,
    remover: Remover,
    numbers: Arc<Numbers>,
}

/// Hands out folder names, each once.
struct Numbers {
    next: AtomicU64,
    /// Those whose folder is there, or about to be, and whose record is not yet.
    busy: Mutex<BTreeSet<u64>>,
}

/// A number while its snapshot is being made.
struct Number<'a> {
    numbers: &'a Numbers,
    id: u64,
}

impl Snapshotter {
    /// Takes up what is there: removes folders that no record names (in the background).
    pub(crate) fn open(backend: Arc<dyn Backend>, store: Store, events: Bus) -> Result<Snapshotter> {
        let found = sweep::folders(&*backend)?;
        let records = sweep::records(&store, backend.name())?;
        let number = |name: &str| name.strip_prefix("new-").unwrap_or(name).parse::<u64>().ok();
        let highest = found
            .iter()
            .filter_map(|name| number(name))
            .chain(records.iter().map(|(_, _, record)| record.id))
            .max();
        let remover = Remover::start()?;
        for folder in sweep::leftovers(&*backend, found, &BTreeSet::new(), &records) {
            remover.remove(folder);
        }
        sweep::restore(&*backend, &store, &records)?;
        let numbers =
            Numbers { next: AtomicU64::new(highest.unwrap_or(0) + 1), busy: Mutex::new(BTreeSet::new()) };
        Ok(Snapshotter { backend, store, events, remover, numbers: Arc::new(numbers) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.backend.name()
    }

    /// The record under `key`.
    pub fn stat(&self, namespace: &Namespace, key: &str) -> Result<Info> {
        Ok(self.find(namespace, key)?.into_info(key))
    }

    fn find(&self, namespace: &Namespace, key: &str) -> Result<Record> {
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
    async fn create(
        &self,
        namespace: &Namespace,
        kind: Kind,
        key: &str,
        parent: &str,
        labels: Labels,
    ) -> Result<Vec<Mount>> {
        let labels = check(key, labels)?;
        let plan = Plan { names: self.names(namespace, key), kind, parent: parent.to_owned(), labels };
        let parents = plan.check(&self.store.read())?;
        let this = self.clone();
        to_end(async move { this.carry_out(plan, parents).await }).await
    }

    async fn carry_out(&self, plan: Plan, parents: Vec<u64>) -> Result<Vec<Mount>> {
        let kind = plan.kind;
        let number = self.numbers.take();
        let id = number.id;
        let made = self.make(id, kind, parents.clone()).await;
        let recorded = match made {
            Ok(()) => self.store.write(move |transaction| plan.record(transaction, id)).await,
            Err(error) => Err(error),
        };
        drop(number);
        if let Err(error) = recorded {
            self.remover.remove(self.backend.folder().join(id.to_string()));
            return Err(error);
        }
        Ok(self.backend.mounts(id, kind, &parents))
    }

    async fn make(&self, id: u64, kind: Kind, parents: Vec<u64>) -> Result<()> {
        let backend = self.backend.clone();
        blocking(move || backend.create(id, kind, &parents)).await
    }

    /// Finishes the active snapshot `key` as `name`; durable (its files are synced) when this returns.
    pub async fn commit(&self, namespace: &Namespace, name: &str, key: &str, labels: Labels) -> Result<()> {
        let labels = check(name, labels)?;
        let names = self.names(namespace, key);
        let target = name.to_owned();
        check_commit(&self.store.read(), &names, &target)?;
        let id = self.find(namespace, key)?.id;
        let tree = self.backend.tree(id);
        let usage = blocking(move || {
            tree::sync(&tree)?;
            tree::usage(&tree)
        })
        .await?;
        self.store
            .write(move |transaction| {
                let [namespace, snapshotter, key] = &names;
                let old = check_commit(transaction, &names, &target)?;
                let mut new = Record::new(old.id, Kind::Committed, &old.parent, labels);
                new.usage = Some(usage);
                transaction.delete(&SNAPSHOTS, &[namespace, snapshotter, key])?;
                transaction.put(&SNAPSHOTS, &[namespace, snapshotter, &target], &new)?;
                if !new.parent.is_empty() {
                    transaction.delete(&CHILDREN, &[namespace, snapshotter, &new.parent, key])?;
                    transaction.put(&CHILDREN, &[namespace, snapshotter, &new.parent, &target], &())?;
                }
                Ok(())
            })
            .await?;
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
        let (this, owner, name) = (self.clone(), namespace.clone(), key.to_owned());
        let id = self.store.write(move |transaction| this.forget(transaction, &owner, &name)).await?;
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
            let busy = this.numbers.lock().clone();
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

/// A snapshot about to be made.
struct Plan {
    /// Namespace, snapshotter, key.
    names: [String; 3],
    kind: Kind,
    parent: String,
    labels: Labels,
}

impl Plan {
    /// May it be made? Returns its parents' numbers. Asked before the folder is made, and again in the transaction.
    fn check(&self, reader: &impl Read) -> Result<Vec<u64>> {
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

    fn record(self, transaction: &mut metadata::Transaction<'_>, id: u64) -> Result<()> {
        self.check(transaction)?;
        let [namespace, snapshotter, key] = &self.names;
        let record = Record::new(id, self.kind, &self.parent, self.labels);
        transaction.put(&SNAPSHOTS, &[namespace, snapshotter, key], &record)?;
        if !self.parent.is_empty() {
            transaction.put(&CHILDREN, &[namespace, snapshotter, &self.parent, key], &())?;
        }
        Ok(())
    }
}

/// May the snapshot under `names` be committed as `target`?
fn check_commit(reader: &impl Read, names: &[String; 3], target: &str) -> Result<Record> {
    let [namespace, snapshotter, key] = names;
    if reader.get(&SNAPSHOTS, &[namespace, snapshotter, target])?.is_some() {
        return Err(exists(target));
    }
    let record = reader.get(&SNAPSHOTS, &[namespace, snapshotter, key])?.ok_or_else(|| missing(key))?;
    if record.kind != Kind::Active {
        return Err(Error::precondition(format!("snapshot {key:?} is not active: failed precondition")));
    }
    Ok(record)
}

fn check(key: &str, mut labels: Labels) -> Result<Labels> {
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

impl Numbers {
    fn take(&self) -> Number<'_> {
        let mut busy = self.lock();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        busy.insert(id);
        Number { numbers: self, id }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Number<'_> {
    fn drop(&mut self) {
        self.numbers.lock().remove(&self.id);
    }
}

/// Goes on when the caller goes away: a folder must not lose its number while it is being made.
async fn to_end<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    finished(tokio::spawn(work).await)
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    finished(tokio::task::spawn_blocking(work).await)
}

fn finished<T>(joined: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| {
        Err(Error::with_source(ErrorKind::Internal, "work on a snapshot did not finish", error))
    })
}
