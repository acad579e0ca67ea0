//! Containers that share a shim: what is done to one, or fails for one, takes no other along. Made with ctr, since only annotations say who
//! shares.

use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::until;
use harness::faults::{self, Faults};
use harness::{Scene, needs, programs};

const IMAGE: &str = "docker.io/library/busybox:latest";

struct Pod {
    scene: Scene,
    faults: Faults,
}

impl Pod {
    fn new() -> Result<Pod> {
        let mut scene = Scene::with_programs(&programs::folder()?)?;
        let faults = Faults::new()?;
        scene.set_environment(faults::VARIABLE, faults.folder());
        scene.start_daemon()?;
        e2e::load(&scene)?;
        Ok(Pod { scene, faults })
    }

    fn ctr(&self, args: &[&str]) -> Result<String> {
        self.scene.ctr(Path::new("ctr"), args)
    }

    fn member<'a>(name: &'a str, program: &'a [&'a str]) -> Vec<&'a str> {
        let pod = ["run", "-d", "--null-io", "--annotation", "io.kubernetes.cri.sandbox-id=pod", IMAGE, name];
        [&pod, program].concat()
    }

    fn is(&self, name: &str, state: &str) -> Result<bool> {
        let list = self.ctr(&["tasks", "ls"])?;
        Ok(list.lines().any(|line| line.starts_with(&format!("{name} ")) && line.ends_with(state)))
    }

    /// A member that has ended, and whose task is there still.
    fn ended(&self, name: &str) -> Result<()> {
        self.ctr(&Pod::member(name, &["true"]))?;
        until("its end", &self.scene, || self.is(name, "STOPPED"))
    }

    /// Begins to make a member whose executor is held up, and waits until it is.
    fn begin_slowly(&self, name: &str) -> Result<Child> {
        let (mark, action) = ("runc-rs.create.serve", "delay:6000");
        self.faults.arm_line(&format!("{mark} {action}"))?;
        let mut making = self.scene.ctr_command(Path::new("ctr"), &Pod::member(name, &["sleep", "1000"]));
        let making = making.stdin(Stdio::null()).spawn()?;
        until("a creation that takes its time", &self.scene, || {
            Ok(self.faults.fired_at(mark, action).is_some())
        })?;
        Ok(making)
    }

    fn runs(&self, name: &str) -> Result<()> {
        ensure!(self.is(name, "RUNNING")?, "{name} does not run\n{}", self.scene.log());
        ensure!(self.ctr(&["task", "exec", "--exec-id", "one", name, "echo", "here"])? == "here\n");
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.ctr(&["task", "rm", "--force", name])?;
        self.ctr(&["container", "rm", name]).map(drop)
    }
}

#[test]
fn a_deletion_that_is_cut_takes_no_other_of_its_pod() -> Result<()> {
    if !needs("a_deletion_that_is_cut_takes_no_other_of_its_pod", &["ctr"]) {
        return Ok(());
    }
    let mut pod = Pod::new()?;
    // The shim is the first one's by name, and works in its bundle.
    pod.ended("first")?;
    pod.ctr(&Pod::member("second", &["sleep", "1000"]))?;
    ensure!(e2e::shims(&pod.scene)?.len() == 1, "they do not share a shim");
    pod.faults.arm_line("task.bundle.remove kill")?;
    ensure!(pod.ctr(&["task", "rm", "first"]).is_err());
    until("the daemon's death", &pod.scene, || {
        Ok(pod.faults.fired_at("task.bundle.remove", "kill").is_some())
    })?;
    pod.scene.kill_daemon()?;
    pod.scene.start_daemon()?;
    until("the end of the deletion", &pod.scene, || Ok(!pod.ctr(&["tasks", "ls"])?.contains("first ")))?;
    pod.runs("second")?;
    pod.ctr(&["container", "rm", "first"])?;
    pod.remove("second")?;
    pod.scene.finish()
}

#[test]
fn who_is_being_made_in_a_pod_keeps_its_shim() -> Result<()> {
    if !needs("who_is_being_made_in_a_pod_keeps_its_shim", &["ctr"]) {
        return Ok(());
    }
    let pod = Pod::new()?;
    pod.ended("first")?;
    let mut making = pod.begin_slowly("second")?;
    pod.ctr(&["task", "rm", "first"])?;
    ensure!(making.wait()?.success(), "the second was not made\n{}", pod.scene.log());
    pod.runs("second")?;
    pod.ctr(&["container", "rm", "first"])?;
    pod.remove("second")?;
    pod.scene.finish()
}

#[test]
fn a_creation_that_fails_in_a_pod_takes_no_other_along() -> Result<()> {
    if !needs("a_creation_that_fails_in_a_pod_takes_no_other_along", &["ctr"]) {
        return Ok(());
    }
    let pod = Pod::new()?;
    // Of whom the shim is, though it is being made as well.
    let mut making = pod.begin_slowly("first")?;
    ensure!(pod.ctr(&Pod::member("second", &["/no/such/program"])).is_err());
    ensure!(making.wait()?.success(), "the first was not made\n{}", pod.scene.log());
    pod.runs("first")?;
    pod.ctr(&["container", "rm", "second"]).context("the record of the second")?;
    pod.remove("first")?;
    pod.scene.finish()
}
