//! Another process in a running container, its streams over fifos: so it works with every shim.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use container::Container;
use errors::{Context, Error, Kind, Result, WithKind};
use ids::{ContainerId, Namespace};
use nix::sys::stat::Mode;
use prost_types::Any;
use task::{Exec, Io, Status};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::attach::{self, Chunk, Delivery, Input, Streams};
use crate::remove::remove_folder;
use crate::undo::Undo;
use crate::{Flows, names, user};

/// The type URL of an OCI process, as containerd has it.
const PROCESS: &str = "types.containerd.io/opencontainers/runtime-spec/1/Process";

/// What to run.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// The command and its arguments.
    pub args: Vec<String>,
    /// `NAME=VALUE`, on top of the container's.
    pub env: Vec<String>,
    /// Empty: the container's.
    pub working_dir: String,
    /// Empty: the container's.
    pub user: String,
    /// A terminal.
    pub tty: bool,
    /// All that the daemon may.
    pub privileged: bool,
    /// Nobody reads its output.
    pub detach: bool,
    /// Its stdin is fed.
    pub stdin: bool,
    /// The terminal's size.
    pub size: Option<(u32, u32)>,
}

/// A process that runs.
pub struct Running {
    /// The exec's id.
    pub exec_id: ContainerId,
    /// Its pid, as the host sees it.
    pub pid: u32,
    /// Its streams, unless detached.
    pub streams: Option<Streams>,
    exit: oneshot::Receiver<Result<u32>>,
}

/// The fifos of one exec.
struct Fifos {
    folder: PathBuf,
    io: Io,
}

impl Running {
    /// Waits for its end.
    pub async fn ended(self) -> Result<u32> {
        match self.exit.await {
            Ok(exit) => exit,
            Err(_) => Err(Error::internal("the end of an exec was not told")),
        }
    }
}

impl Flows {
    /// Runs another process in a running container. If the caller does not wait for it, its stdin is ended: nobody will ever type.
    pub async fn exec(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        request: ExecRequest,
    ) -> Result<Running> {
        let (flows, namespace, id) = (self.clone(), namespace.clone(), id.clone());
        let (tell, told) = oneshot::channel();
        self.to_the_end(async move {
            let ran = match flows.exec_now(&namespace, &id, request).await {
                Err(error) if flows.ends_with_its_shim(&namespace, &id, &error).await? => {
                    Err(Error::precondition(format!("container {id} is not running")))
                }
                ran => ran,
            };
            if let Err(Ok(unheard)) = tell.send(ran) {
                let exec_id = unheard.exec_id.to_string();
                // Our end of the pipe goes first: what is left is the shim's.
                drop(unheard);
                if let Err(error) = flows.rooms().tasks.close_io(&namespace, &id, &exec_id).await {
                    tracing::debug!(container = %id, error = %error.chain(), "end the stdin of an exec that nobody waits for");
                }
            }
            Ok(())
        })
        .await?;
        told.await.unwrap_or_else(|_| Err(Error::internal("an exec was broken off")))
    }

    async fn exec_now(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        request: ExecRequest,
    ) -> Result<Running> {
        if request.args.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        let mut step = marks::step("flows.exec.check")?;
        let container = self.rooms().containers.get(namespace, id)?;
        self.must_run(namespace, id).await?;
        step.next("flows.exec.spec")?;
        let spec = self.process_of(namespace, &container, &request).await?;
        let exec_id = names::new_id()?;
        step.next("flows.exec.fifos")?;
        let mut undo = Undo::default();
        let fifos = Fifos::make(&self.container_state(namespace, id), &exec_id, &request)?;
        undo.push("remove the fifos", remove_folder(fifos.folder.clone()));
        let exec = Exec { exec_id: exec_id.clone(), spec, io: fifos.io.clone() };
        let tasks = self.rooms().tasks.clone();
        undo.or_back(step.next("flows.exec.add").map_err(Error::from)).await?;
        undo.or_back(tasks.exec(namespace, id, exec).await).await?;
        undo.push("delete the exec", {
            let (tasks, namespace, id, exec_id) =
                (tasks.clone(), namespace.clone(), id.clone(), exec_id.clone());
            async move { tasks.delete_process(&namespace, &id, exec_id.as_str()).await.map(drop) }
        });
        undo.or_back(step.next("flows.exec.start").map_err(Error::from)).await?;
        let streams =
            undo.or_back(self.open_and_start(namespace, id, &exec_id, &fifos, &request).await).await?;
        let (pid, streams) = streams;
        marks::passed("flows.exec.started");
        let (told, exit) = oneshot::channel();
        self.clone().follow_exec(namespace.clone(), id.clone(), exec_id.clone(), fifos.folder, told);
        Ok(Running { exec_id, pid, streams, exit })
    }

    async fn must_run(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        let stopped = || Error::precondition(format!("container {id} is not running"));
        let process = match self.rooms().tasks.get(namespace, id, "").await {
            Err(error) if error.is_not_found() => return Err(stopped()),
            process => process?,
        };
        match process.status {
            Status::Running => Ok(()),
            Status::Paused | Status::Pausing => Err(Error::precondition(format!(
                "container {id} is paused, unpause the container before exec"
            ))),
            Status::Unknown => Err(Error::unavailable(format!("the shim of container {id} does not answer"))),
            Status::Stopped | Status::Created => Err(stopped()),
        }
    }

    /// The container's own process, with what the request asks for in its place.
    async fn process_of(
        &self,
        namespace: &Namespace,
        container: &Container,
        request: &ExecRequest,
    ) -> Result<Any> {
        let bad = || format!("read the spec of container {}", container.id);
        let spec = container.spec.as_ref().ok_or_else(|| Error::precondition(bad()))?;
        let spec: serde_json::Value = serde_json::from_slice(&spec.value).kind(Kind::DataLoss, bad)?;
        let mut process = spec.get("process").cloned().ok_or_else(|| Error::precondition(bad()))?;
        process["args"] = request.args.clone().into();
        process["terminal"] = request.tty.into();
        let mut env = strings(&process["env"]);
        if request.tty && !env.iter().any(|entry| entry.starts_with("TERM=")) {
            env.push("TERM=xterm".to_owned());
        }
        process["env"] = crate::spec::merge_env(env, &request.env).into();
        if !request.working_dir.is_empty() {
            process["cwd"] = request.working_dir.clone().into();
        }
        if !request.user.is_empty() {
            let resolved = self.resolve_user(namespace, container, &request.user).await?;
            process["user"] = user::to_json(&resolved);
        }
        if request.privileged {
            let all = &self.settings().capabilities;
            for set in ["bounding", "effective", "permitted"] {
                process["capabilities"][set] = all.clone().into();
            }
        }
        if let Some((width, height)) = request.size.filter(|_| request.tty) {
            process["consoleSize"] = serde_json::json!({ "height": height, "width": width });
        }
        let value = serde_json::to_vec(&process).kind(Kind::Internal, || "write an exec's process")?;
        Ok(Any { type_url: PROCESS.to_owned(), value })
    }

    async fn open_and_start(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        exec_id: &ContainerId,
        fifos: &Fifos,
        request: &ExecRequest,
    ) -> Result<(u32, Option<Streams>)> {
        // Our own writers hold the fifos open until the shim has its own: a reader would see their end at once otherwise.
        let readers = [&fifos.io.stdout, &fifos.io.stderr].map(|path| open_reader(Path::new(path)));
        let [stdout, stderr] = readers;
        let (stdout, stderr) = (stdout?, stderr?);
        // And a reader of our own: a process that has ended by then has none.
        let stdin = open_reader(Path::new(&fifos.io.stdin))?;
        let pid = self.rooms().tasks.start(namespace, id, exec_id.as_str()).await?;
        let input = stdin.map_or(Input::Closed, |(_, writer)| Input::Fifo(writer));
        if request.detach {
            return Ok((pid, None));
        }
        let (sender, output) = attach::channel();
        for (reader, wrap) in [(stdout, Chunk::Stdout as fn(Bytes) -> Chunk), (stderr, Chunk::Stderr)] {
            // Dropping our writer here leaves the shim's.
            let Some((reader, _)) = reader else { continue };
            let sender = sender.clone();
            tokio::spawn(async move {
                if let Err(error) = attach::pump_fifo(reader, sender, wrap).await {
                    tracing::warn!(%error, "an exec's output broke off");
                }
            });
        }
        Ok((pid, Some(Streams { output, input, delivery: Delivery::none() })))
    }

    /// Waits for the end, clears the exec away, tells whoever waits.
    pub(crate) fn follow_exec(
        self,
        namespace: Namespace,
        id: ContainerId,
        exec_id: ContainerId,
        folder: PathBuf,
        told: oneshot::Sender<Result<u32>>,
    ) {
        tokio::spawn(marks::carry(async move {
            let tasks = &self.rooms().tasks;
            let exit = tasks.wait(&namespace, &id, exec_id.as_str()).await.map(|exit| exit.status);
            let _step = marks::begun("flows.exec.clear");
            match tasks.delete_process(&namespace, &id, exec_id.as_str()).await {
                Err(error) if !error.is_not_found() => {
                    tracing::warn!(container = %id, exec = %exec_id, error = %error.chain(), "an ended exec stays");
                }
                _ => {}
            }
            if let Err(error) = remove_folder(folder).await {
                tracing::warn!(container = %id, error = %error.chain(), "fifos of an exec stay");
            }
            marks::passed("flows.exec.cleared");
            // Nobody may be waiting any more.
            let _ = told.send(exit);
        }));
    }

    /// Resizes the terminal of a container, or of an exec in it.
    pub async fn resize(
        &self,
        namespace: &Namespace,
        id: &ContainerId,
        exec_id: &str,
        size: (u32, u32),
    ) -> Result<()> {
        self.rooms().tasks.resize(namespace, id, exec_id, size.0, size.1).await
    }
}

impl Fifos {
    fn make(state: &Path, exec_id: &ContainerId, request: &ExecRequest) -> Result<Fifos> {
        let folder = state.join(exec_id.as_str());
        std::fs::create_dir_all(&folder).context(|| format!("create {}", folder.display()))?;
        let fifo = |name: &str, wanted: bool| -> Result<String> {
            if !wanted {
                return Ok(String::new());
            }
            let path = folder.join(name);
            nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600))
                .kind(Kind::Internal, || format!("mkfifo {}", path.display()))?;
            Ok(path.display().to_string())
        };
        let io = Io {
            stdin: fifo("stdin", request.stdin && !request.detach)?,
            stdout: fifo("stdout", !request.detach)?,
            stderr: fifo("stderr", !request.detach && !request.tty)?,
            terminal: request.tty,
        };
        Ok(Fifos { folder, io })
    }
}

/// A reader, and a writer that keeps it from an early end.
fn open_reader(path: &Path) -> Result<Option<(pipe::Receiver, pipe::Sender)>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let reader = pipe::OpenOptions::new()
        .open_receiver(path)
        .context(|| format!("open {} to read", path.display()))?;
    let writer =
        pipe::OpenOptions::new().open_sender(path).context(|| format!("open {} to write", path.display()))?;
    Ok(Some((reader, writer)))
}

fn strings(value: &serde_json::Value) -> Vec<String> {
    let texts = value.as_array().into_iter().flatten();
    texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}
