//! Runs collections, one at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use errors::{Error, Kind, Result, WithKind};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::heap::Heap;
use crate::schedule::{Pace, Schedule};

/// How many may wait for a collection to be taken note of; more wait to wait.
const WAITERS: usize = 64;

/// Runs collections: one at a time, after enough changes, or at once on demand. Ends with its last clone.
#[derive(Clone)]
pub struct Collector {
    deletions: Arc<Deletions>,
    requests: mpsc::Sender<Waiter>,
}

#[derive(Default)]
struct Deletions {
    count: AtomicU64,
    more: Notify,
}

type Waiter = oneshot::Sender<Result<()>>;

/// The task's own state.
struct Worker<H> {
    heap: Arc<H>,
    schedule: Schedule,
    deletions: Arc<Deletions>,
    requests: mpsc::Receiver<Waiter>,
    changes: watch::Receiver<u64>,
    /// Those that the next collection answers.
    waiters: Vec<Waiter>,
    pace: Pace,
    /// When the next collection comes, if one is wanted.
    due: Option<Instant>,
    /// When the last collection ended, and how many changes there were.
    last: Instant,
    last_changes: u64,
}

impl Collector {
    /// Starts the collector's task with containerd's default schedule. Call it within a runtime.
    pub fn start(heap: Arc<impl Heap>) -> Collector {
        Collector::start_with(heap, Schedule::default())
    }

    /// Starts the collector's task.
    pub fn start_with(heap: Arc<impl Heap>, schedule: Schedule) -> Collector {
        let deletions = Arc::new(Deletions::default());
        let (requests, receiver) = mpsc::channel(WAITERS);
        let mut changes = heap.changes();
        let (now, last_changes) = (Instant::now(), *changes.borrow_and_update());
        let worker = Worker {
            heap,
            deletions: deletions.clone(),
            requests: receiver,
            waiters: Vec::new(),
            pace: Pace::default(),
            due: Some(now + schedule.startup_delay),
            last: now,
            last_changes,
            changes,
            schedule,
        };
        tokio::spawn(worker.run());
        Collector { deletions, requests }
    }

    /// Something was deleted or a lease ended: collect soon.
    pub fn schedule(&self) {
        self.deletions.count.fetch_add(1, Ordering::Relaxed);
        self.deletions.more.notify_one();
    }

    /// Collects and waits for the end: a collection that began after this call.
    pub async fn collect(&self) -> Result<()> {
        let ended = || Error::unavailable("the garbage collector has ended");
        let (waiter, answer) = oneshot::channel();
        self.requests.send(waiter).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl<H: Heap> Worker<H> {
    async fn run(mut self) {
        while self.wait().await {
            // Whoever asked by now is answered by this collection; who asks later waits for the next.
            while let Ok(waiter) = self.requests.try_recv() {
                self.waiters.push(waiter);
            }
            self.deletions.count.store(0, Ordering::Relaxed);
            let start = Instant::now();
            let result = collect(&self.heap).await;
            self.last = Instant::now();
            self.last_changes = *self.changes.borrow_and_update();
            self.due = self.heap.has_leftovers().then(|| self.again());
            match &result {
                Ok(removed) => {
                    self.pace.collected(start.elapsed());
                    tracing::trace!(removed, took = ?start.elapsed(), "garbage collected");
                }
                Err(error) => {
                    // Those who wait are told; otherwise nobody would know.
                    if self.waiters.is_empty() {
                        tracing::error!(error = error.chain(), "garbage collection failed");
                    }
                    self.due = Some(self.again());
                }
            }
            self.answer(&result);
        }
    }

    /// Waits until a collection is due or asked for; `false` when the daemon goes down.
    async fn wait(&mut self) -> bool {
        let deletions = self.deletions.clone();
        loop {
            let due = self.due.map(tokio::time::Instant::from_std);
            tokio::select! {
                request = self.requests.recv() => {
                    self.waiters.extend(request);
                    return !self.waiters.is_empty();
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                    return true;
                }
                () = deletions.more.notified() => self.deleted(),
                Ok(()) = self.changes.changed() => self.changed(),
            }
        }
    }

    fn deleted(&mut self) {
        let count = self.deletions.count.load(Ordering::Relaxed);
        let threshold = self.schedule.deletion_threshold;
        if threshold > 0 && count >= threshold {
            let soon = Instant::now() + self.schedule.schedule_delay;
            self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
        } else if count > 0 {
            self.when_allowed();
        }
    }

    fn changed(&mut self) {
        let count = *self.changes.borrow_and_update() - self.last_changes;
        if self.schedule.mutation_threshold > 0 && count >= self.schedule.mutation_threshold {
            self.when_allowed();
        }
    }

    /// A collection is wanted: it comes when the share of time allows it.
    fn when_allowed(&mut self) {
        let earliest = Instant::now() + self.schedule.schedule_delay;
        self.due.get_or_insert(earliest.max(self.last + self.pace.interval(self.schedule.pause_threshold)));
    }

    /// When to try again what failed.
    fn again(&self) -> Instant {
        self.last + self.pace.interval(self.schedule.pause_threshold) + self.schedule.retry_delay
    }

    fn answer(&mut self, result: &Result<usize>) {
        for waiter in self.waiters.drain(..) {
            let answer = match result {
                Ok(_) => Ok(()),
                Err(error) => {
                    Err(Error::new(error.kind(), format!("garbage collection failed: {}", error.chain())))
                }
            };
            // Who went away does not care.
            let _ = waiter.send(answer);
        }
    }
}

/// Looks, and sweeps only when there is something: most looks find nothing, and hold nobody up.
async fn collect<H: Heap>(heap: &Arc<H>) -> Result<usize> {
    let looking = heap.clone();
    let look = tokio::task::spawn_blocking(move || looking.graph().map(|graph| graph.unreachable().len()));
    match look.await.kind(Kind::Internal, || "look for garbage")?? {
        0 if !heap.has_leftovers() => Ok(0),
        _ => heap.sweep().await,
    }
}
