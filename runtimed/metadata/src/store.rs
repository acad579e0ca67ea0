//! The handle that rooms keep.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock, RwLock};
use std::thread::{self, JoinHandle};

use errors::{Context, Error, Result};
use tokio::sync::{mpsc, watch};

use crate::disk::Disk;
use crate::reader::Reader;
use crate::scope;
use crate::transaction::Transaction;
use crate::writer::{self, Company, Durability, Job};

/// The store. Cheap to clone; the last clone's end closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What the writer and the readers share.
pub(crate) struct Shared {
    pub(crate) disk: Disk,
    /// Held for reading by readers, for writing while a batch is taken in: so readers see whole batches.
    pub(crate) still: RwLock<()>,
    /// How many transactions were written.
    pub(crate) written: watch::Sender<u64>,
    /// Why nothing is written any more.
    pub(crate) broken: OnceLock<Error>,
}

struct Inner {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Job>>,
    /// The writer, and the syncer, which ends after it.
    threads: Vec<JoinHandle<()>>,
}

impl Store {
    /// Opens, or creates, the store in `directory`. One process may have it open: another's is `Unavailable`. No error
    /// deletes anything, and each names the directory.
    pub fn open(directory: &Path) -> Result<Store> {
        Store::on(Disk::open(directory, None)?)
    }

    /// The same, with a second copy of the log in the directory `copy`, which is not waited for: [`crate::Salvage`] reads both.
    pub fn open_with_copy(directory: &Path, copy: &Path) -> Result<Store> {
        Store::on(Disk::open(directory, Some(copy))?)
    }

    /// A store over files that are open.
    pub(crate) fn on(disk: Disk) -> Result<Store> {
        let shared = Arc::new(Shared {
            disk,
            still: RwLock::new(()),
            written: watch::Sender::new(0),
            broken: OnceLock::new(),
        });
        let (queue, jobs) = mpsc::channel(writer::QUEUE);
        let (groups, waiting) = sync_channel(writer::GROUPS);
        let (writes, syncs) = (shared.clone(), shared.clone());
        let writer = start("metadata", move || writer::run(writes, jobs, groups))?;
        let syncer = start("metadata-sync", move || writer::sync(syncs, waiting))?;
        let inner = Inner { shared, queue: Some(queue), threads: vec![writer, syncer] };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Reads committed state, all of one instant, for as long as the reader lives.
    pub fn read(&self) -> Reader<'_> {
        Reader::new(&self.inner.shared)
    }

    /// Runs `change` as one transaction; when this returns `Ok`, it is on disk, and so is all that it saw. Transactions run one
    /// at a time: `change` must not wait for anything. It runs even if the caller stops waiting. A write that the disk
    /// refuses (no room) changes nothing; once a sync fails, this and every later write does. Within [`lazily`](crate::lazily) it
    /// is a lazy one.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.write_as(scope::durability(), change).await
    }

    /// Runs `change` as [`Store::write`] does, and answers as `durability` says. What other files' removal follows from must be
    /// flushed.
    pub async fn write_as<T: Send + 'static>(
        &self,
        durability: Durability,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Company::Group, durability, change).await
    }

    /// Runs `change` as [`Store::write`] does, in a group of its own: what it sees is what readers see, also readers that it
    /// opens itself. For changes that follow from a look at everything.
    pub async fn write_alone<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Company::None, Durability::Flushed, change).await
    }

    /// Waits until every lazy transaction that was answered is on disk.
    pub async fn flush(&self) -> Result<()> {
        self.write(|_| Ok(())).await
    }

    /// How many transactions have been written since the store was opened, as it goes up.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.inner.shared.written.subscribe()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    async fn run<T: Send + 'static>(
        &self,
        company: Company,
        durability: Durability,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let stopped = || Error::internal("the metadata writer has stopped");
        let _step = marks::step("metadata.write.queue")?;
        let (job, answer) = Job::new(company, durability, change);
        let queue = self.inner.queue.as_ref().ok_or_else(stopped)?;
        queue.send(job).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(writer::panicked()))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.take();
        // One of them may drop the last handle itself, at the end of a transaction that kept one. It cannot wait for itself.
        if self.threads.iter().all(|thread| thread.thread().id() != thread::current().id()) {
            // Waits for what is in hand; then the directory may be opened again.
            self.threads.drain(..).for_each(|thread| drop(thread.join()));
        }
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work).context(|| format!("start the thread {name}"))
}
