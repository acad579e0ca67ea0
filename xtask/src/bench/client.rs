//! Clients: the same wishes in each one's words.

use std::cell::RefCell;
use std::process::Command;
use std::rc::Rc;

use anyhow::{Result, bail};

use super::job::{Answer, Job, Step};
use super::tree::Tree;
use super::worker::{View, Worker};
use super::{COMMAND, IMAGE};

/// Whose command line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This project's.
    Rctl,
    /// containerd's.
    Ctr,
    /// Docker's.
    Docker,
    /// podman's: it has no daemon.
    Podman,
    /// No runtime at all, or an executor alone: it has no verbs.
    Bare,
}

/// A command line that speaks to one stack, and a worker in that stack's cgroup which runs it.
pub struct Client {
    /// What it is called in the report.
    pub name: String,
    /// Whose command line it is.
    pub kind: Kind,
    /// The program, and what comes before a verb.
    base: Step,
    /// The stack's cgroup.
    pub tree: Rc<Tree>,
    worker: RefCell<Worker>,
}

impl Client {
    /// A client of the stack in `tree`.
    pub fn new(name: &str, kind: Kind, base: &Command, tree: &Rc<Tree>, view: View) -> Result<Client> {
        let worker = RefCell::new(Worker::start(tree, view)?);
        Ok(Client { name: name.to_owned(), kind, base: Step::of(base), tree: tree.clone(), worker })
    }

    /// Runs a job in its cgroup.
    pub fn ask(&self, job: &Job) -> Result<Answer> {
        self.worker.borrow_mut().ask(job)
    }

    /// Runs steps one after another to success, and returns what they said.
    pub fn ok(&self, steps: Vec<Step>) -> Result<String> {
        self.all_ok(&Job::in_order(steps))
    }

    /// Runs a job to success, and returns what its lanes said.
    pub fn all_ok(&self, job: &Job) -> Result<String> {
        let answer = self.ask(job)?;
        match answer.failures.first() {
            Some(failure) => bail!("{}: {failure}", self.name),
            None => Ok(answer.said.concat()),
        }
    }

    /// Its worker's process.
    pub fn worker(&self) -> u32 {
        self.worker.borrow().pid()
    }

    /// Its command line with arguments.
    pub fn say(&self, args: &[&str]) -> Step {
        self.base.clone().with(args)
    }

    /// The least container, removed when it has ended.
    pub fn run_and_remove(&self, id: &str) -> Step {
        match self.kind {
            Kind::Ctr => self.say(&["run", "--rm", IMAGE, id, COMMAND]),
            Kind::Podman => self.say(&["run", "--rm", "--net", "none", "--pull", "never", IMAGE, COMMAND]),
            Kind::Rctl | Kind::Docker => self.say(&["run", "--rm", "--net", "none", IMAGE, COMMAND]),
            Kind::Bare => self.base.clone(),
        }
    }

    /// A container that goes on running.
    pub fn run_detached(&self, id: &str, command: &[&str]) -> Step {
        match self.kind {
            Kind::Ctr => self.say(&["run", "-d", IMAGE, id]),
            _ => self.say(&["run", "-d", "--name", id, "--net", "none", IMAGE]),
        }
        .with(command)
    }

    /// The least program in a running container; `exec` is its name where one has to be given.
    pub fn exec(&self, id: &str, exec: &str) -> Step {
        match self.kind {
            Kind::Ctr => self.say(&["tasks", "exec", "--exec-id", exec, id, COMMAND]),
            _ => self.say(&["exec", id, COMMAND]),
        }
    }

    /// SIGTERM, and then waiting for the end. `None` where no one command does that.
    pub fn stop(&self, id: &str) -> Option<Step> {
        matches!(self.kind, Kind::Rctl | Kind::Docker | Kind::Podman).then(|| self.say(&["stop", id]))
    }

    /// A container that runs, and all of it.
    pub fn remove(&self, id: &str) -> Vec<Step> {
        match self.kind {
            Kind::Ctr => vec![
                self.say(&["tasks", "rm", "--force", id]).may_fail(),
                self.say(&["containers", "rm", id]),
            ],
            // podman would wait for what does not hear SIGTERM.
            Kind::Podman => vec![self.say(&["rm", "-f", "-t", "0", id])],
            _ => vec![self.say(&["rm", "-f", id])],
        }
    }

    /// One question to the daemon.
    pub fn version(&self) -> Step {
        self.say(&["version"])
    }

    /// What runs, a line each.
    pub fn tasks(&self) -> Step {
        match self.kind {
            Kind::Rctl | Kind::Ctr => self.say(&["tasks", "ls"]),
            _ => self.say(&["ps"]),
        }
    }

    /// An image from a registry on loopback that speaks plain HTTP.
    pub fn pull(&self, image: &str) -> Step {
        match self.kind {
            Kind::Ctr => self.say(&["images", "pull", "--plain-http", image]),
            Kind::Podman => self.say(&["pull", "--quiet", "--tls-verify=false", image]),
            _ => self.say(&["pull", "--quiet", image]),
        }
    }

    /// The image, its content and what was unpacked.
    pub fn forget(&self, image: &str) -> Step {
        match self.kind {
            Kind::Ctr => self.say(&["images", "rm", "--sync", image]),
            _ => self.say(&["rmi", image]),
        }
    }
}
