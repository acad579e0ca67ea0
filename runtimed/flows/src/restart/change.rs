//! Ends the task of a container that labels ask the daemon to keep, and makes a new one, as its client would.

use std::time::Duration;

use container::Container;
use errors::{Context, Error, Kind, Result, WithKind};
use ids::{ContainerId, Labels, Namespace};
use task::Io;

use super::policy::{self, AFTER, COUNT, Change, Seen};
use crate::Flows;
use crate::start::task_mount;

/// Where its output goes, as a URI that shims know.
const LOG_URI: &str = "containerd.io/restart.loguri";
/// How long a killed task may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

impl Flows {
    pub(super) async fn stop_kept(&self, namespace: &Namespace, container: Container) -> Result<()> {
        let (flows, namespace) = (self.clone(), namespace.clone());
        self.to_the_end(async move { flows.end_kept(&namespace, &container.id).await }).await
    }

    pub(super) async fn start_kept(
        &self,
        namespace: &Namespace,
        container: Container,
        count: u64,
        exit: u32,
    ) -> Result<()> {
        let (flows, namespace) = (self.clone(), namespace.clone());
        self.to_the_end(async move {
            flows.note_begun(&namespace, &container, count, exit).await?;
            let started = flows.start_anew(&namespace, &container, count).await;
            // What cannot be started was tried.
            flows.note_finished(&namespace, &container).await?;
            started
        })
        .await
    }

    /// Without a task, nothing else tells why there should be one.
    async fn note_begun(
        &self,
        namespace: &Namespace,
        container: &Container,
        count: u64,
        exit: u32,
    ) -> Result<()> {
        let labels = [(COUNT.to_owned(), count.to_string()), (AFTER.to_owned(), exit.to_string())];
        self.note(namespace, container, Labels::from(labels)).await
    }

    pub(super) async fn note_finished(&self, namespace: &Namespace, container: &Container) -> Result<()> {
        match self.note(namespace, container, Labels::from([(AFTER.to_owned(), String::new())])).await {
            // Its client has deleted it meanwhile.
            Err(error) if error.is_not_found() => Ok(()),
            noted => noted,
        }
    }

    async fn note(&self, namespace: &Namespace, container: &Container, labels: Labels) -> Result<()> {
        let mask: Vec<_> = labels.keys().map(|key| format!("labels.{key}")).collect();
        let noted = Container { labels, ..container.clone() };
        self.rooms().containers.update(namespace, noted, &mask).await.map(drop)
    }

    async fn start_anew(&self, namespace: &Namespace, container: &Container, count: u64) -> Result<()> {
        let (tasks, id) = (&self.rooms().tasks, &container.id);
        self.end_kept(namespace, id).await?;
        if !self.is_still_wanted(namespace, id)? {
            return Ok(());
        }
        tasks.create(namespace, id, self.task_of_kept(namespace, container)?).await?;
        if let Err(error) = tasks.start(namespace, id, "").await {
            if let Err(error) = self.end_kept(namespace, id).await {
                tracing::warn!(%namespace, container = %id, error = %error.chain(), "clear what did not start");
            }
            return Err(error);
        }
        tracing::info!(%namespace, container = %id, count, "container started again, as its labels ask");
        Ok(())
    }

    /// Is a container without a task, whose restart was begun, to be started? To end the old one may have taken a while.
    fn is_still_wanted(&self, namespace: &Namespace, id: &ContainerId) -> Result<bool> {
        let labels = match self.rooms().containers.get(namespace, id) {
            Err(error) if error.is_not_found() => return Ok(false),
            container => container?.labels,
        };
        let seen = Seen { status: None, exit: None, is_new: false };
        Ok(matches!(policy::decide(&labels, seen)?, Change::Start { .. }))
    }

    /// Ends and deletes the task, if there is one.
    async fn end_kept(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        let tasks = &self.rooms().tasks;
        let gone = |error: &Error| error.is_not_found();
        match tasks.kill(namespace, id, "", 9, true).await {
            // It has ended, or its shim has died this moment: what is left is ended for it.
            Err(error) if gone(&error) || error.kind() == Kind::Unavailable => {}
            killed => killed?,
        }
        let ended = tokio::time::timeout(PATIENCE, tasks.wait(namespace, id, "")).await;
        match ended.kind(Kind::DeadlineExceeded, || format!("task {id} was killed and does not end"))? {
            Err(error) if gone(&error) => return Ok(()),
            ended => ended.map(drop)?,
        }
        match tasks.delete(namespace, id).await {
            Err(error) if gone(&error) => Ok(()),
            deleted => deleted.map(drop),
        }
    }

    fn task_of_kept(&self, namespace: &Namespace, container: &Container) -> Result<task::Create> {
        let id = &container.id;
        let spec = container.spec.as_ref();
        let spec = spec.ok_or_else(|| Error::precondition(format!("container {id} has no spec")))?;
        let parsed: serde_json::Value = serde_json::from_slice(&spec.value)
            .kind(Kind::InvalidArgument, || format!("read the spec of {id}"))?;
        let mut rootfs = Vec::new();
        if !container.snapshot_key.is_empty() {
            let snapshotter = self.rooms().snapshotters.get(&container.snapshotter)?;
            let mounts = snapshotter.mounts(namespace, &container.snapshot_key);
            rootfs = mounts.context(|| format!("the root of {id}"))?.into_iter().map(task_mount).collect();
        }
        if let Some(label) = parsed["linux"]["mountLabel"].as_str().filter(|label| !label.is_empty()) {
            rootfs.iter_mut().for_each(|mount| mount.options.push(format!("context={label:?}")));
        }
        let terminal = parsed["process"]["terminal"].as_bool().unwrap_or(false);
        let log = container.labels.get(LOG_URI).cloned().unwrap_or_default();
        let stderr = if terminal { String::new() } else { log.clone() };
        Ok(task::Create {
            runtime: container.runtime.clone(),
            options: container.runtime_options.clone(),
            spec: spec.value.clone(),
            rootfs,
            io: Io { stdin: String::new(), stdout: log, stderr, terminal },
            checkpoint: task::Checkpoint::None,
        })
    }
}
