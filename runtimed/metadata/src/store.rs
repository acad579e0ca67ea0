//! The handle that rooms keep.

use std::path::Path;
use std::sync::{Arc, RwLock};
use std::thread::{self, JoinHandle};

use errors::{Context, Error, Result};
use tokio::sync::{mpsc, watch};

use crate::disk::Disk;
use crate::reader::Reader;
use crate::transaction::Transaction;
use crate::writer::{self, Company, Job};

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
}

struct Inner {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens, or creates, the store in `directory`. One process may have it open: another's is `Unavailable`. No error
    /// deletes anything, and each names the directory.
    pub fn open(directory: &Path) -> Result<Store> {
        let disk = Disk::open(directory)?;
        let shared = Arc::new(Shared { disk, still: RwLock::new(()), written: watch::Sender::new(0) });
        let (queue, jobs) = mpsc::channel(writer::QUEUE);
        let writer = thread::Builder::new()
            .name("metadata".to_owned())
            .spawn({
                let shared = shared.clone();
                move || writer::run(shared, jobs)
            })
            .context(|| "start the metadata writer")?;
        let inner = Inner { shared, queue: Some(queue), writer: Some(writer) };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Reads committed state, all of one instant, for as long as the reader lives.
    pub fn read(&self) -> Reader<'_> {
        Reader::new(&self.inner.shared)
    }

    /// Runs `change` as one transaction; when this returns `Ok`, it is on disk. Transactions run one at a time: `change`
    /// must not wait for anything. It runs even if the caller stops waiting. When the disk fails, this and every
    /// later write fails.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Company::Group, change).await
    }

    /// Runs `change` as [`Store::write`] does, in a group of its own: what it sees is what readers see, also readers that it
    /// opens itself. For changes that follow from a look at everything.
    pub async fn write_alone<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.run(Company::None, change).await
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
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let stopped = || Error::internal("the metadata writer has stopped");
        let (job, answer) = Job::new(company, change);
        let queue = self.inner.queue.as_ref().ok_or_else(stopped)?;
        queue.send(job).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(writer::panicked()))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.take();
        // The writer itself may drop the last handle, at the end of a transaction that kept one.
        if let Some(writer) =
            self.writer.take().filter(|writer| writer.thread().id() != thread::current().id())
        {
            // Waits for the group in hand; then the directory may be opened again.
            drop(writer.join());
        }
    }
}
