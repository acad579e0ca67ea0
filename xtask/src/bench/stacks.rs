//! The stacks side by side: each with its daemon, its cgroup and its clients, all with the same image.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result};

use harness::peers::Containerd;
use harness::{Scene, image};

use super::client::{Client, Kind};
use super::docker::{self, Docker};
use super::report::Report;
use super::resident::{self, Resident};
use super::tree::Tree;
use super::volatile::Volatile;
use super::worker::View;

/// `rctl` on this project's daemon.
pub const RCTL: &str = "`rctl`, runtimed";
/// `ctr` on this project's daemon.
pub const OUR_CTR: &str = "`ctr`, runtimed";
/// `ctr` on Debian's containerd: what the goals are measured against.
pub const PEER: &str = "`ctr`, containerd";
/// Docker.
pub const DOCKER: &str = "`docker`";
/// podman.
pub const PODMAN: &str = "`podman`";
/// No runtime at all.
pub const FLOOR: &str = "floor: unshare, exec";

/// All of them.
pub struct Stacks {
    /// This project's daemon.
    pub ours: Scene,
    /// Debian's containerd.
    pub peer: Containerd,
    docker: Option<Docker>,
    /// Everybody who can do a whole container, ours first.
    pub clients: Vec<Client>,
    /// The cgroup of this project's stack.
    pub our_tree: Rc<Tree>,
    /// The cgroup of containerd's.
    pub peer_tree: Rc<Tree>,
    trees: Vec<Rc<Tree>>,
    /// This project's daemon and containerd before they did anything.
    pub idle: [Resident; 2],
    archive: String,
    /// What a real host has in memory; goes last.
    volatile: Volatile,
}

impl Stacks {
    /// Starts all that this machine has, and gives them the image.
    pub fn start(programs: &Path, report: &mut Report) -> Result<Stacks> {
        let volatile = Volatile::make(report)?;
        let mut ours = Scene::with_programs(programs)?;
        volatile.stand_in("ours", &ours.root().join("run"))?;
        ours.start_daemon()?;
        let scratch = ours.root().join("scratch");
        std::fs::create_dir(&scratch)?;
        let archive = image::busybox_archive(&scratch)?.display().to_string();
        volatile.stand_in("peer", &scratch.join("containerd/run"))?;
        let peer = Containerd::start(&scratch, programs)?;
        let our_tree = Rc::new(Tree::make(ours.namespace())?);
        our_tree.adopt(ours.pid().context("runtimed runs")?)?;
        let peer_tree = Rc::new(Tree::make(peer.namespace())?);
        peer_tree.adopt(peer.pid())?;
        resident::calm();
        let idle = [Resident::of(ours.pid().context("runtimed runs")?)?, Resident::of(peer.pid())?];
        let trees = vec![our_tree.clone(), peer_tree.clone()];
        let mut stacks = Stacks {
            ours,
            peer,
            docker: None,
            clients: Vec::new(),
            our_tree,
            peer_tree,
            trees,
            idle,
            archive,
            volatile,
        };
        stacks.add_main()?;
        if let Err(error) = stacks.add_docker(programs, &scratch) {
            report.missing("docker", format!("{error:#}"));
        }
        if let Err(error) = stacks.add_podman(&scratch) {
            report.missing("podman", format!("{error:#}"));
        }
        stacks.add_floor()?;
        Ok(stacks)
    }

    /// Ours and containerd.
    fn add_main(&mut self) -> Result<()> {
        let rctl = Client::new(RCTL, Kind::Rctl, &self.ours.rctl_command(&[]), &self.our_tree, View::Whole)?;
        rctl.ok(vec![rctl.say(&["load", "--quiet", "--input", &self.archive])])?;
        let ctr = self.ours.ctr_command(&PathBuf::from("ctr"), &[]);
        let ctr = Client::new(OUR_CTR, Kind::Ctr, &ctr, &self.our_tree, View::Whole)?;
        let peer = Client::new(PEER, Kind::Ctr, &self.peer.ctr(&[]), &self.peer_tree, View::Whole)?;
        peer.ok(vec![peer.say(&["images", "import", &self.archive])]).context("give containerd the image")?;
        self.clients.extend([rctl, ctr, peer]);
        Ok(())
    }

    fn tree(&mut self, what: &str) -> Result<(Rc<Tree>, String)> {
        let name = format!("bench-{what}-{}", std::process::id());
        let tree = Rc::new(Tree::make(&name)?);
        self.trees.push(tree.clone());
        Ok((tree, name))
    }

    fn add_docker(&mut self, programs: &Path, scratch: &Path) -> Result<()> {
        let (tree, name) = self.tree("docker")?;
        let docker = self.docker.insert(Docker::start(scratch, &self.volatile, programs, &name)?);
        for pid in docker.pids() {
            tree.adopt(pid)?;
        }
        let client = Client::new(DOCKER, Kind::Docker, &docker.client(), &tree, View::Whole)?;
        self.admit(client)
    }

    /// With the executor that Debian's podman takes by itself, or with runc where that does not run here.
    fn add_podman(&mut self, scratch: &Path) -> Result<()> {
        let (tree, name) = self.tree("podman")?;
        let mut last = None;
        for runtime in ["crun", "runc"] {
            let base =
                docker::podman(&scratch.join(runtime), &self.volatile.folder(runtime)?, &name, runtime)?;
            let client = Client::new(PODMAN, Kind::Podman, &base, &tree, View::OneVersion)?;
            match self.admit(client) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error.context(format!("with {runtime}"))),
            }
        }
        last.map_or(Ok(()), Err)
    }

    /// Lets it load the image and run one container; whoever can do that is measured.
    fn admit(&mut self, client: Client) -> Result<()> {
        client
            .ok(vec![client.say(&["load", "--quiet", "--input", &self.archive])])
            .context("load the image")?;
        client.ok(vec![client.run_and_remove("first")])?;
        self.clients.push(client);
        Ok(())
    }

    fn add_floor(&mut self) -> Result<()> {
        let (tree, _) = self.tree("floor")?;
        let mut floor = Command::new(std::env::current_exe()?);
        floor.arg(crate::floor::VERB);
        self.clients.push(Client::new(FLOOR, Kind::Bare, &floor, &tree, View::Whole)?);
        Ok(())
    }

    /// The client of this name, if this machine has it.
    pub fn client(&self, name: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.name == name)
    }

    /// Those of these names that this machine has.
    pub fn of(&self, names: &[&str]) -> Vec<&Client> {
        names.iter().filter_map(|name| self.client(name)).collect()
    }

    /// Kills this project's daemon and starts it again, asked by a `ctr version` until one succeeds.
    pub fn restart_ours(&mut self) -> Result<std::time::Duration> {
        self.ours.kill_daemon()?;
        let took =
            self.ours.start_daemon_asked_by(|scene| scene.ctr_command(Path::new("ctr"), &["version"]))?;
        self.our_tree.adopt(self.ours.pid().context("runtimed runs")?)?;
        Ok(took)
    }

    /// The same with containerd.
    pub fn restart_peer(&mut self) -> Result<std::time::Duration> {
        let took = self.peer.restart()?;
        self.peer_tree.adopt(self.peer.pid())?;
        Ok(took)
    }

    /// The processes of a tree that are no workers: daemon and shims.
    pub fn daemon_and_shims(&self, tree: &Tree) -> Result<Vec<u32>> {
        let workers: Vec<u32> = self.clients.iter().map(Client::worker).collect();
        Ok(tree.pids()?.into_iter().filter(|pid| !workers.contains(pid)).collect())
    }

    /// Ends all; an error says what stayed.
    pub fn finish(self) -> Result<()> {
        let Stacks { ours, peer, docker, clients, trees, volatile, .. } = self;
        if let Some(podman) = clients.iter().find(|client| client.kind == Kind::Podman) {
            podman.ok(vec![podman.say(&["rm", "--all", "--force"])])?;
        }
        drop(clients);
        let docker = docker.map_or(Ok(()), Docker::finish);
        for tree in &trees {
            tree.dissolve()?;
        }
        let ended = docker.and(peer.finish()).and(ours.finish());
        drop(volatile);
        ended
    }
}
