//! Shims and executors of others, ours and theirs in every pairing: Debian's shim under this daemon, this project's shim under
//! Debian's containerd, and `runc-rs` under Debian's shim.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::peers::Containerd;
use harness::{Outcome, image, needs, programs};
use interop::{Stage, on_a_terminal, text, until};

const NAME: &str = "docker.io/library/busybox:latest";
/// Debian's shim.
const SHIM: &str = "/usr/bin/containerd-shim-runc-v2";
const TOOLS: &[&str] =
    &["ctr", "containerd", "containerd-shim-runc-v2", "runc", "script", "umoci", "skopeo", "busybox"];

/// `ctr` on some daemon, and the flags of `ctr run` that choose a shim or an executor.
struct Side<'a> {
    ctr: &'a dyn Fn(&[&str]) -> Command,
    flags: &'a [&'a str],
}

impl Side<'_> {
    fn outcome(&self, args: &[&str]) -> Result<Outcome> {
        Outcome::of(&mut (self.ctr)(args), b"")
    }

    fn ok(&self, args: &[&str]) -> Result<String> {
        self.outcome(args)?.ok()
    }

    /// `ctr run` with this side's flags.
    fn run<'b>(&'b self, flags: &[&'b str], rest: &[&'b str]) -> Vec<&'b str> {
        [&["run"], self.flags, flags, &[NAME], rest].concat()
    }

    /// A task's process and state, as `ctr tasks ls` has them.
    fn task(&self, id: &str) -> Result<Option<(String, String)>> {
        let list = self.ok(&["tasks", "ls"])?;
        let mut rows = list.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row.first() == Some(&id));
        Ok(row.and_then(|row| Some((row.get(1)?.to_string(), row.get(2)?.to_string()))))
    }

    fn is(&self, id: &str, state: &str) -> Result<bool> {
        Ok(self.task(id)?.is_some_and(|(_, now)| now == state))
    }
}

#[test]
fn debians_shim_under_this_daemon() -> Result<()> {
    a_shim_under_this_daemon("debians_shim_under_this_daemon", &["--runtime", SHIM])
}

#[test]
fn our_shim_under_this_daemon_with_ctr() -> Result<()> {
    a_shim_under_this_daemon("our_shim_under_this_daemon_with_ctr", &[])
}

fn a_shim_under_this_daemon(test: &str, flags: &'static [&'static str]) -> Result<()> {
    if !needs(test, TOOLS) {
        return Ok(());
    }
    let stage = Stage::new()?;
    let archive = image::busybox_archive(&stage.scratch)?;
    let ctr = |args: &[&str]| stage.scene.ctr_command(Path::new("ctr"), args);
    let side = Side { ctr: &ctr, flags };
    side.ok(&["images", "import", text(&archive)?])?;
    runs_to_its_end(&side).and_then(|()| is_driven(&side)).with_context(|| stage.scene.log())?;
    stage.scene.finish()
}

#[test]
fn debians_shim_outlives_this_daemon() -> Result<()> {
    if !needs("debians_shim_outlives_this_daemon", TOOLS) {
        return Ok(());
    }
    let mut stage = Stage::new()?;
    let archive = image::busybox_archive(&stage.scratch)?;
    let shared = stage.scratch.join("shared");
    std::fs::create_dir(&shared)?;
    let mount = format!("type=bind,src={},dst=/in,options=rbind:rw", shared.display());
    stage.ctr(&["images", "import", text(&archive)?])?;
    let start = |id: &str, command: &[&str]| {
        let run = ["run", "-d", "--runtime", SHIM, "--mount", &mount, NAME, id];
        stage.ctr(&[&run, command].concat())
    };
    start("stays", &["sleep", "1000"])?;
    start("ends", &["sh", "-c", "while [ ! -e /in/go ]; do sleep 0.02; done; exit 23"])?;
    let (stays, ends) = {
        let ctr = |args: &[&str]| stage.scene.ctr_command(Path::new("ctr"), args);
        let side = Side { ctr: &ctr, flags: &[] };
        (side.task("stays")?.context("stays runs")?.0, side.task("ends")?.context("ends runs")?.0)
    };
    stage.scene.kill_daemon()?;
    std::fs::write(shared.join("go"), "")?;
    until("the container ended", || Ok(!Path::new("/proc").join(&ends).exists()))?;
    stage.scene.start_daemon()?;
    let ctr = |args: &[&str]| stage.scene.ctr_command(Path::new("ctr"), args);
    let side = Side { ctr: &ctr, flags: &[] };
    let now = side.task("stays")?;
    ensure!(now == Some((stays, "RUNNING".to_owned())), "{now:?}\n{}", stage.scene.log());
    ensure!(side.ok(&["tasks", "exec", "--exec-id", "e1", "stays", "echo", "here"])? == "here\n");
    ensure!(side.is("ends", "STOPPED")?, "{:?}\n{}", side.task("ends")?, stage.scene.log());
    let removed = side.outcome(&["tasks", "rm", "ends"])?;
    // ctr tells the exit code so, and ends with 0 itself.
    ensure!(removed.stderr.contains("non-zero exit code 23"), "{removed:?}");
    side.ok(&["tasks", "kill", "--signal", "SIGKILL", "stays"])?;
    until("it is stopped", || side.is("stays", "STOPPED"))?;
    let removed = side.outcome(&["tasks", "rm", "stays"])?;
    ensure!(removed.stderr.contains("non-zero exit code 137"), "{removed:?}");
    side.ok(&["containers", "rm", "stays", "ends"])?;
    stage.scene.finish()
}

#[test]
fn our_shim_under_debians_containerd() -> Result<()> {
    let flags = ["--runtime", "io.containerd.runtimed.v2"];
    under_debians_containerd("our_shim_under_debians_containerd", &flags)
}

#[test]
fn our_executor_under_debians_shim() -> Result<()> {
    let executor = programs::folder()?.join("runc-rs");
    under_debians_containerd("our_executor_under_debians_shim", &["--runc-binary", text(&executor)?])
}

fn under_debians_containerd(test: &str, flags: &[&str]) -> Result<()> {
    if !needs(test, TOOLS) {
        return Ok(());
    }
    let scratch = tempfile::Builder::new().prefix("runtimed-").tempdir()?;
    let archive = image::busybox_archive(scratch.path())?;
    let peer = Containerd::start(scratch.path(), &programs::folder()?)?;
    let ctr = |args: &[&str]| peer.ctr(args);
    let side = Side { ctr: &ctr, flags };
    side.ok(&["images", "import", text(&archive)?])?;
    runs_to_its_end(&side).and_then(|()| is_driven(&side)).with_context(|| peer.log())?;
    peer.finish()
}

/// `ctr run --rm`: output, exit codes, errors, a terminal.
fn runs_to_its_end(side: &Side) -> Result<()> {
    let run = |rest: &[&str]| side.outcome(&side.run(&["--rm"], rest));
    ensure!(run(&["one", "echo", "hi"])?.ok()? == "hi\n");
    let failed = run(&["one", "sh", "-c", "echo no >&2; exit 9"])?;
    ensure!(failed.code == 9 && failed.stderr == "no\n", "{failed:?}");
    let killed = run(&["one", "sh", "-c", "kill -TERM $$; sleep 1000 & kill -KILL $!; wait $!"])?;
    ensure!(killed.code == 137, "{killed:?}");
    let missing = run(&["one", "nothing-there"])?;
    ensure!(
        missing.code == 1 && missing.stderr.contains("executable file not found in $PATH"),
        "{missing:?}"
    );
    let script = "tty; test -t 0 && test -t 1 && test -t 2 && echo terminal; exit 5";
    let args = side.run(&["--rm", "-t"], &["one", "sh", "-c", script]);
    let shown = on_a_terminal(&(side.ctr)(&args))?;
    ensure!(shown.code == 5 && shown.stdout.contains("/dev/pts/0\nterminal\n"), "{shown:?}");
    ensure!(side.ok(&["tasks", "ls", "-q"])?.is_empty(), "a task is left");
    ensure!(side.ok(&["containers", "ls", "-q"])?.is_empty(), "a container is left");
    Ok(())
}

/// `ctr run -d`, then everything that is done to a task.
fn is_driven(side: &Side) -> Result<()> {
    side.ok(&side.run(&["-d", "--memory-limit", "33554432"], &["long", "sleep", "1000"]))?;
    ensure!(side.is("long", "RUNNING")?);
    let (pid, _) = side.task("long")?.context("it is listed")?;
    ensure!(side.ok(&["tasks", "ps", "long"])?.contains(&pid));
    is_entered(side)?;
    side.ok(&["tasks", "pause", "long"])?;
    ensure!(side.is("long", "PAUSED")?, "{:?}", side.task("long")?);
    side.ok(&["tasks", "resume", "long"])?;
    ensure!(side.is("long", "RUNNING")?, "{:?}", side.task("long")?);
    let metrics = side.ok(&["tasks", "metrics", "long"])?;
    ensure!(metrics.contains("33554432"), "{metrics}");
    let refused = side.outcome(&["tasks", "rm", "long"])?;
    ensure!(refused.code != 0, "a running task was deleted");
    side.ok(&["tasks", "kill", "--signal", "SIGKILL", "long"])?;
    until("it is stopped", || side.is("long", "STOPPED"))?;
    let removed = side.outcome(&["tasks", "rm", "long"])?;
    ensure!(removed.stderr.contains("non-zero exit code 137"), "{removed:?}");
    ensure!(side.task("long")?.is_none(), "the task is still there");
    side.ok(&["containers", "rm", "long"])?;
    ensure!(!Path::new("/proc").join(&pid).exists(), "process {pid} is still there");
    Ok(())
}

/// `ctr tasks exec`: output, exit code, a command that is not there, a terminal, a kill of the exec process alone.
fn is_entered(side: &Side) -> Result<()> {
    let exec =
        |id: &str, rest: &[&str]| side.outcome(&[&["tasks", "exec", "--exec-id", id, "long"], rest].concat());
    ensure!(exec("e1", &["echo", "inside"])?.ok()? == "inside\n");
    ensure!(exec("e2", &["sh", "-c", "exit 4"])?.code == 4);
    let missing = exec("e3", &["nothing-there"])?;
    ensure!(missing.code == 1 && missing.stderr.contains("executable file not found"), "{missing:?}");
    let args = ["tasks", "exec", "-t", "--exec-id", "e4", "long", "sh", "-c", "test -t 1 && echo terminal"];
    let shown = on_a_terminal(&(side.ctr)(&args))?;
    ensure!(shown.code == 0 && shown.stdout.contains("terminal\n"), "{shown:?}");
    let mut waiting = (side.ctr)(&["tasks", "exec", "--exec-id", "e5", "long", "sleep", "1000"]).spawn()?;
    until("the exec process is killed", || {
        let kill = side.outcome(&["tasks", "kill", "--signal", "SIGKILL", "--exec-id", "e5", "long"])?;
        Ok(kill.code == 0)
    })?;
    ensure!(waiting.wait()?.code() == Some(137));
    Ok(())
}
