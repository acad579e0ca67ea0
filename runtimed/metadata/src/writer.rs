//! The writer: one thread that runs transactions in groups.
//!
//! A group is what waits when the writer comes back from a flush. Its transactions run one after another, each seeing
//! those before; then one batch, one flush, and all the answers. While the disk is busy the next group gathers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};

use errors::{Error, Kind, Result};
use tokio::sync::{mpsc, oneshot};

use crate::disk::{Changes, Disk};
use crate::store::Shared;
use crate::transaction::Transaction;

/// How many transactions may wait before callers do.
pub(crate) const QUEUE: usize = 256;
/// The most transactions in a group: bounds what one flush writes.
const GROUP: usize = 128;

/// A transaction with its way back to the caller.
pub(crate) struct Job {
    company: Company,
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

/// Tells the caller, once it is known whether the group is on disk.
pub(crate) type Answer = Box<dyn FnOnce(Result<()>) + Send>;

/// The transactions that are written together.
#[derive(Default)]
struct Group {
    changes: Changes,
    answers: Vec<Answer>,
}

impl Job {
    /// Makes a job of a closure, and the receiver of its result.
    pub(crate) fn new<T: Send + 'static>(
        company: Company,
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
        (Job { company, run }, receiver)
    }
}

/// Runs jobs until the last store handle is gone.
pub(crate) fn run(shared: Arc<Shared>, mut queue: mpsc::Receiver<Job>) {
    let mut broken: Option<Error> = None;
    let mut left = None;
    while let Some(first) = left.take().or_else(|| queue.blocking_recv()) {
        let mut group = Group::default();
        let shares = first.company == Company::Group;
        group.run(&shared.disk, first);
        while shares
            && group.answers.len() < GROUP
            && let Ok(next) = queue.try_recv()
        {
            if next.company == Company::None {
                left = Some(next);
                break;
            }
            group.run(&shared.disk, next);
        }
        finish(group, &shared, &mut broken);
    }
}

/// Writes the group, unless the store is broken, and answers.
fn finish(group: Group, shared: &Shared, broken: &mut Option<Error>) {
    let written = match &broken {
        // Also for those that changed nothing: what they saw may not be on disk.
        Some(error) => Err(again(error)),
        None => group.write(shared),
    };
    if let Err(error) = &written
        && broken.is_none()
    {
        tracing::error!(error = error.chain(), "the store failed: no more writes until a restart");
        *broken = Some(again(error));
    }
    group.answer(&written);
}

impl Group {
    fn run(&mut self, disk: &Disk, job: Job) {
        let mut transaction = Transaction::new(disk, &mut self.changes);
        match catch_unwind(AssertUnwindSafe(|| (job.run)(&mut transaction))) {
            Ok(answer) => self.answers.push(answer),
            // Its caller learns of it by the answer that never comes.
            Err(_) => transaction.roll_back(),
        }
    }

    /// Writes the changes, if there are any, and waits for the disk.
    fn write(&self, shared: &Shared) -> Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        {
            let _still = shared.still.write().unwrap_or_else(PoisonError::into_inner);
            shared.disk.apply(&self.changes)?;
        }
        shared.disk.flush()?;
        shared.written.send_modify(|count| *count += self.answers.len() as u64);
        Ok(())
    }

    fn answer(self, written: &Result<()>) {
        for answer in self.answers {
            answer(written.as_ref().map(|_| ()).map_err(again));
        }
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
