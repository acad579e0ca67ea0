//! The verbs that change a container's state and answer with their exit status alone.

use crate::error::Result;
use crate::ready::Ready;
use crate::runc::Runc;
use crate::stdio::ExecutorStdio;

/// Options of `kill`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct KillOptions {
    /// Signal every process of the container, not its init alone.
    pub all: bool,
}

impl Runc {
    /// Lets the init of a created container run its program.
    ///
    /// # Errors
    /// Whatever the executor says.
    pub async fn start(&self, id: &str) -> Result<()> {
        self.run(["start", id]).await
    }

    /// Sends a signal by number.
    ///
    /// # Errors
    /// [`Kind::Finished`](crate::Kind::Finished) if the init has ended; otherwise whatever the executor says.
    pub async fn kill(&self, id: &str, signal: u32, options: KillOptions) -> Result<()> {
        let signal = signal.to_string();
        match options.all {
            true => self.run(["kill", "--all", id, &signal]).await,
            false => self.run(["kill", id, &signal]).await,
        }
    }

    /// Removes the state and cgroup of a stopped container; with `force`, of a running one too, which is
    /// killed.
    ///
    /// # Errors
    /// [`Kind::NotFound`](crate::Kind::NotFound) if it is gone already; otherwise whatever the executor says.
    pub async fn delete(&self, id: &str, force: bool) -> Result<()> {
        match force {
            true => self.run(["delete", "--force", id]).await,
            false => self.run(["delete", id]).await,
        }
    }

    /// [`delete`](Runc::delete) without force, by an executor that waits for it.
    ///
    /// # Errors
    /// As those of `delete`.
    pub async fn delete_by(&self, ready: Ready, id: &str) -> Result<()> {
        if !self.has_log() {
            // It could not say why it fails.
            return self.delete(id, false).await;
        }
        self.run_with_stdio(vec!["delete".into(), id.into()], ExecutorStdio::default(), None, Some(ready))
            .await
    }

    /// Freezes all processes of the container.
    ///
    /// # Errors
    /// Whatever the executor says.
    pub async fn pause(&self, id: &str) -> Result<()> {
        self.run(["pause", id]).await
    }

    /// Thaws a paused container.
    ///
    /// # Errors
    /// Whatever the executor says.
    pub async fn resume(&self, id: &str) -> Result<()> {
        self.run(["resume", id]).await
    }

    /// Changes the limits of the container. `resources` is an OCI LinuxResources as JSON.
    ///
    /// # Errors
    /// Whatever the executor says.
    pub async fn update(&self, id: &str, resources: Vec<u8>) -> Result<()> {
        self.call(["update", "--resources=-", id], Some(resources)).await.map(drop)
    }
}
