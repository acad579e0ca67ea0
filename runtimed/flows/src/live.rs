//! What the flows know of containers beyond their records: who works on one, and who waits for its end.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use errors::{Error, Result};
use ids::{ContainerId, Namespace};
use tokio::sync::{OwnedMutexGuard, watch};

/// How far a started container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It runs.
    Running,
    /// It has ended with this code, and that is on disk.
    Ended(u32),
    /// It has ended with this code and was removed.
    Removed(u32),
}

impl Progress {
    /// The exit code; 0 while it runs.
    pub fn code(&self) -> u32 {
        match self {
            Progress::Running => 0,
            Progress::Ended(code) | Progress::Removed(code) => *code,
        }
    }
}

/// One run of a container, from a start to its end.
#[derive(Clone)]
pub struct Run(watch::Sender<Progress>);

impl Run {
    /// Those who follow from now on see everything that comes.
    pub fn follow(&self) -> watch::Receiver<Progress> {
        self.0.subscribe()
    }

    /// The run went on to `progress`; those who wait are told.
    pub fn advance(&self, progress: Progress) {
        self.0.send_replace(progress);
    }
}

/// Sees a container's end, even when its record is gone by then.
#[derive(Clone)]
pub struct Follower(pub(crate) watch::Receiver<Progress>);

impl Follower {
    /// Waits until it has ended, and says how.
    pub async fn ended(self) -> Result<u32> {
        until(self.0, |progress| *progress != Progress::Running).await.map(|progress| progress.code())
    }
}

type Key = (String, String);

/// Kept in memory only: all of it is made anew from records and shims when the daemon starts.
#[derive(Default)]
pub struct Live {
    entries: Mutex<HashMap<Key, Entry>>,
}

#[derive(Default)]
struct Entry {
    work: Arc<tokio::sync::Mutex<()>>,
    /// Which place in the source had that last, and since when.
    holder: Option<(&'static Location<'static>, Instant)>,
    progress: Option<watch::Sender<Progress>>,
    /// How many want it to outlive its end, though it was to go with that.
    kept: usize,
}

/// Keeps a container that goes with its end from doing so, for as long as this is held.
pub struct Keep<'a> {
    live: &'a Live,
    key: Key,
}

impl Drop for Keep<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.live.entries().get_mut(&self.key) {
            entry.kept = entry.kept.saturating_sub(1);
        }
    }
}

impl Live {
    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // The map is whole between two statements, so a panic elsewhere does not spoil it.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else starts, stops or removes the container, and keeps others out until the guard is dropped.
    #[track_caller]
    pub fn lock(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
    ) -> impl Future<Output = OwnedMutexGuard<()>> + Send + use<'_> {
        let (key, place) = (key(namespace, id), Location::caller());
        async move {
            let work = self.entries().entry(key.clone()).or_default().work.clone();
            let guard = work.lock_owned().await;
            if let Some(entry) = self.entries().get_mut(&key)
                && Arc::ptr_eq(&entry.work, OwnedMutexGuard::mutex(&guard))
            {
                entry.holder = Some((place, Instant::now()));
            }
            guard
        }
    }

    /// A line for each container that somebody keeps others out of: who, and since when.
    pub fn held(&self) -> Vec<String> {
        let entries = self.entries();
        let held = entries.iter().filter(|(_, entry)| entry.work.try_lock().is_err());
        let line = |((namespace, id), entry): (&Key, &Entry)| {
            let holder = entry
                .holder
                .map_or_else(String::new, |(place, since)| format!("{place}, for {:?}", since.elapsed()));
            format!("{namespace}/{id} is kept by {holder}")
        };
        held.map(line).collect()
    }

    /// The container was started: a run of it, which those who wait follow even when the entry is gone by then.
    pub fn started(&self, namespace: &Namespace, id: &ContainerId) -> Run {
        let sender = watch::Sender::new(Progress::Running);
        self.entries().entry(key(namespace, id)).or_default().progress = Some(sender.clone());
        Run(sender)
    }

    /// See [`Keep`].
    pub fn keep(&self, namespace: &Namespace, id: &ContainerId) -> Keep<'_> {
        let key = key(namespace, id);
        self.entries().entry(key.clone()).or_default().kept += 1;
        Keep { live: self, key }
    }

    /// Does somebody want it to outlive its end?
    pub fn is_kept(&self, namespace: &Namespace, id: &ContainerId) -> bool {
        self.entries().get(&key(namespace, id)).is_some_and(|entry| entry.kept > 0)
    }

    /// Is this the container's last run? An end that is noted late must not be taken for the end of a later one.
    pub fn is_current(&self, namespace: &Namespace, id: &ContainerId, run: &Run) -> bool {
        let entries = self.entries();
        let current = entries.get(&key(namespace, id)).and_then(|entry| entry.progress.as_ref());
        current.is_some_and(|progress| progress.same_channel(&run.0))
    }

    /// The container went on to `progress`; those who wait are told.
    pub fn advance(&self, namespace: &Namespace, id: &ContainerId, progress: Progress) {
        if let Some(entry) = self.entries().get(&key(namespace, id))
            && let Some(sender) = &entry.progress
        {
            sender.send_replace(progress);
        }
    }

    /// Follows a container that was started since the daemon runs; `None` for others.
    pub fn follow(&self, namespace: &Namespace, id: &ContainerId) -> Option<watch::Receiver<Progress>> {
        let entries = self.entries();
        Some(entries.get(&key(namespace, id))?.progress.as_ref()?.subscribe())
    }

    /// Follows the run that goes on; `None` where the last one has ended, and where another client started the container.
    pub fn follow_running(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
    ) -> Option<watch::Receiver<Progress>> {
        self.follow(namespace, id).filter(|run| *run.borrow() == Progress::Running)
    }

    /// Forgets a container that is removed; those who hold a receiver keep its last state.
    pub fn forget(&self, namespace: &Namespace, id: &ContainerId) {
        self.entries().remove(&key(namespace, id));
    }
}

/// Waits until `reached` holds, or until nothing more can come of this run after its end, such as when another has begun; an error when the
/// container vanished before.
pub async fn until(
    mut receiver: watch::Receiver<Progress>,
    reached: impl Fn(&Progress) -> bool,
) -> Result<Progress> {
    let reached = receiver.wait_for(|progress| reached(progress)).await.map(|progress| progress.clone());
    match reached {
        Ok(progress) => Ok(progress),
        Err(_) => match receiver.borrow().clone() {
            Progress::Running => Err(Error::not_found("the container is gone")),
            ended => Ok(ended),
        },
    }
}

fn key(namespace: &Namespace, id: &ContainerId) -> Key {
    (namespace.to_string(), id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_known_who_keeps_others_out() {
        let (live, namespace) = (Live::default(), Namespace::parse("n").unwrap());
        let (one, other) = (ContainerId::parse("one").unwrap(), ContainerId::parse("other").unwrap());
        drop(live.lock(&namespace, &other).await);
        assert!(live.held().is_empty(), "{:?}", live.held());
        let guard = live.lock(&namespace, &one).await;
        let mut second = std::pin::pin!(live.lock(&namespace, &one));
        assert!(tokio::time::timeout(std::time::Duration::ZERO, &mut second).await.is_err());
        let held = live.held();
        assert_eq!(held.len(), 1, "{held:?}");
        assert!(held[0].starts_with(&format!("n/one is kept by {}:", file!())), "{held:?}");
        drop(guard);
        drop(second.await);
        assert!(live.held().is_empty(), "{:?}", live.held());
    }
}
