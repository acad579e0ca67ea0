//! The handle that rooms keep.

use std::future::Future;
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::thread::{self, JoinHandle};

use errors::{Context, Error, Result};
use tokio::sync::mpsc;

use crate::disk::Disk;
use crate::gate::Gate;
use crate::reader::Reader;
use crate::transaction::Transaction;
use crate::writer::{self, Job};

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
}

struct Inner {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Job>>,
    gate: Gate,
    writer: Option<JoinHandle<()>>,
}

impl Store {
    /// Opens, or creates, the store in `directory`. One process may have it open: another's is `Unavailable`. No error
    /// deletes anything, and each names the directory.
    pub fn open(directory: &Path) -> Result<Store> {
        let shared = Arc::new(Shared { disk: Disk::open(directory)?, still: RwLock::new(()) });
        let (queue, jobs) = mpsc::channel(writer::QUEUE);
        let writer = thread::Builder::new()
            .name("metadata".to_owned())
            .spawn({
                let shared = shared.clone();
                move || writer::run(shared, jobs)
            })
            .context(|| "start the metadata writer")?;
        let inner = Inner { shared, queue: Some(queue), gate: Gate::default(), writer: Some(writer) };
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
        let (job, answer) = writer::job(change);
        {
            let _passed = self.inner.gate.pass().await;
            self.send(job).await?;
        }
        answer.await.unwrap_or_else(|_| Err(writer::panicked()))
    }

    /// Runs `work` while every other task's writes wait, so that what `work` reads stays so until it acts. Only the task
    /// that runs `work` may write meanwhile, not tasks that it spawns; it must be short.
    pub async fn exclusive<T>(&self, work: impl Future<Output = T>) -> T {
        let settle = async {
            // What passed the gate before is in the queue before this.
            let (job, answer) = writer::job(|_| Ok(()));
            if self.send(job).await.is_ok() {
                drop(answer.await);
            }
        };
        self.inner.gate.hold(settle, work).await
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    async fn send(&self, job: Job) -> Result<()> {
        let stopped = || Error::internal("the metadata writer has stopped");
        let queue = self.inner.queue.as_ref().ok_or_else(stopped)?;
        queue.send(job).await.map_err(|_| stopped())
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
