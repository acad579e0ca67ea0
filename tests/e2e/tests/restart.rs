//! The daemon dies; containers do not notice, and nothing is forgotten.

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::scene;
use harness::Scene;
use harness::faults::{self, Faults};

/// O_NONBLOCK.
const NONBLOCK: i32 = 0o4000;

#[test]
fn a_container_goes_on_without_the_daemon() -> Result<()> {
    let mut scene = scene()?;
    scene.ok(&[
        "run",
        "-d",
        "--name",
        "ticker",
        "busybox",
        "sh",
        "-c",
        "while :; do echo tick; sleep 0.02; done",
    ])?;
    let pid = inspect(&scene, "/0/State/Pid")?;
    let log = inspect(&scene, "/0/LogPath")?;
    let lines = || -> Result<usize> { Ok(std::fs::read_to_string(log.trim_matches('"'))?.lines().count()) };
    scene.kill_daemon()?;
    let before = lines()?;
    std::thread::sleep(Duration::from_millis(300));
    ensure!(lines()? > before, "the output stopped with the daemon");
    scene.start_daemon()?;
    ensure!(inspect(&scene, "/0/State/Pid")? == pid, "it is another process");
    ensure!(scene.ok(&["exec", "ticker", "echo", "here"])? == "here\n");
    scene.ok(&["rm", "--force", "ticker"])?;
    scene.finish()
}

#[test]
fn an_exit_that_was_missed_is_known_afterwards() -> Result<()> {
    let mut scene = scene()?;
    scene.ok(&[
        "run",
        "-d",
        "--name",
        "short",
        "busybox",
        "sh",
        "-c",
        "echo last words; sleep 0.3; exit 23",
    ])?;
    scene.ok(&["run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "0.3"])?;
    scene.kill_daemon()?;
    std::thread::sleep(Duration::from_millis(600));
    scene.start_daemon()?;
    ensure!(scene.ok(&["wait", "short"])? == "23\n");
    ensure!(scene.ok(&["logs", "short"])? == "last words\n");
    let ended: String = inspect_of(&scene, "short", "/0/State/FinishedAt")?;
    ensure!(!ended.starts_with("\"0001"), "{ended}");
    let all = scene.ok(&["ps", "--all"])?;
    ensure!(!all.contains("gone"), "{all}");
    scene.ok(&["rm", "short"])?;
    scene.finish()
}

#[test]
fn names_images_and_stopped_containers_are_still_there() -> Result<()> {
    let mut scene = scene()?;
    scene.ok(&["create", "--name", "waiting", "busybox", "echo", "at last"])?;
    scene.ok(&["tag", "busybox", "other:1"])?;
    scene.kill_daemon()?;
    scene.start_daemon()?;
    ensure!(scene.ok(&["start", "--attach", "waiting"])? == "at last\n");
    ensure!(scene.rctl(&["create", "--name", "waiting", "busybox"])?.code == 1);
    ensure!(scene.ok(&["images"])?.contains("other"));
    scene.ok(&["rm", "waiting"])?;
    scene.finish()
}

fn inspect(scene: &Scene, pointer: &str) -> Result<String> {
    inspect_of(scene, "ticker", pointer)
}

fn inspect_of(scene: &Scene, name: &str, pointer: &str) -> Result<String> {
    let all: serde_json::Value = serde_json::from_str(&scene.ok(&["inspect", name])?)?;
    Ok(all.pointer(pointer).cloned().unwrap_or_default().to_string())
}

#[test]
fn execs_of_an_earlier_daemon_are_cleared_away() -> Result<()> {
    let mut scene = scene()?;
    scene.ok(&["run", "-d", "--name", "ticker", "busybox", "sleep", "1000"])?;
    let mut typing =
        scene.rctl_command(&["exec", "-i", "ticker", "sh", "-c", "echo ready; cat; touch /ended"]);
    let mut client =
        typing.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn()?;
    let mut said = std::io::BufReader::new(client.stdout.take().context("stdout is piped")?);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line)?;
    ensure!(line == "ready\n", "{line}");
    scene.kill_daemon()?;
    client.kill()?;
    client.wait()?;
    scene.start_daemon()?;
    // Its stdin has ended with its client, so it ends too; then nothing of it is left but the attach socket.
    let began = std::time::Instant::now();
    loop {
        let left = folders_of_execs(&scene)?.len();
        if left == 0 && scene.rctl(&["exec", "ticker", "test", "-e", "/ended"])?.code == 0 {
            break;
        }
        ensure!(
            began.elapsed() < Duration::from_secs(10),
            "{left} folders of execs are left\n{}",
            scene.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    scene.ok(&["rm", "--force", "ticker"])?;
    scene.finish()
}

/// Where the fifos of the only container's execs are.
fn folders_of_execs(scene: &Scene) -> Result<Vec<PathBuf>> {
    let state = scene.root().join("run/engine").join(scene.namespace());
    let container = std::fs::read_dir(state)?.next().context("the container has a folder")??.path();
    let entries = std::fs::read_dir(container)?.flatten().map(|entry| entry.path());
    Ok(entries.filter(|path| path.is_dir()).collect())
}

/// A scene whose programs look for faults.
fn faulty() -> Result<(Scene, Faults)> {
    let mut scene = Scene::with_programs(&harness::programs::folder()?)?;
    let faults = Faults::new()?;
    scene.set_environment(faults::VARIABLE, faults.folder());
    scene.start_daemon()?;
    e2e::load(&scene)?;
    Ok((scene, faults))
}

/// The daemon dies when the shim knows of an exec, and before that is started: nobody will ever start it, nor wait for it.
#[test]
fn an_exec_that_was_never_started_is_cleared_away() -> Result<()> {
    let (mut scene, faults) = faulty()?;
    scene.ok(&["run", "-d", "--name", "ticker", "busybox", "sleep", "1000"])?;
    scene.ok(&["exec", "ticker", "true"])?;
    let [shim] = e2e::shims(&scene)?[..] else { anyhow::bail!("there is one shim") };
    let before = e2e::Use::of(shim)?.descriptors;
    ensure!(folders_of_execs(&scene)?.is_empty());
    faults.arm_line("flows.exec.start kill")?;
    ensure!(scene.rctl(&["exec", "ticker", "true"])?.code != 0);
    let began = std::time::Instant::now();
    while scene.daemon_ended()?.is_none() {
        ensure!(began.elapsed() < Duration::from_secs(30), "the daemon lives\n{}", scene.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    // Connections come and go; the streams of an exec would be eight descriptors.
    ensure!(e2e::Use::of(shim)?.descriptors <= before + 2, "the shim has streams for it");
    let [folder] = &folders_of_execs(&scene)?[..] else {
        anyhow::bail!("there is one exec\n{}", scene.log())
    };
    let output = std::fs::File::options().read(true).custom_flags(NONBLOCK).open(folder.join("stdout"))?;
    ensure!(std::io::Read::read(&mut &output, &mut [0])? == 0, "somebody may write for it");
    scene.start_daemon()?;
    // They go when the shim has forgotten it.
    e2e::until("an end of its fifos", &scene, || Ok(folders_of_execs(&scene)?.is_empty()))?;
    ensure!(scene.ok(&["exec", "ticker", "echo", "here"])? == "here\n");
    scene.ok(&["rm", "--force", "ticker"])?;
    scene.finish()
}

#[test]
fn an_end_that_came_before_its_start_was_noted_stays_noted() -> Result<()> {
    let mut scene = scene()?;
    for number in 0..5 {
        scene.ok(&["run", "--name", &format!("short{number}"), "busybox", "true"])?;
    }
    scene.kill_daemon()?;
    scene.start_daemon()?;
    for number in 0..5 {
        let name = format!("short{number}");
        ensure!(inspect_of(&scene, &name, "/0/State/ExitCode")? == "0", "{name} is said to be lost");
        scene.ok(&["rm", &name])?;
    }
    scene.finish()
}

/// The daemon dies when it has noted how a container ended, and before it has cleared its task away.
#[test]
fn times_that_were_noted_stay_as_they_are() -> Result<()> {
    let (mut scene, faults) = faulty()?;
    scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?;
    let started = inspect_of(&scene, "box", "/0/State/StartedAt")?;
    faults.arm_line("flows.exit.noted kill")?;
    // Whether it is told of it or not.
    scene.rctl(&["kill", "box"])?;
    let began = std::time::Instant::now();
    while scene.daemon_ended()?.is_none() {
        ensure!(began.elapsed() < Duration::from_secs(30), "the daemon notes no end\n{}", scene.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = std::time::SystemTime::now();
    scene.start_daemon()?;
    ensure!(scene.ok(&["wait", "box"])? == "137\n");
    ensure!(inspect_of(&scene, "box", "/0/State/StartedAt")? == started, "it was started at {started}");
    let finished = inspect_of(&scene, "box", "/0/State/FinishedAt")?;
    let finished = harness::sh::read(std::process::Command::new("date").args([
        "+%s.%N",
        "--date",
        finished.trim_matches('"'),
    ]))?;
    let latest = ended.duration_since(std::time::UNIX_EPOCH)?.as_secs_f64();
    ensure!(finished.trim().parse::<f64>()? <= latest, "it finished at {finished}, and was seen at {latest}");
    scene.ok(&["rm", "box"])?;
    scene.finish()
}

/// The disk fails when the daemon notes how a container ended. The shim, which knows it too, keeps it until it is noted: by this daemon, which
/// tries again, or by the next one.
#[test]
fn an_end_that_could_not_be_noted_is_not_lost() -> Result<()> {
    let (mut scene, faults) = faulty()?;
    for by_the_next in [false, true] {
        scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?;
        faults.arm_line("metadata.commit.apply eio")?;
        scene.ok(&["kill", "box"])?;
        e2e::until("a disk that fails", &scene, || {
            Ok(faults.fired_at("metadata.commit.apply", "eio").is_some())
        })?;
        faults.disarm();
        if by_the_next {
            scene.kill_daemon()?;
            scene.start_daemon()?;
        }
        ensure!(scene.ok(&["wait", "box"])? == "137\n");
        e2e::until("the end of its task", &scene, || Ok(scene.ok(&["tasks", "ls", "--quiet"])?.is_empty()))?;
        ensure!(inspect_of(&scene, "box", "/0/State/ExitCode")? == "137");
        scene.kill_daemon()?;
        scene.start_daemon()?;
        ensure!(inspect_of(&scene, "box", "/0/State/ExitCode")? == "137", "it was kept in memory only");
        scene.ok(&["rm", "box"])?;
    }
    scene.finish()
}

/// A power cut ends a container that goes with its end: nothing of it is worth a wait for the disk.
#[test]
fn a_container_that_goes_with_its_end_waits_for_no_disk() -> Result<()> {
    let (scene, faults) = faulty()?;
    scene.ok(&["run", "--rm", "busybox", "true"])?;
    faults.arm_line("metadata.commit.sync eio")?;
    scene.ok(&["run", "--rm", "busybox", "true"])?;
    ensure!(faults.fired_at("metadata.commit.sync", "eio").is_none(), "it waited\n{}", scene.log());
    faults.disarm();
    scene.finish()
}

/// A restart is the daemon's from its beginning on.
#[test]
fn a_restart_goes_on_without_its_client() -> Result<()> {
    let (scene, faults) = faulty()?;
    scene.ok(&[
        "run",
        "-d",
        "--name",
        "left",
        "busybox",
        "sh",
        "-c",
        "trap '' TERM; while :; do sleep 1; done",
    ])?;
    let before = inspect_of(&scene, "left", "/0/State/Pid")?;
    faults.seen()?;
    let mut client = scene.rctl_command(&["restart", "--time", "2", "left"]).spawn()?;
    let waiting = ("runtimed".to_owned(), "flows.stop.wait".to_owned());
    e2e::until("its signal", &scene, || Ok(faults.seen()?.contains_key(&waiting)))?;
    client.kill()?;
    client.wait()?;
    e2e::until("another run", &scene, || {
        let running = inspect_of(&scene, "left", "/0/State/Running")? == "true";
        Ok(running && inspect_of(&scene, "left", "/0/State/Pid")? != before)
    })?;
    scene.ok(&["rm", "--force", "left"])?;
    scene.finish()
}

/// Who ran it is told how it ended, though it runs again by then.
#[test]
fn the_client_of_a_run_hears_of_its_end_when_others_restart_it() -> Result<()> {
    let scene = scene()?;
    let script = "trap 'exit 5' TERM; echo up; while :; do sleep 0.1; done";
    let mut client = scene
        .rctl_command(&["run", "--rm", "--name", "again", "busybox", "sh", "-c", script])
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let mut said = [0; 3];
    std::io::Read::read_exact(client.stdout.as_mut().context("stdout is piped")?, &mut said)?;
    scene.ok(&["restart", "again"])?;
    ensure!(client.wait()?.code() == Some(5));
    ensure!(scene.ok(&["exec", "again", "echo", "here"])? == "here\n");
    scene.ok(&["rm", "--force", "again"])?;
    scene.finish()
}

/// The container's end is that of the task that it has now, whoever made it.
#[test]
fn a_run_of_another_client_is_waited_for_and_stopped() -> Result<()> {
    let scene = scene()?;
    let script = "[ -e /ran ] && exec sleep 1000; : > /ran; exit 3";
    let id = scene.ok(&["run", "-d", "--name", "twice", "busybox", "sh", "-c", script])?;
    ensure!(scene.ok(&["wait", "twice"])? == "3\n");
    e2e::until("the end of its task", &scene, || Ok(scene.ok(&["tasks", "ls", "--quiet"])?.is_empty()))?;
    scene.ok(&["tasks", "start", "-d", "--null-io", id.trim()])?;
    let mut waiting = scene.rctl_command(&["wait", "twice"]).stdout(std::process::Stdio::piped()).spawn()?;
    scene.ok(&["stop", "--time", "0", "twice"])?;
    let tasks = scene.ok(&["tasks", "ls"])?;
    ensure!(!tasks.contains("RUNNING"), "it goes on:\n{tasks}");
    let mut said = String::new();
    std::io::Read::read_to_string(waiting.stdout.as_mut().context("stdout is piped")?, &mut said)?;
    waiting.wait()?;
    ensure!(said == "137\n", "{said:?}");
    scene.ok(&["rm", "--force", "twice"])?;
    scene.finish()
}

#[test]
fn a_container_that_is_to_be_removed_can_be_restarted() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["run", "-d", "--rm", "--name", "again", "busybox", "sleep", "1000"])?;
    scene.ok(&["restart", "--time", "0", "again"])?;
    ensure!(scene.ok(&["exec", "again", "echo", "here"])? == "here\n");
    scene.ok(&["rm", "--force", "again"])?;
    scene.finish()
}
