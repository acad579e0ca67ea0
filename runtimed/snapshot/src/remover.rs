//! A thread that removes folders, so that nobody waits for a big tree.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use errors::{Context, Error, Kind, Result};

use crate::tree;

/// How many folders may wait. One too many is left lying, and the next sweep finds it.
const QUEUE: usize = 1024;

/// Hands folders to the thread, which ends when the last of these is gone and its work is done.
#[derive(Clone)]
pub(crate) struct Remover {
    queue: SyncSender<Work>,
}

enum Work {
    Remove(PathBuf),
    Answer(tokio::sync::oneshot::Sender<()>),
}

impl Remover {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Remover> {
        let (queue, work) = sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("snapshot-remove".to_owned())
            .spawn(move || run(work))
            .context(|| "start the thread that removes snapshots")?;
        Ok(Remover { queue })
    }

    /// Removes the folder soon.
    pub(crate) fn remove(&self, path: PathBuf) {
        if let Err(TrySendError::Full(Work::Remove(path))) = self.queue.try_send(Work::Remove(path)) {
            tracing::warn!(path = %path.display(), "too many removals wait; the folder is left to the next cleanup");
        }
    }

    /// Waits until everything handed over before is gone.
    pub(crate) async fn settle(&self) -> Result<()> {
        let gone = || Error::new(Kind::Internal, "the thread that removes snapshots has ended");
        let (answer, done) = tokio::sync::oneshot::channel();
        let queue = self.queue.clone();
        // The queue may be full: waiting for room is work for a thread that may block.
        tokio::task::spawn_blocking(move || queue.send(Work::Answer(answer)).is_ok())
            .await
            .ok()
            .filter(|sent| *sent)
            .ok_or_else(gone)?;
        done.await.map_err(|_| gone())
    }
}

fn run(work: Receiver<Work>) {
    for item in work {
        match item {
            Work::Remove(path) => {
                let _step = marks::begun("snapshot.remove.folder");
                if let Err(error) = tree::remove(&path) {
                    tracing::warn!(path = %path.display(), error = error.chain(), "snapshot folder left behind");
                }
            }
            // Who asked may have gone away.
            Work::Answer(answer) => drop(answer.send(())),
        }
    }
}
