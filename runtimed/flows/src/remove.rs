//! Removing a container: its task, its record, its root, its files, its name.

use std::path::PathBuf;

use container::Container;
use errors::{Context, Error, Kind, Result};
use ids::{ContainerId, Namespace};
use snapshot::Snapshotter;
use task::{Departure, Exit, Status};

use crate::config::{ContainerConfig, NAME_LABEL};
use crate::exit::{LONGEST_PAUSE, SHORTEST_PAUSE};
use crate::live::Progress;
use crate::{Flows, tables};

/// The root of a container whose records are gone.
struct Root {
    snapshotter: Snapshotter,
    key: String,
    number: u64,
}

impl Flows {
    /// Removes a container that does not run, or, with `force`, one that does. What is left goes on past an error: the record goes
    /// last but for the name, so that a removal that was cut can be asked for again.
    pub async fn remove(&self, namespace: &Namespace, id: &ContainerId, force: bool) -> Result<()> {
        let (flows, namespace, id) = (self.clone(), namespace.clone(), id.clone());
        self.to_the_end(async move { flows.remove_locked(&namespace, &id, force).await }).await
    }

    async fn remove_locked(&self, namespace: &Namespace, id: &ContainerId, force: bool) -> Result<()> {
        let mut step = marks::step("flows.remove.end")?;
        if force {
            self.end(namespace, id).await?;
        }
        let _guard = self.live().lock(namespace, id).await;
        let container = match self.rooms().containers.get(namespace, id) {
            // Somebody else was quicker, a moment ago: who insists has what he asked for.
            Err(error) if error.is_not_found() && force => {
                self.live().forget(namespace, id);
                return Ok(());
            }
            container => container?,
        };
        let config = ContainerConfig::of(&container)?;
        let name = config.as_ref().map_or(id.as_str(), |config| config.name.as_str());
        step.next("flows.remove.task")?;
        if force {
            // A start that had the lock may have begun another run since.
            self.end(namespace, id).await?;
        }
        let code = match self.clear_task(namespace, id, name, force).await? {
            Some(exit) => exit.status,
            None => tables::state(&self.rooms().store, namespace, id)?.unwrap_or_default().exit_code,
        };
        drop(step);
        let removing = self.take_away(namespace, id, &container, name);
        match config.as_ref().is_some_and(|config| config.auto_remove) {
            // Were it back after a power cut, it would be removed again.
            true => metadata::lazily(removing).await?,
            false => removing.await?,
        }
        marks::passed("flows.remove.done");
        self.live().advance(namespace, id, Progress::Removed(code));
        self.live().forget(namespace, id);
        Ok(())
    }

    /// Removes a container that has ended and was to be removed then. That is told as soon as nobody can find it any more: its task, its files
    /// and its root go behind the answer, and where the daemon is killed meanwhile, its next start sees to them. Nothing of it is waited for to
    /// come to disk, since a power cut would end, and with that remove, it as well.
    pub(crate) async fn vanish(&self, namespace: &Namespace, id: &ContainerId, exit: Exit) -> Result<()> {
        let step = marks::step("flows.vanish.records")?;
        let container = self.rooms().containers.get(namespace, id)?;
        let config = ContainerConfig::of(&container)?;
        let name = config.as_ref().map_or(id.as_str(), |config| config.name.as_str());
        let departure = self.rooms().tasks.depart(namespace, id).ok();
        let root = match metadata::lazily(self.forget_records(namespace, id, &container, name)).await {
            Ok(root) => root,
            Err(error) => {
                departure.into_iter().for_each(Departure::stay);
                return Err(error);
            }
        };
        drop(step);
        self.live().advance(namespace, id, Progress::Removed(exit.status));
        self.live().forget(namespace, id);
        marks::passed("flows.vanish.told");
        if let Some(departure) = departure {
            self.see_off(namespace, id, departure).await;
        }
        marks::passed("flows.vanish.task");
        for folder in [self.container_root(namespace, id), self.container_state(namespace, id)] {
            if let Err(error) = remove_folder(folder).await {
                tracing::warn!(container = %id, error = %error.chain(), "files of a removed container stay");
            }
        }
        self.tell_removed(namespace, id, root);
        marks::passed("flows.vanish.done");
        Ok(())
    }

    /// Deletes the task of a container that is removed already. Where an executor has died half way, the next one takes what it left; nobody else
    /// would ask for it before the daemon's next start.
    pub(crate) async fn see_off(&self, namespace: &Namespace, id: &ContainerId, departure: Departure) {
        let again = match departure.done().await {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(container = %id, error = %error.chain(), "the task of a removed container is deleted once more");
                self.rooms().tasks.delete(namespace, id).await
            }
            _ => return,
        };
        if again.as_ref().is_err_and(|error| !error.is_not_found()) {
            tokio::spawn(self.clone().delete_in_the_end(namespace.clone(), id.clone(), again));
        }
    }

    /// Goes on trying to delete the task of a container that nobody can find any more; ever more seldom.
    async fn delete_in_the_end(self, namespace: Namespace, id: ContainerId, tried: Result<Exit>) {
        let (mut pause, mut tried) = (SHORTEST_PAUSE, tried);
        while let Err(error) = tried
            && !error.is_not_found()
        {
            tracing::warn!(container = %id, error = %error.chain(), again_in = ?pause, "the task of a removed container stays");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let _busy = self.inner.busy.enter();
            tried = self.rooms().tasks.delete(&namespace, &id).await;
        }
    }

    /// Removes all that there is of a container without a task: its files, then in one transaction all that is recorded of it. Its root goes
    /// in the background.
    async fn take_away(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        container: &Container,
        name: &str,
    ) -> Result<()> {
        let mut step = marks::step("flows.remove.files")?;
        remove_folder(self.container_root(namespace, id)).await?;
        step.next("flows.remove.sockets")?;
        remove_folder(self.container_state(namespace, id)).await?;
        step.next("flows.remove.record")?;
        let root = self.forget_records(namespace, id, container, name).await?;
        marks::passed("flows.remove.recorded");
        self.tell_removed(namespace, id, root);
        Ok(())
    }

    /// Removes all records of a container in one transaction; returns its root, of which the files are there still.
    async fn forget_records(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        container: &Container,
        name: &str,
    ) -> Result<Option<Root>> {
        let key = container.snapshot_key.clone();
        let snapshotter = match key.as_str() {
            "" => None,
            _ => Some(self.rooms().snapshotters.get(&container.snapshotter)?),
        };
        let named = container.labels.contains_key(NAME_LABEL);
        let (namespace, id, name) = (namespace.clone(), id.clone(), name.to_owned());
        let containers = self.rooms().containers.clone();
        let forgetting = self.rooms().store.write(move |tx| {
            let forget = |snapshotter: Snapshotter| {
                let number =
                    unless_gone(snapshotter.forget(tx, &namespace, &key), "remove a container's root")?;
                Ok::<_, Error>(number.map(|number| Root { snapshotter, key, number }))
            };
            let root = snapshotter.map(forget).transpose()?.flatten();
            unless_gone(containers.forget(tx, &namespace, &id), "remove a container")?;
            if named {
                tables::forget_within(tx, &namespace, &name, &id)?;
            }
            Ok(root)
        });
        forgetting.await
    }

    /// Tells that a container without records is removed, and lets its root's files go in the background.
    fn tell_removed(&self, namespace: &Namespace, id: &ContainerId, root: Option<Root>) {
        if let Some(Root { snapshotter, key, number }) = root {
            snapshotter.reap(namespace, &key, number);
        }
        self.rooms().containers.tell_deleted(namespace, id);
    }

    /// Kills the container if it runs, and waits for its end.
    async fn end(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        let tasks = &self.rooms().tasks;
        let process = match tasks.get(namespace, id, "").await {
            Err(error) if error.is_not_found() => return Ok(()),
            process => process?,
        };
        if process.status == Status::Stopped {
            return Ok(());
        }
        match tasks.kill(namespace, id, "", 9, true).await {
            Err(error) if error.is_not_found() => {}
            // The shim does not answer: it goes, and the container with it.
            Err(error) if matches!(error.kind(), Kind::DeadlineExceeded | Kind::Unavailable) => {
                match tasks.end_shim(namespace, id).await {
                    // It went by itself meanwhile.
                    Err(gone) if gone.is_not_found() => return Ok(()),
                    ended => ended.context(|| format!("kill container {id}: {}", error.chain()))?,
                }
            }
            other => other.context(|| format!("kill container {id}"))?,
        }
        if process.status == Status::Paused {
            self.thaw(namespace, id).await?;
        }
        match self.ending(namespace, id, tasks.wait(namespace, id, "")).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => other.map(drop),
        }
    }

    /// Deletes what is left of an ended task and says how it ended; a running one is docker's error, unless it has just been killed.
    async fn clear_task(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        name: &str,
        force: bool,
    ) -> Result<Option<Exit>> {
        let tasks = &self.rooms().tasks;
        let process = match tasks.get(namespace, id, "").await {
            Err(error) if error.is_not_found() => return Ok(None),
            process => process?,
        };
        let refuse = |state: &str, advice: &str| {
            Err(Error::precondition(format!(
                "cannot remove container \"/{name}\": container is {state}: {advice}"
            )))
        };
        match process.status {
            Status::Stopped => {}
            _ if force => {}
            Status::Paused | Status::Pausing => return refuse("paused", "unpause it first or force remove"),
            Status::Created => {
                return refuse("being started", "stop the container before removing or force remove");
            }
            Status::Running | Status::Unknown => {
                return refuse("running", "stop the container before removing or force remove");
            }
        }
        match self.keep_end(namespace, id, process.exit).await {
            // A removal makes room, and must not wait for it.
            Err(error) if error.kind() == Kind::ResourceExhausted => {
                tracing::warn!(container = %id, error = %error.chain(), "the end of a container that is removed cannot be noted");
            }
            kept => kept?,
        }
        match tasks.delete(namespace, id).await {
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(Some),
        }
    }
}

/// What is gone already need not be removed.
fn unless_gone<T>(removed: Result<T>, what: &str) -> Result<Option<T>> {
    match removed {
        Err(error) if error.is_not_found() => Ok(None),
        other => other.context(|| what.to_owned()).map(Some),
    }
}

/// Removes a folder of ours that may be gone already.
pub(crate) async fn remove_folder(folder: PathBuf) -> Result<()> {
    let work = move || match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.context(|| format!("remove {}", folder.display())),
    };
    // There may be large logs in it, and whatever somebody has put there.
    match tokio::task::spawn_blocking(marks::carry_call(work)).await {
        Ok(removed) => removed,
        Err(error) => Err(Error::with_source(Kind::Internal, "remove a folder", error)),
    }
}
