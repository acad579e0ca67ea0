//! Stopping a container: asked first, killed after a while.

use std::time::Duration;

use errors::{Error, Kind, Result};
use ids::{ContainerId, Namespace};
use task::Status;

use crate::config::ContainerConfig;
use crate::kill::parse_signal;
use crate::start::Want;
use crate::{Flows, tables};

/// docker's patience, in seconds.
const DEFAULT_TIMEOUT: i64 = 10;
const SIGKILL: u32 = 9;
const SIGTERM: u32 = 15;
/// How long it may take to clean up after a shim that died, in seconds.
const LOSS: i64 = 10;

impl Flows {
    /// Sends the stop signal and waits `timeout` seconds (-1: for ever; `None`: the container's own); then kills. A container that does not run is
    /// left alone.
    pub async fn stop(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        timeout: Option<i64>,
        signal: &str,
    ) -> Result<()> {
        let (flows, namespace, id, signal) = (self.clone(), namespace.clone(), id.clone(), signal.to_owned());
        self.to_the_end(async move { flows.stop_now(&namespace, &id, timeout, &signal).await }).await
    }

    async fn stop_now(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        timeout: Option<i64>,
        signal: &str,
    ) -> Result<()> {
        let container = self.rooms().containers.get(namespace, id)?;
        let config = ContainerConfig::of(&container)?.unwrap_or_default();
        let number = match signal {
            // What a record says that no creation would take any more is as if it said nothing, as with docker.
            "" => parse_signal(&config.stop_signal).unwrap_or(SIGTERM),
            asked => parse_signal(asked)?,
        };
        let timeout = timeout.or(config.stop_timeout).unwrap_or(DEFAULT_TIMEOUT);
        let tasks = &self.rooms().tasks;
        let process = match tasks.get(namespace, id, "").await {
            Err(error) if error.is_not_found() => return Ok(()),
            process => process?,
        };
        match process.status {
            Status::Stopped => return self.wait_stopped(namespace, id).await.map(drop),
            Status::Created => return Err(Error::precondition(format!("container {id} is being started"))),
            _ => {}
        }
        let mut step = marks::step("flows.stop.note")?;
        let noted =
            tables::change_state(&self.rooms().store, namespace, id, |state| state.stopped_by_user = true);
        if let Err(error) = noted.await {
            // On a disk that is full, say: what has to stop must stop all the same.
            tracing::warn!(container = %id, error = %error.chain(), "a container is stopped, and that it was meant to be cannot be noted");
        }
        step.next("flows.stop.signal")?;
        self.signal(namespace, id, number).await?;
        step.next("flows.stop.wait")?;
        if process.status == Status::Paused {
            self.thaw(namespace, id).await?;
        }
        if self.ended_within(namespace, id, timeout).await? {
            marks::passed("flows.stop.stopped");
            return Ok(());
        }
        step.next("flows.stop.kill")?;
        self.signal(namespace, id, SIGKILL).await?;
        self.ending(namespace, id, self.wait_stopped(namespace, id)).await.map(drop)
    }

    /// A process that has just ended needs no signal.
    async fn signal(&self, namespace: &Namespace, id: &ContainerId, number: u32) -> Result<()> {
        match self.rooms().tasks.kill(namespace, id, "", number, false).await {
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) if self.ends_with_its_shim(namespace, id, &error).await? => Ok(()),
            other => other,
        }
    }

    /// Has the shim died? Then the container is about to be seen to have ended.
    pub(crate) async fn ends_with_its_shim(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        error: &Error,
    ) -> Result<bool> {
        Ok(error.kind() == Kind::Unavailable && self.ended_within(namespace, id, LOSS).await?)
    }

    async fn ended_within(&self, namespace: &Namespace, id: &ContainerId, seconds: i64) -> Result<bool> {
        let Ok(seconds) = u64::try_from(seconds) else {
            return self.wait_stopped(namespace, id).await.map(|_| true);
        };
        match tokio::time::timeout(Duration::from_secs(seconds), self.wait_stopped(namespace, id)).await {
            Ok(ended) => ended.map(|_| true),
            Err(_) => Ok(false),
        }
    }

    /// Stops a container if it runs, and starts it.
    pub async fn restart(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        timeout: Option<i64>,
        signal: &str,
    ) -> Result<()> {
        let (flows, namespace, id, signal) = (self.clone(), namespace.clone(), id.clone(), signal.to_owned());
        self.to_the_end(async move { flows.restart_now(&namespace, &id, timeout, &signal).await }).await
    }

    async fn restart_now(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        timeout: Option<i64>,
        signal: &str,
    ) -> Result<()> {
        let keep = self.live().keep(namespace, id);
        let restarted = match self.stop_now(namespace, id, timeout, signal).await {
            Ok(()) => self.start_locked(namespace, id, Want::Nothing).await.map(drop),
            Err(error) => Err(error),
        };
        drop(keep);
        if restarted.is_err() && self.goes_with_its_end(namespace, id) {
            // It may run all the same, or be gone.
            if let Err(error) = self.remove(namespace, id, false).await {
                tracing::debug!(container = %id, error = %error.chain(), "remove what could not be restarted");
            }
        }
        restarted
    }
}
