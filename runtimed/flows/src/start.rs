//! Starting a container: mounts, task, streams, record.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use container::Container;
use errors::{Context, Error, Kind, Result};
use ids::{ContainerId, Namespace};
use task::{Io, Ran, Status};
use tokio::sync::watch;

use crate::attach::{self, Delivery, Streams};
use crate::config::ContainerConfig;
use crate::live::{Follower, Progress, until};
use crate::undo::Undo;
use crate::{Flows, files, mount_points, tables};

/// A container that was started.
pub struct Started {
    /// Its first process, as the host sees it.
    pub pid: u32,
    /// Its streams, when they were asked for.
    pub streams: Option<Streams>,
    progress: Option<watch::Receiver<Progress>>,
}

/// Which of a container's streams a caller of start wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// None: its output is kept all the same.
    Nothing,
    /// Its output.
    Output,
    /// Its output, and to feed its input.
    Both,
}

impl Started {
    /// Follows the container that was started.
    pub fn follower(&self) -> Option<Follower> {
        self.progress.clone().map(Follower)
    }

    /// Waits for the end of the container, and, with `removed`, until it is gone too; says how it ended.
    pub async fn ended(&self, removed: bool) -> Result<u32> {
        let Some(progress) = self.progress.clone() else {
            return Err(Error::internal("a started container is not followed"));
        };
        let reached = until(progress, |progress| match progress {
            Progress::Running => false,
            Progress::Ended(_) => !removed,
            Progress::Removed(_) => true,
        });
        reached.await.map(|progress| progress.code())
    }
}

impl Flows {
    /// Starts a container that does not run; one that runs is left alone. With `want`, nothing that it writes is missed.
    pub async fn start(&self, namespace: &Namespace, id: &ContainerId, want: Want) -> Result<Started> {
        let (flows, namespace, id) = (self.clone(), namespace.clone(), id.clone());
        self.to_the_end(async move { flows.start_locked(&namespace, &id, want).await }).await
    }

    pub(crate) async fn start_locked(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        want: Want,
    ) -> Result<Started> {
        let mut step = marks::step("flows.start.look")?;
        let _guard = self.live().lock(namespace, id).await;
        let container = self.rooms().containers.get(namespace, id)?;
        let config = ContainerConfig::of(&container)?;
        if let Some(started) = self.leave_or_clear(namespace, id, want).await? {
            return Ok(started);
        }
        step.next("flows.start.task")?;
        match self.start_task(namespace, &container, config.as_ref(), want).await {
            Ok(mut started) => {
                marks::passed("flows.start.running");
                // Followed before it is noted: whatever fails from here on, its end is not missed.
                let run = self.live().started(namespace, id);
                started.progress = Some(run.follow());
                let delivery =
                    started.streams.as_ref().map_or_else(Delivery::none, |streams| streams.delivery.clone());
                self.watch(namespace.clone(), id.clone(), run, delivery);
                step.next("flows.start.note")?;
                let noting = self.note_started(namespace, id);
                match config.is_some_and(|config| config.auto_remove) {
                    // A power cut ends it, and with that removes it.
                    true => metadata::lazily(noting).await?,
                    false => noting.await?,
                }
                marks::passed("flows.start.noted");
                Ok(started)
            }
            Err(error) => {
                let text = error.chain();
                tables::change_state(&self.rooms().store, namespace, id, move |state| {
                    state.error = text;
                    state.exit_code = 128;
                })
                .await?;
                Err(error)
            }
        }
    }

    /// A running task stays, a paused one is an error, one that has ended makes way.
    async fn leave_or_clear(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        want: Want,
    ) -> Result<Option<Started>> {
        let process = match self.rooms().tasks.get(namespace, id, "").await {
            Err(error) if error.is_not_found() => return Ok(None),
            process => process?,
        };
        match process.status {
            Status::Paused | Status::Pausing => {
                Err(Error::precondition("cannot start a paused container, try unpause instead"))
            }
            Status::Running => {
                let streams = match want {
                    Want::Nothing => None,
                    _ => Some(self.attach_streams(namespace, id, want == Want::Both).await?),
                };
                Ok(Some(Started {
                    pid: process.pid,
                    streams,
                    progress: self.live().follow_running(namespace, id),
                }))
            }
            Status::Stopped => {
                let _step = marks::step("flows.start.clear")?;
                self.keep_end(namespace, id, process.exit).await?;
                let cleared = self.rooms().tasks.delete(namespace, id).await;
                let exit = cleared.context(|| format!("clear the ended task of {id}"))?;
                self.note_end(namespace, id, exit).await?;
                Ok(None)
            }
            Status::Created => {
                match self.rooms().tasks.kill(namespace, id, "", 9, true).await {
                    // Its shim has died this moment: what is left is ended for it.
                    Err(error) if error.kind() == Kind::Unavailable => {}
                    other => other?,
                }
                self.rooms().tasks.wait(namespace, id, "").await?;
                self.rooms().tasks.delete(namespace, id).await?;
                Ok(None)
            }
            Status::Unknown => Err(Error::unavailable(format!("the shim of container {id} does not answer"))),
        }
    }

    async fn start_task(
        &self,
        namespace: &Namespace,
        container: &Container,
        config: Option<&ContainerConfig>,
        want: Want,
    ) -> Result<Started> {
        let (tasks, id) = (&self.rooms().tasks, &container.id);
        let create = self.task_of(namespace, container, config)?;
        let attach = want != Want::Nothing;
        let ran =
            tasks.run(namespace, id, create, attach, config.is_some_and(|config| config.auto_remove)).await;
        let Ran { pid, started, client } = ran.context(|| "failed to create task for container")?;
        let mut undo = Undo::default();
        undo.push("delete the task", {
            let (tasks, namespace, id) = (tasks.clone(), namespace.clone(), id.clone());
            async move {
                let _ = tasks.kill(&namespace, &id, "", 9, true).await;
                tasks.wait(&namespace, &id, "").await?;
                tasks.delete(&namespace, &id).await.map(drop)
            }
        });
        let mut step = undo.or_back(marks::step("flows.start.attach").map_err(Error::from)).await?;
        let stdin = want == Want::Both;
        let streams = match client {
            _ if !attach => None,
            Some(client) => Some(attach::over(client, stdin)),
            None => Some(undo.or_back(self.attach_streams(namespace, id, stdin).await).await?),
        };
        if !started {
            undo.or_back(step.next("flows.start.init").map_err(Error::from)).await?;
            let started = tasks.start(namespace, id, "").await.context(|| "failed to start container");
            undo.or_back(started).await?;
        }
        Ok(Started { pid, streams, progress: None })
    }

    fn task_of(
        &self,
        namespace: &Namespace,
        container: &Container,
        config: Option<&ContainerConfig>,
    ) -> Result<task::Create> {
        let spec = container
            .spec
            .as_ref()
            .ok_or_else(|| Error::precondition(format!("container {} has no spec", container.id)))?;
        let rootfs = if container.snapshot_key.is_empty() {
            Vec::new()
        } else {
            let snapshotter = self.rooms().snapshotters.get(&container.snapshotter)?;
            let mounts = snapshotter.mounts(namespace, &container.snapshot_key)?.into_iter().map(task_mount);
            let points = config.and_then(|_| self.settings().mount_points.as_deref());
            let mounts = mounts.map(|mount| mount_points::below(mount, points));
            match config.is_some_and(|config| config.auto_remove) && knows_volatile() {
                true => mounts.map(volatile).collect(),
                false => mounts.collect(),
            }
        };
        Ok(task::Create {
            runtime: container.runtime.clone(),
            options: container.runtime_options.clone(),
            spec: spec.value.clone(),
            rootfs,
            io: self.io(namespace, &container.id, config)?,
            checkpoint: task::Checkpoint::None,
        })
    }

    /// Output is kept by the shim; a container of another client, which says nothing of streams, gets the same.
    fn io(&self, namespace: &Namespace, id: &ContainerId, config: Option<&ContainerConfig>) -> Result<Io> {
        let (root, state) = (self.container_root(namespace, id), self.container_state(namespace, id));
        for folder in [&root, &state] {
            std::fs::create_dir_all(folder).context(|| format!("create {}", folder.display()))?;
        }
        if let Some(config) = config {
            files::restore(&state, &config.hostname, config.network == "host")?;
        }
        let settings = self.settings();
        let socket = state.join("attach.sock");
        let sink = format!(
            "log://{}?max-size={}&max-files={}&attach={}",
            self.log_path(namespace, id).display(),
            settings.log_max_size,
            settings.log_max_files,
            socket.display()
        );
        let stdin = match config {
            Some(config) if config.open_stdin => format!("attach://{}", socket.display()),
            _ => String::new(),
        };
        let terminal = config.is_some_and(|config| config.tty);
        let stderr = if terminal { String::new() } else { sink.clone() };
        Ok(Io { stdin, stdout: sink, stderr, terminal })
    }

    /// Where a container's output is kept.
    pub(crate) fn log_path(&self, namespace: &Namespace, id: &ContainerId) -> PathBuf {
        self.container_root(namespace, id).join("container.log")
    }

    /// Connects to the streams of a container whose task exists.
    pub async fn attach_streams(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        stdin: bool,
    ) -> Result<Streams> {
        let socket = self.container_state(namespace, id).join("attach.sock");
        attach::connect(&socket, stdin).await.context(|| format!("attach to container {id}"))
    }

    async fn note_started(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        tables::change_state(&self.rooms().store, namespace, id, |state| {
            if state.started_at.is_some() {
                state.restart_count += 1;
            }
            state.started_at = Some(SystemTime::now());
            state.finished_at = None;
            state.exit_code = 0;
            state.stopped_by_user = false;
            state.error.clear();
        })
        .await
    }
}

/// What is written to a root that is removed with its container never needs to come to disk; without this, to unmount it
/// brings everything there that the whole file system has to write (Documentation/filesystems/overlayfs.rst, "Volatile
/// mount").
fn volatile(mut mount: task::Mount) -> task::Mount {
    if mount.kind == "overlay" && mount.options.iter().any(|option| option.starts_with("upperdir=")) {
        // A run before this one has left its mark, which forbids another mount. The machine has not gone down since: the container would
        // have gone with it.
        if let Some(work) = mount.options.iter().find_map(|option| option.strip_prefix("workdir=")) {
            let _ = std::fs::remove_dir_all(Path::new(work).join("work/incompat/volatile"));
        }
        mount.options.push("volatile".to_owned());
    }
    mount
}

/// Kernel 5.10 and later.
fn knows_volatile() -> bool {
    static KNOWS: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        let name = nix::sys::utsname::uname().ok();
        let release = name.as_ref().and_then(|name| name.release().to_str()).unwrap_or_default();
        let mut numbers =
            release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
        (numbers.next(), numbers.next()) >= (Some(5), Some(10))
    });
    *KNOWS
}

pub(crate) fn task_mount(mount: snapshot::Mount) -> task::Mount {
    task::Mount { kind: mount.kind, source: mount.source, target: mount.target, options: mount.options }
}
