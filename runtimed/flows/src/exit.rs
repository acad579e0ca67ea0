//! The end of a container's first process: noted, cleared away, told to those who wait.

use std::time::Duration;

use errors::{Error, Result};
use ids::{ContainerId, Namespace};
use task::Exit;

use crate::attach::Delivery;
use crate::config::ContainerConfig;
use crate::live::{Follower, Progress, Run, until};
use crate::{Flows, tables};

/// How long an end that could not be noted waits until that is tried again, at first; each time twice as long.
pub(crate) const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// And at last.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long output may take after the end of its container, until others hear of the end before all of it was read.
const DELIVERY: Duration = Duration::from_millis(100);

/// Why an end is not done with.
enum Unfinished {
    /// It is not on disk: the shim keeps it, and it is to be tried again.
    Unnoted(Error),
    /// It is on disk, and what was due then failed.
    Uncleared(Error),
}

impl From<Error> for Unfinished {
    fn from(error: Error) -> Unfinished {
        Unfinished::Uncleared(error)
    }
}

impl Flows {
    /// Follows a running container to its end, on a task of its own. Whoever runs it in the foreground, and reads slowly, has its output before
    /// the shim goes.
    pub(crate) fn watch(&self, namespace: Namespace, id: ContainerId, run: Run, delivery: Delivery) {
        let flows = self.clone();
        tokio::spawn(marks::carry(async move {
            let exit = match flows.rooms().tasks.wait(&namespace, &id, "").await {
                Ok(exit) => exit,
                // Another client deleted the task and took the exit code with it; only that it ended is known.
                Err(error) => {
                    tracing::warn!(container = %id, error = %error.chain(), "the exit of a container is not known");
                    Exit { pid: 0, status: 255, at: std::time::SystemTime::now() }
                }
            };
            marks::passed("flows.exit.told");
            if tokio::time::timeout(DELIVERY, delivery.clone().over()).await.is_err() {
                flows.note_undelivered(&namespace, &id, &run, exit).await;
                delivery.over().await;
            }
            let mut pause = SHORTEST_PAUSE;
            loop {
                let busy = flows.inner.busy.enter();
                let finished = flows.finish(&namespace, &id, &run, exit).await;
                drop(busy);
                match finished {
                    Ok(()) => return,
                    Err(Unfinished::Uncleared(error)) => {
                        tracing::error!(container = %id, error = %error.chain(), "an ended container could not be cleared away");
                        return;
                    }
                    Err(Unfinished::Unnoted(error)) => {
                        tracing::error!(container = %id, error = %error.chain(), again_in = ?pause, "the end of a container could not be noted");
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }));
    }

    /// It has ended, and that is told, though its task has to stay for its output.
    async fn note_undelivered(&self, namespace: &Namespace, id: &ContainerId, run: &Run, exit: Exit) {
        let _busy = self.inner.busy.enter();
        let _guard = self.live().lock(namespace, id).await;
        if self.live().is_current(namespace, id, run)
            && let Err(error) = metadata::lazily(self.note_end(namespace, id, exit)).await
        {
            // It is tried again when the task goes.
            tracing::warn!(container = %id, error = %error.chain(), "the end of a container could not be noted");
        }
    }

    /// Notes an exit, frees the shim, and removes the container if it was to be removed. The exit is on disk before the
    /// shim, which knows it too, is let go. Those who wait are told whatever fails.
    async fn finish(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        run: &Run,
        exit: Exit,
    ) -> Result<(), Unfinished> {
        let config = {
            let _guard = self.live().lock(namespace, id).await;
            if !self.live().is_current(namespace, id, run) {
                // A later start, or a removal, met the ended task first, and noted its end.
                return Ok(self.forget_removed(namespace, id)?);
            }
            let kept = self.live().is_kept(namespace, id);
            let goes = !kept && self.goes_with_its_end(namespace, id);
            if goes {
                match self.vanish(namespace, id, exit).await {
                    Ok(()) => return Ok(()),
                    // The long way tells more, and leaves what can be asked for again.
                    Err(error) => {
                        tracing::warn!(container = %id, error = %error.chain(), "a container does not go with its end");
                    }
                }
            }
            let noting = self.note_end(namespace, id, exit);
            let noted = if goes { metadata::lazily(noting).await } else { noting.await };
            noted.map_err(Unfinished::Unnoted)?;
            marks::passed("flows.exit.noted");
            if let Err(error) = self.rooms().tasks.delete(namespace, id).await
                && !error.is_not_found()
            {
                tracing::warn!(container = %id, error = %error.chain(), "the task of an ended container stays");
            }
            marks::passed("flows.exit.cleared");
            match self.rooms().containers.get(namespace, id) {
                // Whoever keeps it is about to start it again.
                Ok(_) if kept => return Ok(()),
                Ok(container) => ContainerConfig::of(&container)?,
                Err(error) if error.is_not_found() => {
                    run.advance(Progress::Removed(exit.status));
                    return Ok(self.forget_removed(namespace, id)?);
                }
                Err(error) => return Err(error.into()),
            }
        };
        if config.is_some_and(|config| config.auto_remove) {
            let mut removed = self.remove(namespace, id, false).await;
            if let Err(error) = &removed {
                // Nobody else would ask for it again before the daemon's next start.
                tracing::warn!(container = %id, error = %error.chain(), "a container that goes with its end is removed once more");
                removed = self.remove(namespace, id, false).await;
            }
            // The code is known, and nobody is to wait for ever for a removal that failed.
            run.advance(Progress::Removed(exit.status));
            removed?;
        }
        Ok(())
    }

    /// Is the container removed when it ends? Then nothing of it need outlast a power cut.
    pub(crate) fn goes_with_its_end(&self, namespace: &Namespace, id: &ContainerId) -> bool {
        let container = self.rooms().containers.get(namespace, id);
        let config = container.ok().and_then(|container| ContainerConfig::of(&container).ok().flatten());
        config.is_some_and(|config| config.auto_remove)
    }

    /// Notes how the last run ended, and tells those who wait.
    pub(crate) async fn note_end(&self, namespace: &Namespace, id: &ContainerId, exit: Exit) -> Result<()> {
        let noted = tables::change_state(&self.rooms().store, namespace, id, move |state| {
            // A short one may have ended before its start was noted; an end never lies before the start.
            state.finished_at = Some(state.started_at.map_or(exit.at, |started| started.max(exit.at)));
            state.exit_code = exit.status;
        })
        .await;
        self.live().advance(namespace, id, Progress::Ended(exit.status));
        noted
    }

    /// Keeps how an ended task ended, unless that is noted, before the task is deleted: it alone knows, and a daemon that dies in between
    /// leaves nobody to ask. A power cut takes the task along anyway, so that this need not be on disk.
    pub(crate) async fn keep_end(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        exit: Option<Exit>,
    ) -> Result<()> {
        let state = tables::state(&self.rooms().store, namespace, id)?;
        match exit {
            Some(exit) if state.is_some_and(|state| state.is_started()) => {
                metadata::lazily(self.note_end(namespace, id, exit)).await
            }
            _ => Ok(()),
        }
    }

    /// Nothing is kept in memory of a container without a record.
    fn forget_removed(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        match self.rooms().containers.get(namespace, id) {
            Err(error) if error.is_not_found() => {
                self.live().forget(namespace, id);
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Follows a container that runs; `None` when the engine did not start it.
    pub fn follow(&self, namespace: &Namespace, id: &ContainerId) -> Option<Follower> {
        self.live().follow_running(namespace, id).map(Follower)
    }

    /// Waits until the container does not run, and says how it ended; at once when it does not run.
    pub async fn wait_stopped(&self, namespace: &Namespace, id: &ContainerId) -> Result<u32> {
        if let Some(run) = self.live().follow_running(namespace, id) {
            return Follower(run).ended().await;
        }
        // Another client may have made the task that there is now; without one, the last run that was followed counts.
        match self.rooms().tasks.wait(namespace, id, "").await {
            Ok(exit) => Ok(exit.status),
            Err(error) if error.is_not_found() => match self.live().follow(namespace, id) {
                Some(run) => Follower(run).ended().await,
                None => {
                    let state = tables::state(&self.rooms().store, namespace, id)?;
                    Ok(state.map(|state| state.exit_code).unwrap_or_default())
                }
            },
            Err(error) => Err(error),
        }
    }

    /// Waits for the next exit of the container.
    pub async fn wait_next_exit(&self, namespace: &Namespace, id: &ContainerId) -> Result<u32> {
        let filter = format!("topic==\"/tasks/exit\",event.container_id==\"{id}\",event.id==\"{id}\"");
        let mut events = self.rooms().events.subscribe(filters::Filters::parse(&[filter])?);
        match self.rooms().tasks.wait(namespace, id, "").await {
            Ok(exit) => return Ok(exit.status),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        loop {
            let Some(event) = events.next().await? else {
                return Err(Error::unavailable("the daemon is going down"));
            };
            if event.namespace == *namespace {
                return self.wait_stopped(namespace, id).await;
            }
        }
    }

    /// Waits until the container is removed, and says how it ended.
    pub async fn wait_removed(&self, namespace: &Namespace, id: &ContainerId) -> Result<u32> {
        let filter = format!("topic==\"/containers/delete\",event.id==\"{id}\"");
        let mut events = self.rooms().events.subscribe(filters::Filters::parse(&[filter])?);
        let live = self.live().follow(namespace, id);
        let before = tables::state(&self.rooms().store, namespace, id)?;
        loop {
            match self.rooms().containers.get(namespace, id) {
                Err(error) if error.is_not_found() => {
                    // Whoever removed it, an end that was followed is the true one; it may be told a moment after the record went.
                    return match (live, before) {
                        (Some(live), _) => until(live, |progress| *progress != Progress::Running)
                            .await
                            .map(|progress| progress.code()),
                        (None, Some(state)) => Ok(state.exit_code),
                        (None, None) => Err(error),
                    };
                }
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            if events.next().await?.is_none() {
                return Err(Error::unavailable("the daemon is going down"));
            }
        }
    }
}
