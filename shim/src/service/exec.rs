//! Exec: add a process to a container. It is run by Start.

use std::sync::Arc;

use errors::{Error, Kind, Result, WithKind};
use proto_shim::Empty;
use proto_shim::events::TaskExecAdded;
use proto_shim::task::v3::ExecProcessRequest;
use runc_client::ExecOptions;

use super::create::{Terminal, receive};
use super::{Service, check_id, executor_error};
use crate::bundle;
use crate::container::Container;
use crate::io::{Owner, Prepared, Stdio};
use crate::process::Process;
use crate::reaper::Pending;
use crate::state::Verb;

impl Service {
    /// Its streams are opened by the start, as containerd's shim does: a daemon may die before that, and the client would wait for the end of
    /// fifos that only the shim holds open. Sockets of the shim's own are there at once.
    ///
    /// # Errors
    /// AlreadyExists for an exec id in use; FailedPrecondition if the container does not run; InvalidArgument for streams that cannot be.
    pub(crate) async fn exec(self: Arc<Self>, request: ExecProcessRequest) -> Result<Empty> {
        check_id("exec", &request.exec_id)?;
        let container = self.container(&request.id)?;
        let spec = process_spec(&request)?;
        let stdio = Stdio {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let has_sockets = stdio.has_sockets()?;
        let process = Arc::new(Process::new(&request.exec_id, stdio).with_spec(spec));
        if container.process(&request.exec_id).is_ok() {
            return Err(Error::already_exists(format!("id {}: already exists", request.exec_id)));
        }
        if container.to_be_restored().is_some() {
            return Err(Error::precondition("cannot exec in a created state"));
        }
        container.init.allows(Verb::Exec)?;
        if has_sockets {
            process.set_prepared(self.open_streams(&container, &process).await?);
        }
        container.add(process)?;
        let added = TaskExecAdded {
            container_id: container.id.clone(),
            exec_id: request.exec_id,
            ..TaskExecAdded::default()
        };
        self.publisher.publish("/tasks/exec-added", &added);
        Ok(Empty::default())
    }

    async fn open_streams(&self, container: &Container, process: &Process) -> Result<Prepared> {
        let owner = Owner {
            id: &process.exec_id,
            namespace: &container.namespace,
            uid: container.options.io_uid,
            gid: container.options.io_gid,
            reaper: &self.reaper,
        };
        Prepared::open(&process.stdio, &owner).await
    }

    /// Lets the executor start the process, and takes it over.
    pub(super) async fn run_exec(&self, container: &Container, process: &Process) -> Result<Pending> {
        let mut step = marks::step("shim.exec.streams")?;
        let mut prepared = match process.take_prepared() {
            Some(prepared) => prepared,
            None => self.open_streams(container, process).await?,
        };
        step.next("shim.exec.executor")?;
        let terminal = process.stdio.terminal.then(|| Terminal::new(&container.bundle)).transpose()?;
        let watch = self.reaper.watch();
        let pid_file = container.bundle.exec_pid(&process.exec_id);
        let options = ExecOptions {
            pid_file: Some(pid_file.clone()),
            console_socket: terminal.as_ref().map(|terminal| terminal.socket.path().to_owned()),
            stdio: prepared.child_stdio(),
        };
        container
            .runc
            .exec(&container.id, process.spec(), container.bundle.path(), options)
            .await
            .map_err(|error| executor_error("OCI runtime exec failed", error))?;
        let pid = bundle::read_pid(&pid_file)?;
        let pending = watch.claim(pid);
        let taken_over = async {
            step.next("shim.exec.adopt")?;
            prepared.run(receive(terminal).await?)
        };
        match taken_over.await {
            Ok(io) => {
                process.set_started(pid, pending.reaped(), io);
                Ok(pending)
            }
            Err(error) => {
                // Without its streams it is of no use.
                let _ = sys::kill::kill(pid, 9);
                Err(error)
            }
        }
    }
}

/// The OCI process in a request. The request's own word on the terminal counts; unknown fields are passed on.
fn process_spec(request: &ExecProcessRequest) -> Result<Vec<u8>> {
    let any = request.spec.as_ref().ok_or_else(|| Error::invalid("the exec request has no process spec"))?;
    let named = || format!("parse the process spec of {}", request.exec_id);
    let mut spec: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&any.value).kind(Kind::InvalidArgument, named)?;
    spec.insert("terminal".to_owned(), request.terminal.into());
    serde_json::to_vec(&spec).kind(Kind::Internal, named)
}
