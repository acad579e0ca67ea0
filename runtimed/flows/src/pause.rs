//! Freezing and thawing, with docker's refusals.

use std::pin::pin;
use std::time::Duration;

use errors::{Error, Kind, Result};
use ids::{ContainerId, Namespace};
use task::Status;

use crate::Flows;

/// How often it is looked whether somebody has frozen what was killed: nobody tells the one who waits.
const LOOK: Duration = Duration::from_secs(1);

impl Flows {
    /// Waits for the end of a container that was killed. Somebody may freeze it between the signal and its end, and nothing frozen can die
    /// (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst): it is thawed as often as that happens.
    pub(crate) async fn ending<T>(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        end: impl Future<Output = T>,
    ) -> T {
        let mut end = pin!(end);
        loop {
            match tokio::time::timeout(LOOK, &mut end).await {
                Ok(ended) => return ended,
                Err(_) => {
                    let status = self.status(namespace, id).await;
                    if matches!(status, Ok(Status::Paused | Status::Pausing))
                        && let Err(error) = self.thaw(namespace, id).await
                    {
                        tracing::debug!(container = %id, error = %error.chain(), "thaw what was killed");
                    }
                }
            }
        }
    }

    /// Thaws a container that is to end by a signal. One that has ended by it already, or was thawed by somebody else, is as it should be.
    pub(crate) async fn thaw(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        match self.rooms().tasks.resume(namespace, id).await {
            Err(error) if error.is_not_found() || error.kind() == Kind::FailedPrecondition => Ok(()),
            other => other,
        }
    }

    /// Freezes a running container.
    pub async fn pause(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        match self.status(namespace, id).await? {
            Status::Paused | Status::Pausing => {
                Err(Error::precondition(format!("Container {id} is already paused")))
            }
            Status::Running => {
                let _step = marks::step("flows.pause.freeze")?;
                self.rooms().tasks.pause(namespace, id).await
            }
            _ => Err(Error::precondition(format!("Container {id} is not running"))),
        }
    }

    /// Thaws a frozen container.
    pub async fn unpause(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        match self.status(namespace, id).await? {
            Status::Paused => {
                let _step = marks::step("flows.unpause.thaw")?;
                self.rooms().tasks.resume(namespace, id).await
            }
            _ => Err(Error::precondition(format!("Container {id} is not paused"))),
        }
    }

    /// What its task does; one without a task is stopped.
    async fn status(&self, namespace: &Namespace, id: &ContainerId) -> Result<Status> {
        match self.rooms().tasks.get(namespace, id, "").await {
            Err(error) if error.is_not_found() => Ok(Status::Stopped),
            process => Ok(process?.status),
        }
    }
}
