//! Freezing and thawing, with docker's refusals.

use errors::{Error, Kind, Result};
use ids::{ContainerId, Namespace};
use task::Status;

use crate::Flows;

impl Flows {
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
            Status::Running => self.rooms().tasks.pause(namespace, id).await,
            _ => Err(Error::precondition(format!("Container {id} is not running"))),
        }
    }

    /// Thaws a frozen container.
    pub async fn unpause(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        match self.status(namespace, id).await? {
            Status::Paused => self.rooms().tasks.resume(namespace, id).await,
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
