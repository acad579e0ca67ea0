//! A daemon with faults, driven by its own command line, and what is true of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use client::Client;
use harness::faults::{self, Faults};
use harness::registry::Registry;
use harness::{Outcome, Scene, image, picture};
use proto_containerd::services;
use proto_engine::v1;
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime whose shim is ours under another name: it is driven as everybody's shims are.
pub const STEPWISE: &str = "io.containerd.stepwise.v2";

/// The same with our executor under another name: the shim drives it as everybody's executors.
pub const FOREIGN: &str = "io.containerd.foreign.v2";

/// A daemon in a root of its own, with a registry beside it.
pub struct World {
    pub scene: Scene,
    pub faults: Faults,
    /// The name of an image in the registry.
    pub remote: String,
    /// An archive of another small image.
    pub archive: String,
    /// The container that is watched over a restart.
    pub target: RefCell<Target>,
    /// All tasks that were seen so far.
    tasks: RefCell<BTreeSet<String>>,
    runtime: Runtime,
    registry: Registry,
}

/// Waits no longer than [`PATIENCE`], counted in seconds that were lived through: time for which the whole machine, or this program with what it
/// tests, stood still counts as one of them.
async fn patiently<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    for _ in 0..PATIENCE.as_secs() {
        if let Ok(done) = tokio::time::timeout(Duration::from_secs(1), &mut work).await {
            return Some(done);
        }
    }
    None
}

/// A container by its id, and its first process.
#[derive(Debug, Clone, Default)]
pub struct Target {
    pub id: String,
    pub pid: u32,
}

/// A container as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub state: String,
    pub status: String,
    pub pid: u32,
}

/// The shim of [`FOREIGN`], where it finds no executor but the one that is called runc.
fn foreign(scene: &mut Scene, programs: &Path, scratch: &Path) -> Result<PathBuf> {
    let (shims, path) = (scratch.join("shims"), scratch.join("path"));
    std::fs::create_dir(&shims)?;
    std::fs::create_dir(&path)?;
    let shim = shims.join("containerd-shim-foreign-v2");
    std::fs::copy(programs.join("containerd-shim-runtimed-v2"), &shim).context("copy the shim")?;
    std::os::unix::fs::symlink(programs.join("runc-rs"), path.join("runc"))?;
    let usual = "/usr/sbin:/usr/bin:/sbin:/bin";
    scene.set_environment("PATH", Path::new(&format!("{}:{usual}", path.display())));
    Ok(shim)
}

impl World {
    /// A world in which `busybox` is loaded and the container `bystander` runs.
    pub fn make() -> Result<World> {
        let programs = harness::programs::folder()?;
        let mut scene = Scene::with_programs(&programs)?;
        let faults = Faults::new()?;
        scene.set_environment(faults::VARIABLE, faults.folder());
        let scratch = scene.root().join("scratch");
        std::fs::create_dir(&scratch)?;
        let shim = scratch.join("containerd-shim-stepwise-v2");
        std::os::unix::fs::symlink(programs.join("containerd-shim-runtimed-v2"), &shim)?;
        let foreign = foreign(&mut scene, &programs, &scratch)?;
        // The table of shims is the last one that is there.
        scene.configure(&format!("{STEPWISE:?} = {shim:?}\n{FOREIGN:?} = {foreign:?}\n"));
        let busybox = image::busybox_archive(&scratch)?;
        let layout = scratch.join("small-layout");
        image::small(&scratch.join("small"), &layout, "1")?;
        let registry = Registry::start(&scratch)?;
        let remote = registry.push(&layout, "1", "small")?;
        let archive = image::archive(&layout, "1", &scratch.join("small.tar"), "small:loaded")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let archive = archive.display().to_string();
        let target = RefCell::default();
        let mut world =
            World { scene, faults, remote, archive, target, tasks: RefCell::default(), runtime, registry };
        world.start()?;
        world.ok(&["load", "--quiet", "--input", &busybox.display().to_string()])?;
        world.ok(&["run", "-d", "--name", "bystander", "busybox", "sleep", "100000"])?;
        Ok(world)
    }

    /// Remembers the tasks that have a bundle just now.
    pub fn note_tasks(&self) {
        let bundles =
            self.scene.root().join("run/io.containerd.runtime.v2.task").join(self.scene.namespace());
        let entries = std::fs::read_dir(bundles).into_iter().flatten().flatten();
        self.tasks.borrow_mut().extend(entries.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }

    /// The sockets that are left of shims, of those tasks, which make them where containerd's do: everybody's are there.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let (address, namespace) = (self.scene.socket(), self.scene.namespace());
        let of = |task: &String| {
            let name = format!("{}/{namespace}/{task}", address.display());
            Path::new("/run/containerd/s").join(hex::encode(Sha256::digest(name)))
        };
        self.tasks.borrow().iter().map(of).filter(|path| path.exists()).collect()
    }

    /// Ends it all, and says what stayed if anything did.
    pub fn finish(self) -> Result<()> {
        drop(self.registry);
        self.scene.finish()
    }

    /// Starts the daemon and waits until it serves. An error if it ends before, unless that is for a fault.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.try_start()?, "the daemon died at its start\n{}", self.scene.log());
        Ok(())
    }

    /// As [`World::start`]; false if it ended before it served.
    pub fn try_start(&mut self) -> Result<bool> {
        self.scene.spawn_daemon()?;
        let began = Instant::now();
        loop {
            if self.answers() {
                return Ok(true);
            }
            if self.scene.daemon_ended()?.is_some() {
                return Ok(false);
            }
            ensure!(began.elapsed() < PATIENCE, "the daemon does not serve\n{}", self.scene.log());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn answers(&self) -> bool {
        self.ask(|client| async move { Ok(client.engine_system().version(v1::VersionRequest {}).await?) })
            .is_ok()
    }

    /// Asks the daemon something over its API.
    pub fn ask<T, F: Future<Output = Result<T>>>(&self, question: impl FnOnce(Client) -> F) -> Result<T> {
        let (socket, namespace) = (self.scene.socket(), self.scene.namespace().to_owned());
        let asking = async {
            let client = Client::connect(&socket, &namespace).await?;
            question(client).await
        };
        self.runtime.block_on(patiently(asking)).context("the daemon does not answer")?
    }

    /// Runs rctl to its end, faults and all; one that hangs is an error.
    pub fn rctl(&self, args: &[&str]) -> Result<Outcome> {
        let mut command = self.scene.rctl_command(args);
        command.env(faults::VARIABLE, self.faults.folder()).stdin(Stdio::null());
        let what = format!("rctl {}", args.join(" "));
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        let output = self.runtime.block_on(async { patiently(command.output()).await });
        let output =
            output.with_context(|| format!("{what} does not end\n{}", picture::of_scene(&self.scene)))??;
        Ok(Outcome {
            what,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs rctl to success.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        self.rctl(args)?.ok()
    }

    /// All containers.
    pub fn containers(&self) -> Result<Vec<Listed>> {
        let request = v1::ListRequest { all: true, ..Default::default() };
        let listed = self.ask(|client| async move { Ok(client.engine_containers().list(request).await?) })?;
        let containers = listed.into_inner().containers.into_iter();
        Ok(containers
            .map(|container| Listed {
                name: container
                    .names
                    .first()
                    .map(|name| name.trim_start_matches('/').to_owned())
                    .unwrap_or_default(),
                state: container.state,
                status: container.status,
                pid: container.pid,
            })
            .collect())
    }

    /// The names of all images, and the keys of all snapshots.
    pub fn images_and_snapshots(&self) -> Result<(Vec<String>, Vec<String>)> {
        self.ask(|client| async move {
            let images =
                client.images().list(services::images::ListImagesRequest::default()).await?.into_inner();
            let request = services::snapshots::ListSnapshotsRequest {
                snapshotter: "overlayfs".into(),
                filters: vec![],
            };
            let mut listed = client.snapshots().list(request).await?.into_inner();
            let mut snapshots = Vec::new();
            while let Some(part) = listed.message().await? {
                snapshots.extend(part.info.into_iter().map(|snapshot| snapshot.name));
            }
            Ok((images.images.into_iter().map(|image| image.name).collect(), snapshots))
        })
    }

    /// The container `name`, if there is one.
    pub fn container(&self, name: &str) -> Result<Option<Listed>> {
        Ok(self.containers()?.into_iter().find(|container| container.name == name))
    }

    /// The state of the container `name`; `none` if there is none.
    pub fn state(&self, name: &str) -> Result<String> {
        Ok(self.container(name)?.map_or_else(|| "none".to_owned(), |container| container.state))
    }

    /// Waits until the container `name` is in one of these states.
    pub fn until(&self, name: &str, states: &[&str]) -> Result<String> {
        let began = Instant::now();
        loop {
            let state = self.state(name)?;
            if states.contains(&state.as_str()) {
                return Ok(state);
            }
            if began.elapsed() > PATIENCE / 2 {
                bail!("the container {name} stays {state}, and does not become {}", states.join(" or "));
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}
