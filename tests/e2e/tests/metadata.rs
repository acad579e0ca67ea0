//! A store that is damaged, or gone: the daemon refuses it and keeps it, it is made anew, and containers that run meanwhile go on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::scene;
use harness::{Outcome, Scene};

/// What runs when the store is lost.
struct Running {
    scene: Scene,
    id: String,
    pid: String,
}

impl Running {
    /// A container that runs and one that does not, under a daemon that was killed.
    fn and_killed() -> Result<Running> {
        let mut scene = scene()?;
        let id = scene.ok(&["run", "-d", "--name", "ticker", "busybox", "sleep", "1000"])?.trim().to_owned();
        scene.ok(&["create", "--name", "waiting", "busybox", "echo", "at last"])?;
        scene.ok(&["tag", "busybox", "other:1"])?;
        let pid = pid(&scene, "ticker")?;
        scene.kill_daemon()?;
        Ok(Running { scene, id, pid })
    }

    fn log(&self) -> PathBuf {
        self.scene.root().join("lib/metadata/log")
    }

    fn upkeep(&self, args: &[&str]) -> Result<Outcome> {
        Outcome::of(self.scene.daemon_command()?.arg("metadata").args(args), b"")
    }

    /// The daemon ends, says how to go on, and changes nothing.
    fn is_refused(&mut self) -> Result<()> {
        let before = std::fs::read(self.log()).ok();
        ensure!(self.scene.start_daemon().is_err(), "the daemon took it");
        let said = self.scene.log();
        ensure!(said.contains("metadata rebuild") && said.contains("metadata check"), "{said}");
        ensure!(std::fs::read(self.log()).ok() == before, "the store was changed");
        Ok(())
    }

    fn rebuild(&mut self) -> Result<String> {
        let said = self.upkeep(&["rebuild"])?.ok()?;
        ensure!(self.upkeep(&["check"])?.code == 0, "{said}\n{:?}", self.upkeep(&["check"])?);
        let again = self.upkeep(&["rebuild"])?;
        ensure!(again.code == 1 && again.stderr.contains("--force"), "{again:?}");
        self.scene.start_daemon()?;
        Ok(said)
    }

    /// Everything is as before.
    fn goes_on(self) -> Result<()> {
        let scene = &self.scene;
        ensure!(pid(scene, "ticker")? == self.pid, "it is another process");
        ensure!(scene.ok(&["exec", "ticker", "echo", "here"])? == "here\n");
        ensure!(scene.ok(&["images"])?.contains("other"));
        ensure!(scene.ok(&["start", "--attach", "waiting"])? == "at last\n");
        ensure!(scene.rctl(&["create", "--name", "waiting", "busybox"])?.code == 1, "the name was free");
        ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "new"])? == "new\n");
        scene.ok(&["stop", "-t", "1", "ticker"])?;
        scene.ok(&["rm", "ticker", "waiting"])?;
        self.scene.finish()
    }
}

fn pid(scene: &Scene, name: &str) -> Result<String> {
    let all: serde_json::Value = serde_json::from_str(&scene.ok(&["inspect", name])?)?;
    Ok(all.pointer("/0/State/Pid").context("inspect tells a pid")?.to_string())
}

/// Overwrites sixteen bytes in the middle of what is written.
fn damage(log: &Path) -> Result<()> {
    let mut bytes = std::fs::read(log)?;
    let end = bytes.iter().rposition(|byte| *byte != 0).context("the log is empty")?;
    let middle = 8192 + (end - 8192) / 2;
    bytes[middle..middle + 16].iter_mut().for_each(|byte| *byte ^= 0x5a);
    Ok(std::fs::write(log, bytes)?)
}

#[test]
fn a_damaged_store_is_kept_and_made_anew() -> Result<()> {
    let mut running = Running::and_killed()?;
    ensure!(running.upkeep(&["check"])?.code == 0);
    damage(&running.log())?;
    let checked = running.upkeep(&["check"])?;
    ensure!(checked.code == 1 && checked.stdout.contains("damaged at byte"), "{checked:?}");
    let exported = running.upkeep(&["export"])?;
    ensure!(exported.code == 1 && exported.stdout.contains("\"images\""), "{exported:?}");
    let damaged = std::fs::read(running.log())?;
    running.is_refused()?;
    let said = running.rebuild()?;
    let aside =
        said.lines().find_map(|line| line.strip_prefix("the old store is in ")).context(said.clone())?;
    ensure!(std::fs::read(Path::new(aside).join("log"))? == damaged, "the old store is not as it was");
    running.goes_on()
}

#[test]
fn a_store_that_is_gone_is_made_anew_from_its_copy() -> Result<()> {
    let mut running = Running::and_killed()?;
    std::fs::remove_dir_all(running.scene.root().join("lib/metadata"))?;
    running.is_refused()?;
    running.rebuild()?;
    running.goes_on()
}

#[test]
fn without_any_record_containers_that_run_are_taken_up() -> Result<()> {
    let mut running = Running::and_killed()?;
    for folder in ["metadata", "metadata.copy"] {
        std::fs::remove_dir_all(running.scene.root().join("lib").join(folder))?;
    }
    running.is_refused()?;
    let said = running.rebuild()?;
    ensure!(said.contains("has a task, and got a record"), "{said}");
    let Running { scene, id, pid: before } = running;
    ensure!(pid(&scene, &id)? == before, "it is another process");
    ensure!(scene.ok(&["exec", &id, "cat", "/proc/1/cmdline"])?.contains("sleep"));
    scene.ok(&["stop", "-t", "1", &id])?;
    scene.ok(&["rm", &id])?;
    std::fs::remove_dir_all(scene.root().join("scratch"))?;
    e2e::load(&scene)?;
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "new"])? == "new\n");
    scene.finish()
}
