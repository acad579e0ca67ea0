//! `rctl --trace`: where the time of a command went, over all four programs. And SIGUSR1: what the daemon is at.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{scene, shims, until};
use harness::sh;

#[test]
fn one_picture_of_all_programs() -> Result<()> {
    let scene = scene()?;
    let outcome = scene.rctl(&["--trace", "run", "--rm", "busybox", "echo", "hi"])?;
    ensure!((outcome.code, outcome.stdout.as_str()) == (0, "hi\n"), "{outcome:?}");
    let rows: Vec<&str> = outcome.stderr.lines().collect();
    ensure!(rows.first().is_some_and(|row| row.starts_with("STEP")), "{outcome:?}");
    let row_of = |step: &str| {
        let row = rows.iter().find(|row| row.trim_start().starts_with(&format!("{step} ")));
        row.copied().with_context(|| format!("{step} is not in the picture:\n{}", outcome.stderr))
    };
    for (step, program) in [
        ("rctl.daemon.connect", "rctl"),
        ("daemon.request.serve", "runtimed"),
        ("flows.create.root", "runtimed"),
        ("metadata.write.queue", "runtimed"),
        ("task.create.call", "runtimed"),
        ("shim.create.executor", "shim"),
        ("runc-rs.create.serve", "runc-rs"),
        ("runc-rs.init.pivot", "runc-rs"),
        ("shim.exit.published", "shim"),
        ("flows.vanish.records", "runtimed"),
    ] {
        let row = row_of(step)?;
        ensure!(row.contains(&format!("   {program} ")), "{row}");
    }
    let depth = |step: &str| -> Result<usize> {
        let row = row_of(step)?;
        Ok(row.len() - row.trim_start().len())
    };
    ensure!(depth("task.create.call")? < depth("shim.create.executor")?, "{}", outcome.stderr);
    ensure!(depth("shim.create.executor")? < depth("runc-rs.create.serve")?, "{}", outcome.stderr);
    scene.finish()
}

#[test]
fn a_trace_is_fetched_once_and_gone_with_the_daemon() -> Result<()> {
    let mut scene = scene()?;
    let traces = scene.root().join("run/traces");
    let count = || -> Result<usize> { Ok(std::fs::read_dir(&traces)?.count()) };
    let failed = scene.rctl(&["--trace", "rm", "nobody"])?;
    ensure!(failed.code == 1 && failed.stderr.contains("daemon.request.serve"), "{failed:?}");
    ensure!(count()? == 0, "a fetched trace is left");
    std::fs::write(traces.join("0a"), "of an earlier daemon")?;
    scene.kill_daemon()?;
    scene.start_daemon()?;
    ensure!(count()? == 0, "a stale trace is left");
    scene.finish()
}

#[test]
fn what_a_request_waits_for_is_told_when_asked() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["run", "-d", "--name", "slow", "busybox", "sleep", "1000"])?;
    let shim = *shims(&scene)?.first().context("a shim")?;
    let signal = |name: &str, pid: u32| sh::run(Command::new("kill").args(["-s", name, &pid.to_string()]));
    signal("STOP", shim)?;
    let mut client = scene.rctl_command(&["exec", "slow", "true"]).spawn()?;
    let daemon = scene.pid().context("a daemon")?;
    let asked = until("the daemon says what it waits for", &scene, || {
        signal("USR1", daemon)?;
        let log = scene.log();
        let Some((told, _)) = log.rsplit_once("that is all that is under way") else { return Ok(false) };
        Ok(told.contains("Containers/Exec, for ") && told.contains("state for "))
    });
    signal("CONT", shim)?;
    let ended = client.wait()?;
    asked?;
    ensure!(ended.success(), "{ended}");
    scene.ok(&["rm", "--force", "slow"])?;
    scene.finish()
}
