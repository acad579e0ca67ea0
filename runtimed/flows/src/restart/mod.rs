//! containerd's restart monitor: containers whose labels ask for it are looked at every few seconds, and started again, or stopped, by the
//! policy that the labels name. nerdctl's `--restart` is made of these labels. The engine's own containers are left alone.

mod change;
mod policy;

use std::time::{Duration, SystemTime};

use errors::Result;
use futures::stream::{self, StreamExt};
use ids::{ContainerId, Namespace};
use task::Status;
use tokio::time::sleep;

use crate::Flows;
use crate::config::ContainerConfig;
use policy::{Change, Seen};

/// What may be done at once.
const AT_ONCE: usize = 8;

impl Flows {
    /// Looks after them until the daemon ends. While no container has the labels, nothing is looked at, either.
    pub async fn keep_restarting(self, interval: Duration) {
        loop {
            match self.look_after(interval).await {
                Ok(0) => self.rooms().containers.to_be_kept().await,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(error = %error.chain(), "containers to be restarted cannot be listed")
                }
            }
            sleep(interval).await;
        }
    }

    /// Brings each to the state that it is to be in; says how many there are. What fails is tried again the next time.
    async fn look_after(&self, interval: Duration) -> Result<usize> {
        let asking = [format!("labels.{:?}", container::RESTART_STATUS)];
        let mut kept = Vec::new();
        for info in self.rooms().namespaces.list()? {
            let found = self.rooms().containers.list(&info.name, &asking)?;
            let theirs =
                found.into_iter().filter(|container| matches!(ContainerConfig::of(container), Ok(None)));
            kept.extend(theirs.map(|container| (info.name.clone(), container.id)));
        }
        let count = kept.len();
        let changes = stream::iter(kept).for_each_concurrent(AT_ONCE, |(namespace, id)| async move {
            if let Err(error) = self.bring_there(&namespace, &id, interval).await {
                tracing::error!(%namespace, container = %id, error = %error.chain(), "restart by its labels");
            }
        });
        changes.await;
        Ok(count)
    }

    async fn bring_there(&self, namespace: &Namespace, id: &ContainerId, interval: Duration) -> Result<()> {
        let process = match self.rooms().tasks.get(namespace, id, "").await {
            Err(error) if error.is_not_found() => None,
            process => Some(process?),
        };
        // As it is now: it may have taken long until this one's turn came, and until its shim answered.
        let container = match self.rooms().containers.get(namespace, id) {
            Err(error) if error.is_not_found() => return Ok(()),
            container => container?,
        };
        let seen = Seen {
            status: process.as_ref().map(|process| process.status),
            exit: process.and_then(|process| process.exit).map(|exit| exit.status),
            // Who makes a container goes on to start it.
            is_new: SystemTime::now().duration_since(container.created_at).is_ok_and(|age| age < interval),
        };
        let change = policy::decide(&container.labels, seen)?;
        let runs = matches!(seen.status, Some(Status::Running | Status::Paused | Status::Pausing));
        if runs && container.labels.contains_key(policy::AFTER) {
            // The daemon that had begun with it died when it had done it.
            self.note_finished(namespace, &container).await?;
        }
        match change {
            Change::None => Ok(()),
            Change::Stop => self.stop_kept(namespace, container).await,
            Change::Start { count, exit } => self.start_kept(namespace, container, count, exit).await,
        }
    }
}
