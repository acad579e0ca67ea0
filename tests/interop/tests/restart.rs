//! Containers that their labels ask the daemon to keep, as nerdctl's `--restart` does, here made with Debian's ctr.

use std::path::Path;

use anyhow::{Result, ensure};
use harness::faults::{self, Faults};
use harness::{Scene, image, needs, programs};
use interop::{text, until};

const NAME: &str = "docker.io/library/busybox:latest";
const RUNNING: &str = "containerd.io/restart.status=running";

struct Stage {
    scene: Scene,
}

impl Stage {
    fn new() -> Result<Stage> {
        Stage::of(Scene::with_programs(&programs::folder()?)?)
    }

    fn of(mut scene: Scene) -> Result<Stage> {
        scene.configure("[container]\nrestart_interval = 1\n");
        scene.start_daemon()?;
        let archive = image::busybox_archive(scene.root())?;
        let stage = Stage { scene };
        stage.ctr(&["images", "import", text(&archive)?])?;
        Ok(stage)
    }

    fn ctr(&self, args: &[&str]) -> Result<String> {
        self.scene.ctr(Path::new("ctr"), args)
    }

    fn run(&self, id: &str, labels: &[&str], script: &str) -> Result<String> {
        let labels: Vec<_> = labels.iter().flat_map(|label| ["--label", *label]).collect();
        let flags = [&["run", "-d", "--null-io"], labels.as_slice(), &[NAME, id, "sh", "-c", script]];
        self.ctr(&flags.concat())
    }

    /// Is its task in this state?
    fn is(&self, id: &str, state: &str) -> Result<bool> {
        let list = self.ctr(&["tasks", "ls"])?;
        Ok(list.lines().any(|line| line.starts_with(&format!("{id} ")) && line.ends_with(state)))
    }

    fn was_started_again(&self, id: &str, times: u32) -> Result<bool> {
        let info = self.ctr(&["containers", "info", id])?;
        Ok(info.contains(&format!("\"containerd.io/restart.count\": \"{times}\"")))
    }
}

#[test]
fn containers_are_kept_as_their_labels_ask() -> Result<()> {
    if !needs("containers_are_kept_as_their_labels_ask", &["ctr", "umoci", "skopeo", "busybox"]) {
        return Ok(());
    }
    let mut stage = Stage::new()?;
    let log = stage.scene.root().join("kept.log");
    let uri = format!("containerd.io/restart.loguri=file://{}", log.display());
    stage.run("kept", &[RUNNING, &uri], "echo begun; exec sleep 1000")?;
    stage.ctr(&["tasks", "kill", "-s", "KILL", "kept"])?;
    until("it runs again", || Ok(stage.was_started_again("kept", 1)? && stage.is("kept", "RUNNING")?))?;
    until("its output goes where its label says", || Ok(std::fs::read_to_string(&log)? == "begun\n"))?;

    let tried = stage.scene.root().join("tried.log");
    let uri = format!("containerd.io/restart.loguri=file://{}", tried.display());
    stage.run(
        "failing",
        &[RUNNING, "containerd.io/restart.policy=on-failure:1", &uri],
        "echo tried; exit 3",
    )?;
    stage.run("done", &[RUNNING, "containerd.io/restart.policy=no"], "exit 3")?;
    until("it was tried once more", || {
        let again = tried.exists() && std::fs::read_to_string(&tried)? == "tried\n";
        Ok(again && stage.is("failing", "STOPPED")?)
    })?;

    // The next daemon goes on with it, as it does when the machine was gone meanwhile.
    stage.scene.kill_daemon()?;
    stage.scene.start_daemon()?;
    stage.ctr(&["tasks", "kill", "-s", "KILL", "kept"])?;
    until(
        "it runs a third time",
        || Ok(stage.was_started_again("kept", 2)? && stage.is("kept", "RUNNING")?),
    )?;
    let shown = || {
        Ok::<_, anyhow::Error>([stage.ctr(&["tasks", "ls"])?, stage.ctr(&["containers", "info", "failing"])?])
    };
    ensure!(
        stage.was_started_again("failing", 1)? && stage.is("failing", "STOPPED")?,
        "tried too often: {:?}\n{}",
        shown()?,
        stage.scene.log()
    );
    ensure!(
        stage.is("done", "STOPPED")? && !stage.was_started_again("done", 1)?,
        "started against its policy"
    );

    stage.ctr(&["containers", "label", "kept", "containerd.io/restart.status=stopped"])?;
    until("it is stopped", || Ok(!stage.ctr(&["tasks", "ls"])?.contains("kept ")))?;
    for id in ["failing", "done"] {
        stage.ctr(&["tasks", "rm", id])?;
    }
    stage.ctr(&["containers", "rm", "kept", "failing", "done"])?;
    stage.scene.finish()
}

/// A task that has ended is deleted before there is another. What says then that there has to be one is kept with the container.
#[test]
fn a_restart_that_is_cut_is_finished_by_the_next_daemon() -> Result<()> {
    let name = "a_restart_that_is_cut_is_finished_by_the_next_daemon";
    if !needs(name, &["ctr", "umoci", "skopeo", "busybox"]) {
        return Ok(());
    }
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    let faults = Faults::new()?;
    scene.set_environment(faults::VARIABLE, faults.folder());
    let mut stage = Stage::of(scene)?;
    // The first is made by ctr.
    faults.arm_line("task.create.bundle kill skip 1")?;
    let labels = [RUNNING, "containerd.io/restart.policy=on-failure:1"];
    stage.run("cut", &labels, "[ -e /tried ] && exec sleep 1000; : > /tried; exit 3")?;
    until("the daemon dies between one task and the next", || {
        Ok(faults.fired_at("task.create.bundle", "kill").is_some())
    })?;
    stage.scene.kill_daemon()?;
    stage.scene.start_daemon()?;
    until("it runs again", || Ok(stage.was_started_again("cut", 1)? && stage.is("cut", "RUNNING")?))?;
    until("nothing is left of the note", || {
        Ok(!stage.ctr(&["containers", "info", "cut"])?.contains("runtimed.io/restart"))
    })?;
    stage.ctr(&["tasks", "rm", "--force", "cut"])?;
    stage.ctr(&["containers", "rm", "cut"])?;
    stage.scene.finish()
}
