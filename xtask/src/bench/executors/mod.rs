//! Executors alone: runc-rs beside Debian's runc and crun, on the same bundles.
//!
//! crun refuses a machine where version 1 and 2 of cgroups are mixed and version 2 has a controller. So the workers of all three have a
//! mount namespace of their own, where version 2 is not mounted then.

mod bundle;
mod limits;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use anyhow::{Context, Result, bail};

use self::bundle::{Bundle, Shape};
use super::client::{Client, Kind};
use super::job::{Job, Step};
use super::report::Report;
use super::rows::Row;
use super::timing::{self, Contender, Samples};
use super::tree::Tree;
use super::volatile::Volatile;
use super::worker::View;
use super::{COMMAND, Plan};

/// This project's.
const OURS: &str = "runc-rs";
/// What the goals are measured against.
const PEER: &str = "crun";

/// An executor with a cgroup, a state folder, and bundles of its own.
struct Executor {
    client: Client,
    folder: PathBuf,
    rootfs: PathBuf,
    /// Where its containers' cgroups are.
    parent: String,
}

/// Measures the rows that are wanted.
pub fn section(plan: &Plan, programs: &Path, report: &mut Report) -> Result<()> {
    let scratch = tempfile::Builder::new().prefix("runtimed-bench-").tempdir()?;
    let rootfs = bundle::rootfs(scratch.path())?;
    let volatile = Volatile::make(report)?;
    let mut executors = Vec::new();
    for (name, program) in [(OURS, programs.join(OURS)), ("runc", "runc".into()), (PEER, PEER.into())] {
        let executor = Executor::new(name, &program, volatile.folder(name)?, &rootfs)?;
        match executor.works() {
            Ok(()) => executors.push(executor),
            Err(error) if name == OURS => return Err(error),
            Err(error) => {
                report.missing(name, format!("{error:#}"));
                executor.end()?;
            }
        }
    }
    report.part("Executors alone");
    rows(plan, &executors, report);
    executors.into_iter().try_for_each(Executor::end)
}

/// A row that fails does not keep others from being measured.
fn rows(plan: &Plan, executors: &[Executor], report: &mut Report) {
    let rounds = plan.rounds.max(plan.executor_rounds);
    let shapes = [
        (Row::RuncRun, "`run` of `/bin/true`", Shape::Plain, 0.6),
        (Row::RuncMounts, "`run` with 100 bind mounts", Shape::Mounts, 1.0),
        (Row::RuncSeccomp, "`run` with docker's default seccomp profile", Shape::Seccomp, 1.0),
        (Row::RuncMasked, "`run` with 20 masked paths", Shape::Masked, 1.0),
    ];
    for (row, title, shape, goal) in shapes.into_iter().filter(|(row, ..)| plan.wants(*row)) {
        let measured = run(rounds, executors, report, title, shape, goal);
        report.attempt(&super::name(row), measured);
    }
    type Section = fn(&Plan, usize, &[Executor], &mut Report) -> Result<()>;
    let sections: [(Row, Section); 5] = [
        (Row::RuncLifecycle, |_, rounds, executors, report| lifecycle(rounds, executors, report)),
        (Row::RuncExec, |_, rounds, executors, report| exec(rounds, executors, report)),
        (Row::RuncMemory, |plan, _, executors, report| limits::peak(plan, executors, report)),
        (Row::RuncLimit, |_, _, executors, report| limits::smallest(executors, report)),
        (Row::RuncBurst, |plan, _, executors, report| burst(plan, executors, report)),
    ];
    for (row, section) in sections.into_iter().filter(|(row, _)| plan.wants(*row)) {
        let measured = section(plan, rounds, executors, report);
        report.attempt(&super::name(row), measured);
    }
}

fn run(
    rounds: usize,
    executors: &[Executor],
    report: &mut Report,
    title: &str,
    shape: Shape,
    goal: f64,
) -> Result<()> {
    let bundles = all_bundles(executors, shape)?;
    let mut contenders: Vec<_> = executors
        .iter()
        .zip(&bundles)
        .map(|(one, bundle)| Contender::new(&one.client, |_| Job::in_order(vec![one.run(bundle)])))
        .collect();
    let samples = timing::in_turns(rounds, &mut contenders)?;
    finish_row(report, title, &samples, goal);
    Ok(())
}

fn lifecycle(rounds: usize, executors: &[Executor], report: &mut Report) -> Result<()> {
    let bundles = all_bundles(executors, Shape::Plain)?;
    let job = |one: &Executor, bundle: &Bundle| {
        let bare = [one.create(bundle), one.verb(&["start"], bundle)];
        // What `delete` waits for is the program's end, which takes longer than the executor's way here.
        Job::in_order(bare.into_iter().chain([one.verb(&["delete", "--force"], bundle)]).collect())
    };
    let mut contenders: Vec<_> = executors
        .iter()
        .zip(&bundles)
        .map(|(one, bundle)| Contender::new(&one.client, move |_| job(one, bundle)))
        .collect();
    let samples = timing::in_turns(rounds, &mut contenders)?;
    finish_row(report, "`create`, `start`, `delete --force`", &samples, 0.6);
    Ok(())
}

fn exec(rounds: usize, executors: &[Executor], report: &mut Report) -> Result<()> {
    let bundles = all_bundles(executors, Shape::Sleeping)?;
    for (one, bundle) in executors.iter().zip(&bundles) {
        one.client.ok(vec![one.create(bundle), one.verb(&["start"], bundle)])?;
    }
    let mut contenders: Vec<_> = executors
        .iter()
        .zip(&bundles)
        .map(|(one, bundle)| {
            let step = one.client.say(&["exec", &bundle.id, COMMAND]);
            Contender::new(&one.client, move |_| Job::in_order(vec![step.clone()]))
        })
        .collect();
    let samples = timing::in_turns(rounds, &mut contenders)?;
    for (one, bundle) in executors.iter().zip(&bundles) {
        one.client.ok(vec![one.verb(&["delete", "--force"], bundle)])?;
    }
    finish_row(report, "`exec` of `/bin/true`", &samples, 0.7);
    Ok(())
}

/// Many `create` at the same time; what was created is deleted afterwards.
fn burst(plan: &Plan, executors: &[Executor], report: &mut Report) -> Result<()> {
    let bundles = executors
        .iter()
        .map(|one| {
            (0..plan.creates).map(|number| one.bundle(&format!("burst{number}"), Shape::Plain)).collect()
        })
        .collect::<Result<Vec<Vec<Bundle>>>>()?;
    let mut contenders: Vec<_> = executors
        .iter()
        .zip(&bundles)
        .map(|(one, bundles)| {
            let create = |_| Job::at_once(bundles.iter().map(|bundle| vec![one.create(bundle)]).collect());
            let delete = Job::dealt(
                bundles.iter().map(|bundle| vec![one.verb(&["delete", "--force"], bundle)]).collect(),
                2,
            );
            Contender::new(&one.client, create).after(move |_| one.client.all_ok(&delete).map(drop))
        })
        .collect();
    let samples = timing::in_turns(plan.batches, &mut contenders)?;
    finish_row(report, &format!("{} `create` at once", plan.creates), &samples, 1.0);
    Ok(())
}

fn finish_row(report: &mut Report, title: &str, samples: &[Samples], goal: f64) {
    report.times(title, samples, PEER);
    report.goal_ratio(&format!("executor: {title}, runc-rs ÷ crun"), goal, samples, OURS, PEER);
}

fn all_bundles(executors: &[Executor], shape: Shape) -> Result<Vec<Bundle>> {
    executors.iter().map(|one| one.bundle("one", shape)).collect()
}

impl Executor {
    fn new(name: &str, program: &Path, folder: PathBuf, rootfs: &Path) -> Result<Executor> {
        let parent = format!("bench-{name}-{}", std::process::id());
        let tree = Rc::new(Tree::make(&parent)?);
        let mut base = Command::new(program);
        base.arg("--root").arg(folder.join("state"));
        let client = Client::new(name, Kind::Bare, &base, &tree, View::OneVersion)?;
        Ok(Executor { client, folder, rootfs: rootfs.to_owned(), parent })
    }

    fn works(&self) -> Result<()> {
        let bundle = self.bundle("first", Shape::Plain)?;
        self.client.ok(vec![self.run(&bundle)]).map(drop)
    }

    fn bundle(&self, id: &str, shape: Shape) -> Result<Bundle> {
        Bundle::make(&self.folder.join("bundles"), &self.rootfs, &self.parent, id, shape)
    }

    fn run(&self, bundle: &Bundle) -> Step {
        self.client.say(&["run", "--bundle", &bundle.folder, &bundle.id])
    }

    fn create(&self, bundle: &Bundle) -> Step {
        self.client.say(&["create", "--bundle", &bundle.folder, &bundle.id])
    }

    fn verb(&self, verb: &[&str], bundle: &Bundle) -> Step {
        self.client.say(verb).with(&[&bundle.id])
    }

    /// Lets its worker go, and removes its cgroups, in every hierarchy of version 1.
    fn end(self) -> Result<()> {
        let Executor { client, parent, .. } = self;
        let tree = client.tree.clone();
        drop(client);
        tree.dissolve()?;
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").context("read /sys/fs/cgroup")?.flatten() {
            let left = hierarchy.path().join(&parent);
            if left.exists()
                && let Err(error) = std::fs::remove_dir(&left)
            {
                bail!("{} cannot be removed: {error}", left.display());
            }
        }
        Ok(())
    }
}
