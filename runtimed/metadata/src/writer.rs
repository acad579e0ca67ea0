//! The writer: one thread that runs transactions in groups; and the syncer: one that waits for the disk.
//!
//! A group is what waits when the writer comes back. Its transactions run one after another, each seeing those before;
//! then one frame of the log has what they changed, and the lazy ones are answered. The others are answered by the syncer,
//! which syncs once for all that gathered while it was at the disk; meanwhile the writer goes on. The syncer keeps up the copy, too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, PoisonError};

use errors::{Error, Kind, Result};
use tokio::sync::{mpsc, oneshot};

use crate::disk::{Changes, Disk};
use crate::log::frame;
use crate::store::Shared;
use crate::transaction::Transaction;

/// How many transactions may wait before callers do.
pub(crate) const QUEUE: usize = 256;
/// How many groups may wait for the disk before the writer does.
pub(crate) const GROUPS: usize = 64;
/// The most transactions in a group, and the bytes from which it takes no more: bounds what one write brings to disk.
const GROUP: usize = 128;
const GROUP_BYTES: u64 = 4 << 20;

/// When a transaction is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once it is on disk, with all before it: nothing that was answered is ever lost.
    Flushed,
    /// Once it is written to the file: a kill of the process cannot lose it, a power cut may, together with all that came
    /// after it and was not flushed. The next flush of any transaction brings it to disk.
    Lazy,
}

/// A transaction with its way back to the caller.
pub(crate) struct Job {
    company: Company,
    durability: Durability,
    run: Box<dyn FnOnce(&mut Transaction<'_>) -> Answer + Send>,
}

/// Whom a transaction may share its group with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// Any others of this sort.
    Group,
    /// Nobody.
    None,
}

/// Tells the caller, once it is known how the group went.
pub(crate) type Answer = Box<dyn FnOnce(Result<()>) + Send>;

/// The transactions that are written together.
#[derive(Default)]
struct Group {
    changes: Changes,
    answers: Vec<(Durability, Answer)>,
}

impl Job {
    /// Makes a job of a closure, and the receiver of its result.
    pub(crate) fn new<T: Send + 'static>(
        company: Company,
        durability: Durability,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> (Job, oneshot::Receiver<Result<T>>) {
        let (sender, receiver) = oneshot::channel();
        let run = Box::new(move |transaction: &mut Transaction<'_>| {
            let result = change(transaction);
            if result.is_err() {
                transaction.roll_back();
            }
            // A caller that went away misses only the answer.
            Box::new(move |written: Result<()>| drop(sender.send(written.and(result)))) as Answer
        });
        (Job { company, durability, run }, receiver)
    }
}

/// Runs jobs until the last store handle is gone.
pub(crate) fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Job>, disk: SyncSender<Vec<Answer>>) {
    let mut left = None;
    while let Some(first) = left.take().or_else(|| queue.blocking_recv()) {
        let mut group = Group::default();
        let shares = first.company == Company::Group;
        group.run(&shared.disk, first);
        while shares
            && group.answers.len() < GROUP
            && frame::body_length(&group.changes) < GROUP_BYTES
            && let Ok(next) = queue.try_recv()
        {
            if next.company == Company::None {
                left = Some(next);
                break;
            }
            group.run(&shared.disk, next);
        }
        group.finish(&shared, &disk);
        if shared.disk.wants_compaction(left.is_none() && queue.is_empty())
            && shared.broken().is_none()
            && let Err(error) = shared.disk.compact()
        {
            shared.fail(&error);
        }
    }
}

/// Syncs for those that wait for it, until the writer is gone; then whatever is left.
pub(crate) fn sync(shared: Arc<Shared>, groups: Receiver<Vec<Answer>>) {
    while let Ok(mut answers) = groups.recv() {
        while let Ok(more) = groups.try_recv() {
            answers.extend(more);
        }
        if !answers.is_empty() {
            let synced = shared.sync();
            for answer in answers {
                answer(synced.as_ref().map(|_| ()).map_err(again));
            }
            if synced.is_ok() {
                shared.disk.mark();
            }
        }
        shared.disk.catch_up();
    }
    shared.disk.catch_up();
    if shared.sync().is_ok() {
        shared.disk.mark();
    }
}

impl Shared {
    /// Brings to disk what is not, unless the store is broken.
    fn sync(&self) -> Result<()> {
        match self.broken() {
            Some(error) => Err(error),
            None if self.disk.waits() => {
                let step = marks::step("metadata.commit.sync").map_err(Error::from);
                let synced = step.and_then(|_step| self.disk.sync());
                synced
                    .inspect(|()| marks::passed("metadata.commit.synced"))
                    .inspect_err(|error| self.fail(error))
            }
            None => Ok(()),
        }
    }

    /// What is on disk is not known any more: nothing is written from now on.
    fn fail(&self, error: &Error) {
        tracing::error!(error = error.chain(), "the store failed: no more writes until a restart");
        let _ = self.broken.set(again(error));
    }

    fn broken(&self) -> Option<Error> {
        self.broken.get().map(again)
    }
}

impl Group {
    fn run(&mut self, disk: &Disk, job: Job) {
        let durability = job.durability;
        let mut transaction = Transaction::new(disk, &mut self.changes);
        match catch_unwind(AssertUnwindSafe(|| (job.run)(&mut transaction))) {
            Ok(answer) => self.answers.push((durability, answer)),
            // Its caller learns of it by the answer that never comes.
            Err(_) => transaction.roll_back(),
        }
    }

    /// Writes the changes, and answers those that do not wait for the disk.
    fn finish(self, shared: &Shared, disk: &SyncSender<Vec<Answer>>) {
        let written = match shared.broken() {
            // Also for those that changed nothing: what they saw may not be on disk.
            Some(error) => Err(error),
            None => self.write(shared),
        };
        let waits = written.is_ok() && shared.disk.waits();
        let mut flushed = Vec::new();
        for (durability, answer) in self.answers {
            match durability {
                Durability::Flushed if waits => flushed.push(answer),
                _ => answer(written.as_ref().map(|_| ()).map_err(again)),
            }
        }
        // The syncer outlives the writer.
        if !flushed.is_empty() {
            drop(disk.send(flushed));
        }
        if let Ok(Some(body)) = written {
            // The syncer sees to it, unless it is at the disk for long: whoever comes next shall not wait for the copy.
            if shared.disk.fall_behind(body) {
                shared.disk.catch_up();
            } else {
                // One that is busy looks again when it comes back.
                let _ = disk.try_send(Vec::new());
            }
        }
    }

    /// Writes the changes, if there are any, and returns them as they are written.
    fn write(&self, shared: &Shared) -> Result<Option<Vec<u8>>> {
        if self.changes.is_empty() {
            return Ok(None);
        }
        let _step = marks::step("metadata.commit.apply")?;
        let _still = shared.still.write().unwrap_or_else(PoisonError::into_inner);
        let body = shared.disk.apply(&self.changes)?;
        marks::passed("metadata.commit.applied");
        shared.written.send_modify(|count| *count += self.answers.len() as u64);
        Ok(Some(body))
    }
}

/// The same error for one more caller.
fn again(error: &Error) -> Error {
    Error::new(error.kind(), error.chain())
}

/// What a caller is told whose transaction panicked.
pub(crate) fn panicked() -> Error {
    Error::new(Kind::Internal, "a transaction panicked; nothing of it was written")
}
