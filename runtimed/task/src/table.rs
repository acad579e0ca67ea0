//! Which task has which actor, and what all actors share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use errors::{Error, Result};
use events::Bus;
use ids::{ContainerId, Namespace};
use tokio::sync::{mpsc, oneshot, watch};

use crate::actor::Request;
use crate::call::{Answer, Call};
use crate::ledger::Ledger;
use crate::shim_spare::Spares;
use crate::shim_start::Forms;
use crate::types::Config;

/// Below the state folder: an empty folder for each namespace that had a task.
const USED: &str = "namespaces";

/// A task's name.
pub(crate) type Key = (Namespace, ContainerId);

/// What every actor needs of the daemon.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) bus: Bus,
    pub(crate) forms: Forms,
    pub(crate) spares: Spares,
}

/// All tasks. The lock is held for look-ups alone.
pub(crate) struct Table {
    pub(crate) shared: Arc<Shared>,
    entries: Mutex<BTreeMap<Key, Entry>>,
    /// Namespaces that had a task since this daemon, or one before it, was started. Kept in the state folder, too: what executors leave of a
    /// namespace stays when a daemon is killed.
    used: Mutex<BTreeSet<Namespace>>,
    /// Of the tasks of an earlier daemon, those whose container goes with their end.
    auto_removed: Mutex<Vec<Key>>,
}

/// A place in the table.
enum Entry {
    /// Being made, or cleaned away: the id is taken, and nothing can be asked.
    Reserved {
        ledger: Ledger,
        /// The name of a shim's socket, if it is about to get one that others have, too.
        joins: Option<String>,
    },
    /// An actor answers.
    Ready(Handle),
    /// The task is deleted, and whoever asked knows it; what is left of it goes, and its shim's last events may still come. Whoever wants the
    /// id waits for the end of that, when this closes.
    Leaving(Ledger, watch::Receiver<()>),
}

/// What came of asking for an id.
enum Taken {
    /// It is the caller's.
    Yours(Ledger),
    /// A task has it.
    InUse,
    /// It is free when this is closed.
    Soon(watch::Receiver<()>),
}

/// The way to an actor.
#[derive(Clone)]
pub(crate) struct Handle {
    /// Each with the trace that it belongs to.
    pub(crate) requests: mpsc::Sender<(Request, Option<marks::Trace>)>,
    pub(crate) ledger: Ledger,
    /// Where the shim listens; empty when it is dead.
    pub(crate) address: Arc<str>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(config: Config, bus: Bus) -> Table {
        let used = Mutex::new(kept(&config.state.join(USED)));
        let shared = Shared { config, bus, forms: Forms::default(), spares: Spares::default() };
        Table { shared: Arc::new(shared), entries: Mutex::default(), used, auto_removed: Mutex::default() }
    }

    /// Takes an id, once what is left of a deleted task is out of its way. `AlreadyExists` if a task has it.
    pub(crate) async fn reserve(&self, key: &Key) -> Result<Ledger> {
        loop {
            match self.take(key) {
                Taken::Yours(ledger) => return Ok(ledger),
                Taken::InUse => {
                    return Err(Error::already_exists(format!("task {}: already exists", key.1)));
                }
                // Nothing is ever sent: it closes.
                Taken::Soon(mut gone) => drop(gone.changed().await),
            }
        }
    }

    fn take(&self, key: &Key) -> Taken {
        let mut entries = self.lock();
        match entries.get(key) {
            Some(Entry::Leaving(_, gone)) if gone.has_changed().is_ok() => return Taken::Soon(gone.clone()),
            // Whoever cleared it away broke.
            None | Some(Entry::Leaving(..)) => {}
            Some(_) => return Taken::InUse,
        }
        self.note(&key.0);
        let ledger = Ledger::default();
        entries.insert(key.clone(), Entry::Reserved { ledger: ledger.clone(), joins: None });
        Taken::Yours(ledger)
    }

    /// A task that is being made is of a group that shares the shim whose socket has this name. To be called before it has that.
    pub(crate) fn joins(&self, key: &Key, socket: String) {
        if let Some(Entry::Reserved { joins, .. }) = self.lock().get_mut(key) {
            *joins = Some(socket);
        }
    }

    /// From now on there is no such task, but its id is not free yet: until the answer is dropped, and [`remove`](Table::remove) called before
    /// that.
    pub(crate) fn leave(&self, key: &Key, ledger: Ledger) -> watch::Sender<()> {
        let (leaving, gone) = watch::channel(());
        self.lock().insert(key.clone(), Entry::Leaving(ledger, gone));
        leaving
    }

    /// From now on `handle` answers for the id.
    pub(crate) fn ready(&self, key: &Key, handle: Handle) {
        self.note(&key.0);
        self.lock().insert(key.clone(), Entry::Ready(handle));
    }

    /// See [`crate::Tasks::auto_removed`].
    pub(crate) fn auto_removed(&self) -> MutexGuard<'_, Vec<Key>> {
        self.auto_removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`crate::Tasks::namespaces`].
    pub(crate) fn used(&self) -> Vec<Namespace> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn note(&self, namespace: &Namespace) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.insert(namespace.clone()) {
            let path = self.shared.config.state.join(USED).join(namespace.as_str());
            if let Err(error) = std::fs::create_dir_all(&path) {
                tracing::warn!(path = %path.display(), %error, "keep the name of a namespace");
            }
        }
    }

    /// See [`crate::Tasks::forget_namespace`].
    pub(crate) fn forget(&self, namespace: &Namespace) {
        let entries = self.lock();
        if entries.keys().any(|key| key.0 == *namespace) {
            return;
        }
        self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(namespace);
        let folder = self.shared.config.state.join(USED);
        // Kept once too often is harmless.
        let _ = std::fs::remove_dir(folder.join(namespace.as_str()));
        let _ = std::fs::remove_dir(folder);
    }

    /// Frees the id.
    pub(crate) fn remove(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// The way to a task's actor. `NotFound` while it is being made.
    pub(crate) fn find(&self, key: &Key) -> Result<Handle> {
        match self.lock().get(key) {
            Some(Entry::Ready(handle)) => Ok(handle.clone()),
            _ => Err(not_found(&key.1)),
        }
    }

    /// The ledger of a task, also while it is being made, and until the last of it is gone.
    pub(crate) fn ledger(&self, key: &Key) -> Option<Ledger> {
        self.lock().get(key).map(|entry| match entry {
            Entry::Reserved { ledger, .. } | Entry::Leaving(ledger, _) => ledger.clone(),
            Entry::Ready(handle) => handle.ledger.clone(),
        })
    }

    /// The actors of a namespace, in id order.
    pub(crate) fn of_namespace(&self, namespace: &Namespace) -> Vec<(ContainerId, Handle)> {
        let entries = self.lock();
        let ready = entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Ready(handle) if key.0 == *namespace => Some((key.1.clone(), handle.clone())),
            _ => None,
        });
        ready.collect()
    }

    /// The actors of all namespaces.
    pub(crate) fn all(&self) -> Vec<(Key, Handle)> {
        let entries = self.lock();
        let ready = entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Ready(handle) => Some((key.clone(), handle.clone())),
            Entry::Reserved { .. } | Entry::Leaving(..) => None,
        });
        ready.collect()
    }

    /// Does no other task use the shim at `address`, nor one that is being made and may be about to? A pod's containers share one.
    pub(crate) fn is_alone(&self, key: &Key, address: &str) -> bool {
        !self.lock().iter().any(|(other, entry)| match entry {
            Entry::Ready(handle) => other != key && &*handle.address == address,
            Entry::Reserved { joins, .. } => {
                other != key && joins.as_ref().is_some_and(|socket| address.ends_with(socket.as_str()))
            }
            Entry::Leaving(..) => false,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        // The map is whole between two calls even if somebody panicked.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// Asks the actor; the request is made by `request` from where its answer goes.
    pub(crate) async fn ask<T>(
        &self,
        id: &ContainerId,
        request: impl FnOnce(oneshot::Sender<Result<T>>) -> Request,
    ) -> Result<T> {
        let (reply, mut answer) = oneshot::channel();
        let request = (request(reply), marks::current());
        self.requests.send(request).await.map_err(|_| not_found(id))?;
        // An actor that leaves drops what it was asked meanwhile: the task is deleted. But what comes into its queue while that is being dropped
        // stays there as long as somebody holds the other end, as this one does; so the end of the queue is an answer, too.
        tokio::select! {
            biased;
            answered = &mut answer => answered.unwrap_or_else(|_| Err(not_found(id))),
            () = self.requests.closed() => answer.try_recv().unwrap_or_else(|_| Err(not_found(id))),
        }
    }

    /// Makes a call to the shim.
    pub(crate) async fn call(&self, id: &ContainerId, call: Call) -> Result<Answer> {
        self.ask(id, |reply| Request::Call { call, reply }).await
    }
}

/// The namespaces whose names are kept in `folder`.
fn kept(folder: &Path) -> BTreeSet<Namespace> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Namespace::parse(entry.file_name().to_str()?).ok()).collect()
}

/// No such task, in containerd's words.
pub(crate) fn not_found(id: &ContainerId) -> Error {
    Error::not_found(format!("task {id} not found"))
}

/// Runs what blocks on the file system where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(marks::carry_call(work))
        .await
        .unwrap_or_else(|error| Err(Error::with_source(errors::Kind::Internal, "blocking work", error)))
}

/// Who else a task's shim may serve, asked whenever that matters: others come and go meanwhile.
#[derive(Clone)]
pub(crate) struct Company {
    pub(crate) table: Weak<Table>,
    pub(crate) key: Key,
    pub(crate) address: String,
}

impl Company {
    /// See [`Table::is_alone`].
    pub(crate) fn is_alone(&self) -> bool {
        self.table.upgrade().is_none_or(|table| table.is_alone(&self.key, &self.address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_an_actor_that_is_leaving_does_not_wait_for_ever() {
        let (requests, mut queue) = mpsc::channel(1);
        let handle = Handle { requests, ledger: Ledger::default(), address: "".into() };
        let id = ContainerId::parse("c").unwrap();
        let asked = handle.ask(&id, |reply| Request::Look { reply });
        // The question has come into the queue, which nobody takes it from any more.
        let left = async {
            while queue.is_empty() {
                tokio::task::yield_now().await;
            }
            queue.close();
        };
        let both = async { tokio::join!(asked, left).0 };
        let answer = tokio::time::timeout(std::time::Duration::from_secs(30), both).await;
        assert!(answer.expect("an answer").unwrap_err().is_not_found());
    }
}
