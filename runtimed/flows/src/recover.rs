//! The daemon's start: every container that runs is followed again, every end that was missed is noted, and what was half made goes.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use errors::{Context, Result};
use ids::{ContainerId, Namespace};
use task::Status;
use tokio::task::JoinSet;

use crate::attach::Delivery;
use crate::config::{ContainerConfig, GC_ROOT, GC_ROOT_OWNER};
use crate::remove::remove_folder;
use crate::{Flows, tables};

/// How long shims may keep the daemon's start up with what is asked of them; that goes on behind it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The code of a container that was lost with its machine, as docker's.
const LOST: u32 = 255;

impl Flows {
    /// Takes up where an earlier daemon stopped. What fails for one container is logged and keeps no other back.
    pub async fn recover(&self) -> Result<()> {
        let step = marks::step("flows.recover.containers")?;
        let mut known = HashSet::new();
        let mut asked = JoinSet::new();
        for info in self.rooms().namespaces.list()? {
            let tasks: HashMap<_, _> = self
                .rooms()
                .tasks
                .list(&info.name)
                .await?
                .into_iter()
                .map(|process| (process.id.clone(), process.status))
                .collect();
            for container in self.rooms().containers.list(&info.name, &[])? {
                known.insert((info.name.to_string(), container.id.to_string()));
                let config = match ContainerConfig::of(&container) {
                    Ok(Some(config)) => config,
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::error!(container = %container.id, error = %error.chain(), "a container cannot be taken up");
                        continue;
                    }
                };
                let status = tasks.get(&container.id).copied();
                if let Err(error) = self.take_up(&info.name, &container.id, &config, status, &mut asked).await
                {
                    tracing::error!(container = %container.id, error = %error.chain(), "a container cannot be taken up");
                }
            }
        }
        let all = async { while asked.join_next().await.is_some() {} };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::warn!(
                containers = asked.len(),
                "some shims do not answer; their containers are taken up when they do"
            );
        }
        asked.detach_all();
        drop(step);
        self.clear_vanished(&known);
        self.forget_half_made(&known).await?;
        self.end_leases().await?;
        marks::passed("flows.recover.done");
        Ok(())
    }

    async fn take_up(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        config: &ContainerConfig,
        status: Option<Status>,
        asked: &mut JoinSet<()>,
    ) -> Result<()> {
        match status {
            Some(Status::Running | Status::Paused | Status::Pausing | Status::Stopped | Status::Unknown) => {
                let mut step = marks::step("flows.recover.note")?;
                let (now, stopped) = (SystemTime::now(), status == Some(Status::Stopped));
                tables::change_state(&self.rooms().store, namespace, id, move |state| {
                    // Of one that has ended, and whose end is noted, only the task is left to be cleared away.
                    let over = stopped && state.finished_at.is_some();
                    if !state.is_started() && !over {
                        state.started_at = Some(now);
                        state.finished_at = None;
                    }
                })
                .await?;
                step.next("flows.recover.follow")?;
                let run = self.live().started(namespace, id);
                self.watch(namespace.clone(), id.clone(), run, Delivery::none());
                let (flows, namespace, id) = (self.clone(), namespace.clone(), id.clone());
                asked.spawn(marks::carry(async move { flows.take_up_execs(&namespace, &id).await }));
                Ok(())
            }
            Some(Status::Created) => {
                let (flows, namespace, id) = (self.clone(), namespace.clone(), id.clone());
                asked.spawn(marks::carry(async move {
                    if let Err(error) = flows.undo_half_start(&namespace, &id).await {
                        tracing::error!(container = %id, error = %error.chain(), "a start that was cut cannot be undone");
                    }
                }));
                Ok(())
            }
            None => self.note_lost(namespace, id, config).await,
        }
    }

    /// Tasks of containers that have ended and were removed with that: the earlier daemon was about to delete them. A shim that does not answer
    /// holds up nobody.
    fn clear_vanished(&self, known: &HashSet<(String, String)>) {
        let tasks = &self.rooms().tasks;
        let vanished = tasks.auto_removed().into_iter();
        for (namespace, id) in
            vanished.filter(|(namespace, id)| !known.contains(&(namespace.to_string(), id.to_string())))
        {
            // It may have been deleted, but for what was left.
            let Ok(departure) = tasks.depart(&namespace, &id) else { continue };
            let (flows, busy) = (self.clone(), self.inner.busy.enter());
            tokio::spawn(async move {
                let _busy = busy;
                let _step = marks::begun("flows.recover.vanished");
                flows.see_off(&namespace, &id, departure).await;
            });
        }
    }

    /// Processes that were run in a container by exec: whoever fed and read them went with the earlier daemon. Each goes on with its stdin
    /// ended, and is cleared away when it ends, or at once when it has, or was never started.
    async fn take_up_execs(&self, namespace: &Namespace, id: &ContainerId) {
        let state = self.container_state(namespace, id);
        let left = match folders(&state) {
            Ok(left) => left,
            Err(error) => {
                return tracing::warn!(container = %id, error = %error.chain(), "execs cannot be taken up");
            }
        };
        for name in left {
            let Ok(exec_id) = ContainerId::parse(&name) else { continue };
            // One that has ended, or was never started, has no stdin to end.
            let _ = self.rooms().tasks.close_io(namespace, id, exec_id.as_str()).await;
            let (flows, namespace, id) = (self.clone(), namespace.clone(), id.clone());
            tokio::spawn(flows.take_up_exec(namespace, id, exec_id, state.join(&name)));
        }
    }

    /// One that was only about to be started would be waited for without end. One that runs refuses, and is waited for.
    async fn take_up_exec(
        self,
        namespace: Namespace,
        id: ContainerId,
        exec_id: ContainerId,
        folder: PathBuf,
    ) {
        match self.rooms().tasks.delete_process(&namespace, &id, exec_id.as_str()).await {
            Err(error) if !error.is_not_found() => {
                let (told, _) = tokio::sync::oneshot::channel();
                self.follow_exec(namespace, id, exec_id, folder, told);
            }
            _ => {
                if let Err(error) = remove_folder(folder).await {
                    tracing::warn!(container = %id, error = %error.chain(), "fifos of an exec stay");
                }
            }
        }
    }

    /// The daemon died between create and start, and nobody was told of a running container.
    async fn undo_half_start(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        let _step = marks::step("flows.recover.undo")?;
        let _guard = self.live().lock(namespace, id).await;
        let tasks = &self.rooms().tasks;
        if tasks.get(namespace, id, "").await?.status != Status::Created {
            // Somebody has started it meanwhile.
            return Ok(());
        }
        tasks.kill(namespace, id, "", 9, true).await?;
        tasks.wait(namespace, id, "").await?;
        tasks.delete(namespace, id).await.map(drop)
    }

    /// The container was running and its task is gone: the machine went down.
    async fn note_lost(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        config: &ContainerConfig,
    ) -> Result<()> {
        let _step = marks::step("flows.recover.lost")?;
        let state = tables::state(&self.rooms().store, namespace, id)?.unwrap_or_default();
        if state.is_started() {
            let ended = self.rooms().tasks.clear_lost(namespace, id).await.unwrap_or_else(|error| {
                tracing::warn!(container = %id, error = %error.chain(), "what is left of a lost container stays");
                None
            });
            let code = ended.map_or(LOST, |exit| exit.status);
            tables::change_state(&self.rooms().store, namespace, id, move |state| {
                state.finished_at = Some(SystemTime::now());
                state.exit_code = code;
                state.error = "the container was lost while the daemon was down".to_owned();
            })
            .await?;
        }
        // One that was never started is still somebody's; one that ended was to be removed.
        if config.auto_remove && state.started_at.is_some() {
            self.remove(namespace, id, false).await?;
        }
        Ok(())
    }

    /// Names and folders of containers that have no record: their creation, or their removal, was cut.
    async fn forget_half_made(&self, known: &HashSet<(String, String)>) -> Result<()> {
        let mut step = marks::step("flows.recover.names")?;
        tables::keep_only(&self.rooms().store, known.clone()).await?;
        step.next("flows.recover.roots")?;
        self.remove_half_made_roots(known).await?;
        step.next("flows.recover.folders")?;
        for folder in [&self.settings().root, &self.settings().state] {
            sweep(folder, known).await?;
        }
        Ok(())
    }
}

impl Flows {
    /// Roots that were prepared for a container whose record never came: nothing else would collect them.
    async fn remove_half_made_roots(&self, known: &HashSet<(String, String)>) -> Result<()> {
        let own = format!("labels.\"{GC_ROOT}\"=={GC_ROOT_OWNER}");
        for info in self.rooms().namespaces.list()? {
            for name in self.rooms().snapshotters.names() {
                let snapshotter = self.rooms().snapshotters.get(&name)?;
                for root in snapshotter.list(&info.name, std::slice::from_ref(&own))? {
                    if known.contains(&(info.name.to_string(), root.name.clone())) {
                        continue;
                    }
                    if let Err(error) = snapshotter.remove(&info.name, &root.name).await {
                        tracing::warn!(key = root.name, error = %error.chain(), "a half made root stays");
                    }
                }
            }
        }
        Ok(())
    }
}

impl Flows {
    /// Leases of pulls, loads and transfers that ended with the earlier daemon: what they held is nobody's, but for what is named by now.
    async fn end_leases(&self) -> Result<()> {
        let _step = marks::step("flows.recover.leases")?;
        let own = format!("labels.\"{}\"", lease::TRANSIENT);
        let mut ended = false;
        for info in self.rooms().namespaces.list()? {
            for lease in self.rooms().leases.list(&info.name, std::slice::from_ref(&own))? {
                match self.rooms().leases.delete(&info.name, &lease.id).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => ended = true,
                }
            }
        }
        if ended {
            self.rooms().collector.schedule();
        }
        Ok(())
    }
}

async fn sweep(root: &Path, known: &HashSet<(String, String)>) -> Result<()> {
    for namespace in folders(root)? {
        for id in folders(&root.join(&namespace))? {
            if !known.contains(&(namespace.clone(), id.clone())) {
                remove_folder(root.join(&namespace).join(&id)).await?;
            }
        }
    }
    Ok(())
}

fn folders(parent: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(parent) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.context(|| format!("list {}", parent.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context(|| format!("list {}", parent.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir())
            && let Ok(name) = entry.file_name().into_string()
        {
            names.push(name);
        }
    }
    Ok(names)
}
