//! Restore: a container that is made from a checkpoint. Its creation mounts the root and opens the streams; criu makes its processes
//! when it is started. Until then it has none, and so no pid.

use std::path::PathBuf;
use std::sync::Arc;

use errors::{Error, Result};
use proto_shim::task::v3::CreateTaskRequest;
use runc_client::{RestoreOptions, Runc};

use super::create::{Terminal, receive, streams};
use super::root::Root;
use super::{More, Service, executor_error};
use crate::bundle::{self, Bundle};
use crate::cgroup::Cgroup;
use crate::container::{Container, Parts};
use crate::io::{Owner, Prepared};
use crate::options::Options;
use crate::process::Process;
use crate::reaper::Pending;
use crate::spec::Spec;
use crate::sync::lock;
use crate::{executor, log};

/// Where criu works in the bundle, unless it is told another place.
const WORK: &str = "criu-work";

impl Service {
    /// Prepares a container for its restoration.
    pub(super) async fn prepare_restore(&self, request: &CreateTaskRequest, more: More) -> Result<Container> {
        if more.start {
            return Err(Error::invalid(format!(
                "container {}: a checkpoint is restored by a start",
                request.id
            )));
        }
        // One that stands by would wait for as long as the container is there: criu is called when it is started.
        drop(lock(&self.first_executor).take());
        let bundle = Bundle::new(&request.bundle);
        let options = Options::from_request(request.options.as_ref())?;
        let spec = Spec::read(bundle.path())?;
        let binary = executor::choose(&options.binary_name);
        bundle.write_options(&options, &binary)?;
        let runc = self.restorer(&binary, &options, &bundle);
        let mut root = Root::new(request, &bundle);
        root.mount()?;
        let init = Arc::new(Process::new("", streams(request)));
        let owner = Owner {
            id: &request.id,
            namespace: &self.namespace,
            uid: options.io_uid,
            gid: options.io_gid,
            reaper: &self.reaper,
        };
        let prepared = Prepared::open(&init.stdio, &owner).await?;
        if let Some(client) = lock(&self.first_client).take() {
            prepared.welcome(client)?;
        }
        init.set_prepared(prepared);
        root.keep();
        let parts = Parts {
            id: request.id.clone(),
            namespace: self.namespace.clone(),
            bundle,
            options,
            runc,
            init,
            cgroup: None,
            checkpoint: Some(PathBuf::from(&request.checkpoint)),
            has_own_pid_namespace: spec.has_own_pid_namespace(),
            has_poststop_hooks: spec.has_poststop_hooks(),
            // It is the executor that restores it.
            starts_at_gate: false,
            goes_with_its_end: more.clear,
        };
        Ok(Container::new(parts))
    }

    fn restorer(&self, binary: &std::path::Path, options: &Options, bundle: &Bundle) -> Runc {
        let runc = executor::runc(binary, options, &self.namespace, bundle);
        let runc = runc.spawner(Arc::new(self.reaper.clone()));
        match executor::protected(binary) {
            Some(file) => runc.file(Arc::new(file)),
            None => runc,
        }
    }

    /// Makes the processes, and takes init over. A container that could not be restored has none, as before; its streams are used up.
    pub(super) async fn restore(
        &self,
        container: &Container,
        init: &Process,
        images: PathBuf,
    ) -> Result<Pending> {
        let mut prepared = init.take_prepared().ok_or_else(|| {
            Error::precondition(format!("container {} could not be restored before", container.id))
        })?;
        let bundle = &container.bundle;
        let terminal = init.stdio.terminal.then(|| Terminal::new(bundle)).transpose()?;
        let own = bundle.path().join(WORK);
        let asked = &container.options.criu_work_path;
        let watch = self.reaper.watch();
        let options = RestoreOptions {
            image_path: images,
            work_path: if asked.is_empty() { own.clone() } else { asked.into() },
            pid_file: bundle.init_pid(),
            console_socket: terminal.as_ref().map(|terminal| terminal.socket.path().to_owned()),
            no_pivot: container.options.no_pivot_root,
            stdio: prepared.child_stdio(),
        };
        // How long it takes goes by the size of its memory: no limit for the executor fits that.
        let runc = container.runc.clone().limit(None);
        // After a failure criu's log stays with the bundle.
        runc.restore(&container.id, bundle.path(), options)
            .await
            .map_err(|error| executor_error("OCI runtime restore failed", error))?;
        if let Err(error) = std::fs::remove_dir_all(&own)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warning!("remove {}: {error}", own.display());
        }
        let taken_over = async {
            let master = receive(terminal).await?;
            let pid = bundle::read_pid(&bundle.init_pid())?;
            let pending = watch.claim(pid);
            init.set_started(pid, pending.reaped(), prepared.run(master)?);
            Ok(pending)
        };
        match taken_over.await {
            Ok(pending) => {
                match Cgroup::of(init.pid()) {
                    Ok(cgroup) => container.set_cgroup(cgroup),
                    Err(error) => log::warning!("{}", error.chain()),
                }
                Ok(pending)
            }
            Err(error) => {
                init.close_io();
                if let Err(error) = container.runc.delete(&container.id, true).await {
                    log::warning!("{error}");
                }
                Err(error)
            }
        }
    }
}
