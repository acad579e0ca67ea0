//! Shims and executors that are killed, that hang: their own container alone is affected, and nothing of it is orphaned.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::until;
use harness::faults::{self, Faults};
use harness::{Scene, programs, sh};

/// How long anything here may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Short patience with shims.
const SHIMS: &str = "[timeouts]\nshim_state = 1\nshim_call = 3\n";
/// Short patience with executors.
const EXECUTORS: &str = "[timeouts]\nshim_call = 30\nexecutor = 3\n";

/// A scene with these settings, and in place of the executor a script if there is one.
fn scene(settings: &str, executor: Option<&str>) -> Result<(Scene, Option<tempfile::TempDir>)> {
    let built = programs::folder()?;
    let (folder, own) = match executor {
        None => (built, None),
        Some(script) => {
            let own = tempfile::Builder::new().prefix("runtimed-programs-").tempdir_in(&built)?;
            for name in ["runtimed", "rctl", "containerd-shim-runtimed-v2"] {
                // A link of another sort would lead back to the real folder.
                std::fs::hard_link(built.join(name), own.path().join(name))?;
            }
            let path = own.path().join("runc-rs");
            ::programs::write(&path, &script.replace("REAL", &built.join("runc-rs").display().to_string()))?;
            (own.path().to_owned(), Some(own))
        }
    };
    let mut scene = Scene::with_programs(&folder)?;
    scene.configure(settings);
    scene.start_daemon()?;
    e2e::load(&scene)?;
    Ok((scene, own))
}

fn inspect(scene: &Scene, name: &str, pointer: &str) -> Result<serde_json::Value> {
    let all: serde_json::Value = serde_json::from_str(&scene.ok(&["inspect", name])?)?;
    Ok(all.pointer(pointer).cloned().unwrap_or_default())
}

fn pid(scene: &Scene, name: &str) -> Result<u64> {
    inspect(scene, name, "/0/State/Pid")?.as_u64().filter(|pid| *pid > 1).context("a pid")
}

/// The shim of a container: the parent of its first process.
fn shim(scene: &Scene, name: &str) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid(scene, name)?))?;
    let parent = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)).context("a parent")?;
    let parent: u64 = parent.parse()?;
    let line = std::fs::read_to_string(format!("/proc/{parent}/cmdline"))?;
    ensure!(
        line.contains("containerd-shim-runtimed-v2")
            && line.contains(&inspect(scene, name, "/0/Id")?.as_str().unwrap_or("?").to_owned()),
        "{line:?}"
    );
    Ok(parent)
}

fn signal(name: &str, pid: u64) -> Result<()> {
    ensure!(pid > 1);
    sh::run(Command::new("kill").args(["-s", name, &pid.to_string()]))
}

/// Is it gone, or at least dead?
fn gone(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

#[test]
fn a_killed_shim_takes_its_own_container_alone() -> Result<()> {
    let (scene, _) = scene(SHIMS, None)?;
    for name in ["hit", "other"] {
        scene.ok(&["run", "-d", "--name", name, "busybox", "sh", "-c", "sleep 1000 & sleep 1000"])?;
    }
    scene.ok(&["run", "-d", "--rm", "--name", "brief", "busybox", "sleep", "1000"])?;
    let (hit, brief) = (pid(&scene, "hit")?, pid(&scene, "brief")?);
    let mut events = scene.rctl_command(&["wait", "hit"]).stdout(std::process::Stdio::piped()).spawn()?;
    for name in ["hit", "brief"] {
        signal("KILL", shim(&scene, name)?)?;
    }
    let mut said = String::new();
    std::io::Read::read_to_string(events.stdout.as_mut().context("stdout is piped")?, &mut said)?;
    events.wait()?;
    ensure!(said == "137\n", "{said:?}");
    ensure!(gone(hit), "its processes go on");
    ensure!(inspect(&scene, "hit", "/0/State/Status")? == "exited");
    until("the removal of what was to be removed", &scene, || {
        Ok(scene.rctl(&["inspect", "brief"])?.code != 0)
    })?;
    ensure!(gone(brief));
    ensure!(scene.ok(&["exec", "other", "echo", "here"])? == "here\n");
    scene.ok(&["start", "hit"])?;
    ensure!(scene.ok(&["exec", "hit", "echo", "again"])? == "again\n");
    scene.ok(&["rm", "--force", "hit", "other"])?;
    scene.finish()
}

#[test]
fn a_shim_that_hangs_is_answered_for_and_goes_on_or_goes() -> Result<()> {
    let (scene, _) = scene(SHIMS, None)?;
    for name in ["hung", "other"] {
        scene.ok(&["run", "-d", "--name", name, "busybox", "sleep", "1000"])?;
    }
    let (first, shim) = (pid(&scene, "hung")?, shim(&scene, "hung")?);
    signal("STOP", shim)?;
    let began = Instant::now();
    let refused = scene.rctl(&["exec", "hung", "true"])?;
    ensure!(refused.code != 0 && refused.stderr.contains("does not answer"), "{refused:?}");
    let refused = scene.rctl(&["kill", "--signal", "USR1", "hung"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("does not answer"), "{refused:?}");
    // What is known is told, and at once.
    let listed = scene.ok(&["ps", "--format", "{{.Names}} {{.Status}}"])?;
    ensure!(
        listed.lines().any(|line| line.starts_with("hung Up ") && line.ends_with("(Not answering)")),
        "{listed}"
    );
    ensure!(scene.ok(&["tasks", "ls"])?.lines().any(|line| line.contains("UNKNOWN")));
    ensure!(scene.ok(&["exec", "other", "echo", "here"])? == "here\n");
    ensure!(pid(&scene, "hung")? == first);
    ensure!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
    // It goes on, and so does everything.
    signal("CONT", shim)?;
    until("an answer of the shim", &scene, || Ok(!scene.ok(&["ps"])?.contains("Not answering")))?;
    ensure!(scene.ok(&["exec", "hung", "echo", "again"])? == "again\n");
    scene.ok(&["restart", "--time", "0", "hung"])?;
    // It does not, and goes.
    let (second, shim) = (pid(&scene, "hung")?, self::shim(&scene, "hung")?);
    signal("STOP", shim)?;
    scene.ok(&["rm", "--force", "hung"])?;
    ensure!(gone(second) && gone(shim), "something of it goes on");
    ensure!(scene.ok(&["exec", "other", "echo", "here"])? == "here\n");
    scene.ok(&["rm", "--force", "other"])?;
    scene.finish()
}

#[test]
fn a_daemon_comes_up_beside_a_shim_that_hangs() -> Result<()> {
    let (mut scene, _) = scene(SHIMS, None)?;
    for name in ["hung", "other"] {
        scene.ok(&["run", "-d", "--name", name, "busybox", "sleep", "1000"])?;
    }
    let shim = shim(&scene, "hung")?;
    signal("STOP", shim)?;
    // The kernel lets a stopped child of one that dies go on, and hangs up on it.
    scene.kill_daemon()?;
    signal("STOP", shim)?;
    scene.start_daemon()?;
    ensure!(scene.ok(&["exec", "other", "echo", "here"])? == "here\n");
    ensure!(scene.ok(&["tasks", "ls"])?.lines().any(|line| line.contains("UNKNOWN")));
    scene.ok(&["rm", "--force", "hung"])?;
    ensure!(gone(shim));
    scene.ok(&["rm", "--force", "other"])?;
    scene.finish()
}

/// An executor that hangs in `verb` while a file is there, with a child that hangs with it; both sleep for `length`, and a file beside that
/// one says that they did.
fn hanging(verb: &str, switch: &Path, length: &str) -> String {
    format!(
        "#!/bin/sh\ncase \" $* \" in *\" {verb} \"*) if [ -e {0} ]; then : > {0}.hung; sleep {length} & sleep {length}; fi;; esac\nexec REAL \"$@\"\n",
        switch.display()
    )
}

#[test]
fn an_executor_that_hangs_is_ended() -> Result<()> {
    for verb in ["run", "exec", "pause"] {
        let switch = std::env::temp_dir().join(format!("runtimed-hang-{}-{verb}", std::process::id()));
        // Nobody else sleeps for as long as that.
        let length = format!("1{}.5", std::process::id());
        let (scene, _programs) = scene(EXECUTORS, Some(&hanging(verb, &switch, &length)))?;
        scene.ok(&["run", "-d", "--name", "other", "busybox", "sleep", "1000"])?;
        std::fs::write(&switch, "")?;
        let outcome = match verb {
            "run" => scene.rctl(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]),
            "exec" => scene.rctl(&["exec", "other", "true"]),
            _ => scene.rctl(&["pause", "other"]),
        };
        for file in [switch.clone(), switch.with_extension("hung")] {
            std::fs::remove_file(&file).with_context(|| format!("nothing hung: {}", file.display()))?;
        }
        let outcome = outcome?;
        ensure!(outcome.code != 0, "{verb}: {outcome:?}");
        ensure!(
            outcome.stderr.contains("the executor did not end within 3s and was killed"),
            "{verb}: {outcome:?}"
        );
        until("the end of what hung", &scene, || Ok(!sleeps(&length)?))?;
        ensure!(scene.ok(&["exec", "other", "echo", "here"])? == "here\n");
        // The same works once it does not hang any more.
        if verb == "run" {
            scene.ok(&["rm", "--force", "box"])?;
            scene.ok(&["run", "--rm", "--name", "box", "busybox", "true"])?;
        }
        scene.ok(&["rm", "--force", "other"])?;
        scene.finish()?;
    }
    Ok(())
}

/// In the one that removes a container, too: it is gone in the end, and its name is free.
#[test]
fn an_executor_that_hangs_at_the_end_holds_nothing() -> Result<()> {
    let switch = std::env::temp_dir().join(format!("runtimed-hang-{}-delete", std::process::id()));
    let length = format!("2{}.5", std::process::id());
    let (scene, _programs) = scene(EXECUTORS, Some(&hanging("delete", &switch, &length)))?;
    for name in ["box", "other"] {
        scene.ok(&["run", "-d", "--name", name, "busybox", "sleep", "1000"])?;
    }
    let first = pid(&scene, "box")?;
    std::fs::write(&switch, "")?;
    let said = scene.rctl(&["rm", "--force", "box"]);
    let other = scene.rctl(&["exec", "other", "echo", "here"]);
    // The answer may come before it.
    let hung = until("a deletion that hangs", &scene, || Ok(switch.with_extension("hung").exists()));
    std::fs::remove_file(&switch)?;
    hung?;
    std::fs::remove_file(switch.with_extension("hung"))?;
    let (said, other) = (said?, other?);
    ensure!(said.code == 0 || !said.stderr.is_empty(), "{said:?}");
    ensure!(other.stdout == "here\n", "{other:?}");
    until("the end of what hung", &scene, || Ok(!sleeps(&length)?))?;
    if said.code != 0 {
        scene.ok(&["rm", "--force", "box"])?;
    }
    until("the end of the container", &scene, || Ok(gone(first)))?;
    until("the end of its task", &scene, || Ok(scene.ok(&["tasks", "ls", "-q"])?.lines().count() == 1))?;
    ensure!(scene.ok(&["run", "--rm", "--name", "box", "busybox", "echo", "again"])? == "again\n");
    scene.ok(&["rm", "--force", "other"])?;
    scene.finish()
}

/// How it ended is kept before its output is delivered, which may take a while: a shim that dies meanwhile does not take the code along.
#[test]
fn a_shim_that_dies_with_output_to_deliver_keeps_the_code() -> Result<()> {
    if !harness::needs("a_shim_that_dies_with_output_to_deliver_keeps_the_code", &["ctr"]) {
        return Ok(());
    }
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    let faults = Faults::new()?;
    scene.set_environment(faults::VARIABLE, faults.folder());
    scene.start_daemon()?;
    e2e::load(&scene)?;
    // As much as pipes take whose reader has stopped.
    let script = "sleep 0.2; head -c 190000 /dev/zero; exit 7";
    let run = ["run", "docker.io/library/busybox:latest", "box", "sh", "-c", script];
    let kept = "shim.exit.written";
    faults.arm_line(&format!("{kept} delay:60000"))?;
    let mut client = scene.ctr_command(Path::new("ctr"), &run);
    let mut client = client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    // It is held up before the first of its patience has passed.
    until("the end of the container", &scene, || Ok(faults.fired_at(kept, "delay:60000").is_some()))?;
    ensure!(!scene.ok(&["tasks", "ls"])?.contains("STOPPED"), "its output is delivered already");
    let [shim] = e2e::shims(&scene)?[..] else { anyhow::bail!("there is one shim") };
    let waiting = scene.rctl_command(&["wait", "box"]).stdout(Stdio::piped()).spawn()?;
    signal("KILL", shim.into())?;
    // ctr deletes the task when it has heard of its end, and shows what it can still get.
    drop(client.stdout.take());
    ensure!(client.wait()?.code() == Some(7));
    let said = waiting.wait_with_output()?.stdout;
    ensure!(said == b"7\n", "{:?}", String::from_utf8_lossy(&said));
    scene.ok(&["containers", "rm", "box"])?;
    scene.finish()
}

/// Does anybody still sleep for as long as that?
fn sleeps(length: &str) -> Result<bool> {
    let mut entries = std::fs::read_dir("/proc")?.flatten().map(|entry| entry.path().join("cmdline"));
    Ok(entries
        .any(|path| std::fs::read(path).is_ok_and(|line| String::from_utf8_lossy(&line).contains(length))))
}

/// The bundles of all tasks, hidden ones as well.
fn bundles(scene: &Scene) -> Result<usize> {
    let folder = scene.root().join("run/io.containerd.runtime.v2.task").join(scene.namespace());
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        entries => Ok(entries?.count()),
    }
}

/// The executor is killed again and again when it removes a container that goes with its end, which nobody can find by then.
#[test]
fn a_container_that_nobody_can_find_is_deleted_in_the_end() -> Result<()> {
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    let faults = Faults::new()?;
    scene.set_environment(faults::VARIABLE, faults.folder());
    scene.start_daemon()?;
    e2e::load(&scene)?;
    faults.arm_line(&["runc-rs.delete.whole kill"; 3].join("\n"))?;
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "hi"])? == "hi\n");
    until("a third attempt", &scene, || Ok(scene.log().contains("the task of a removed container stays")))?;
    until("the end of its bundle", &scene, || Ok(bundles(&scene)? == 0))?;
    scene.finish()
}

/// The executor is killed when it removes a container that goes with its end: it is asked once more, by whatever shim.
#[test]
fn an_executor_that_dies_at_the_end_leaves_nothing() -> Result<()> {
    let folder = programs::folder()?;
    let mut scene = Scene::with_programs(&folder)?;
    let shim = scene.root().join("containerd-shim-stepwise-v2");
    std::os::unix::fs::symlink(folder.join("containerd-shim-runtimed-v2"), &shim)?;
    scene.configure(&format!("\"io.containerd.stepwise.v2\" = {shim:?}\n"));
    let faults = Faults::new()?;
    scene.set_environment(faults::VARIABLE, faults.folder());
    scene.start_daemon()?;
    e2e::load(&scene)?;
    for runtime in ["io.containerd.stepwise.v2", "io.containerd.runc.v2"] {
        faults.arm_line("runc-rs.delete.whole kill")?;
        ensure!(scene.ok(&["run", "--rm", "--runtime", runtime, "busybox", "echo", "hi"])? == "hi\n");
        // The task is out of every list before it is deleted; of its bundle, even the hidden one goes last.
        until("the death of an executor", &scene, || {
            Ok(faults.fired_at("runc-rs.delete.whole", "kill").is_some())
        })?;
        until("the end of its bundle", &scene, || Ok(bundles(&scene)? == 0))?;
    }
    scene.finish()
}
