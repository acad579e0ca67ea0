//! Containers that their labels ask the daemon to keep, as nerdctl's `--restart` does, here made with Debian's ctr.

use std::path::Path;

use anyhow::{Result, ensure};
use harness::{Scene, image, needs, programs};
use interop::{text, until};

const NAME: &str = "docker.io/library/busybox:latest";
const RUNNING: &str = "containerd.io/restart.status=running";

struct Stage {
    scene: Scene,
}

impl Stage {
    fn new() -> Result<Stage> {
        let mut scene = Scene::with_programs(&programs::folder()?)?;
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
