//! The remaining verbs of rctl, each as docker's users know it.

use std::io::Read;
use std::process::Stdio;

use anyhow::{Result, ensure};
use e2e::scene;
use harness::{Outcome, Scene};
use serde_json::Value;

/// What `inspect` tells at a JSON pointer.
fn inspect(scene: &Scene, name: &str, pointer: &str) -> Result<Value> {
    let all: Value = serde_json::from_str(&scene.ok(&["inspect", name])?)?;
    Ok(all.pointer(pointer).cloned().unwrap_or_default())
}

fn told(outcome: &Outcome, code: i32, text: &str) -> Result<()> {
    ensure!(
        outcome.code == code && outcome.stderr.contains(text),
        "{code} and {text:?} expected: {outcome:?}"
    );
    Ok(())
}

#[test]
fn what_is_not_there_is_named() -> Result<()> {
    let scene = scene()?;
    for verb in
        ["start", "stop", "restart", "kill", "rm", "attach", "logs", "wait", "pause", "unpause", "top"]
    {
        told(&scene.rctl(&[verb, "nobody"])?, 1, "Error response from daemon: No such container: nobody\n")?;
    }
    told(&scene.rctl(&["exec", "nobody", "true"])?, 1, "No such container: nobody")?;
    told(&scene.rctl(&["stats", "--no-stream", "nobody"])?, 1, "No such container: nobody")?;
    told(&scene.rctl(&["rmi", "nothing"])?, 1, "No such image: ")?;
    told(&scene.rctl(&["tag", "nothing", "other"])?, 1, "No such image: ")?;
    told(&scene.rctl(&["save", "-o", "/dev/null/x", "nothing"])?, 1, "No such image: ")?;
    let fifo = scene.root().join("fifo");
    harness::sh::run(std::process::Command::new("mkfifo").arg(&fifo))?;
    let said = scene.rctl(&["save", "-o", &fifo.display().to_string(), "busybox"])?;
    told(&said, 1, "fifo\" must be a directory or a regular file: got an irregular file")?;
    std::fs::remove_file(&fifo)?;
    told(&scene.rctl(&["save", "-o", "/no/such/x", "busybox"])?, 1, "directory \"/no/such\" does not exist")?;
    told(&scene.rctl(&["run", "--pull", "never", "nothing"])?, 125, "No such image: ")?;
    told(&scene.rctl(&["inspect", "nobody"])?, 1, "No such object: nobody")?;
    told(&scene.rctl(&["image", "inspect", "nobody"])?, 1, "No such image: nobody")?;
    told(&scene.rctl(&["run", "No/Good:name", "true"])?, 125, "repository name (Good) must be lowercase")?;
    told(&scene.rctl(&["run", "--memory", "much", "busybox"])?, 125, "invalid size: 'much'")?;
    told(&scene.rctl(&["nonsense"])?, 125, "nonsense")?;
    // Every one of several is tried.
    scene.ok(&["create", "--name", "here", "busybox"])?;
    let some = scene.rctl(&["rm", "nobody", "here"])?;
    told(&some, 1, "No such container: nobody")?;
    ensure!(some.stdout == "here\n", "{some:?}");
    let mut unreachable = scene.rctl_command(&["run", "busybox"]);
    unreachable.env("RUNTIMED_ADDRESS", scene.root().join("no.sock"));
    told(&Outcome::of(&mut unreachable, b"")?, 125, "Is runtimed running?")?;
    scene.finish()
}

#[test]
fn texts_of_strangers_do_not_command_the_terminal() -> Result<()> {
    let scene = scene()?;
    let hostile = "a\u{1b}[2J\u{7}\u{9b}31mb";
    let label = format!("key={hostile}");
    scene.ok(&["create", "--name", "box", "--label", &label, "busybox", "echo", hostile])?;
    let quiet = |args: &[&str]| -> Result<()> {
        let said = scene.rctl(args)?;
        let all = format!("{}{}", said.stdout, said.stderr);
        ensure!(!all.chars().any(|c| c.is_control() && c != '\n'), "{args:?}: {all:?}");
        Ok(())
    };
    quiet(&["ps", "--all", "--no-trunc"])?;
    quiet(&["ps", "--all", "--no-trunc", "--format", "{{.Command}} {{.Labels}}"])?;
    quiet(&["ps", "--all", "--no-trunc", "--format", "json"])?;
    quiet(&["inspect", "box"])?;
    quiet(&["inspect", "--format", "{{json .Config}}", "box"])?;
    quiet(&["rm", hostile])?;
    quiet(&["run", "--name", hostile, "busybox"])?;
    quiet(&["run", "--pull", "never", hostile])?;
    quiet(&["containers", "info", hostile])?;
    quiet(&["namespaces", "create", hostile])?;
    ensure!(
        scene.ok(&["ps", "-a", "--no-trunc"])?.contains('\u{fffd}'),
        "nothing stands for what was taken out"
    );
    // A program finds the text as it is.
    ensure!(inspect(&scene, "box", "/0/Config/Labels/key")? == hostile);
    scene.ok(&["rm", "box"])?;
    scene.finish()
}

#[test]
fn logs_are_cut_followed_and_dated() -> Result<()> {
    let scene = scene()?;
    let script = "for n in 1 2 3 4 5; do echo line $n; done; printf unended";
    scene.ok(&["run", "--name", "talker", "busybox", "sh", "-c", script])?;
    let logs = scene.rctl(&["logs", "talker"])?;
    ensure!(logs.stdout == "line 1\nline 2\nline 3\nline 4\nline 5\nunended", "{logs:?}");
    ensure!(logs.stderr.is_empty(), "{logs:?}");
    scene.rctl(&["run", "--name", "mumbler", "busybox", "sh", "-c", "echo oops >&2"])?;
    let logs = scene.rctl(&["logs", "mumbler"])?;
    ensure!(logs.stdout.is_empty() && logs.stderr == "oops\n", "{logs:?}");
    let tail = scene.rctl(&["logs", "--tail", "3", "talker"])?;
    ensure!(tail.stdout == "line 4\nline 5\nunended", "{tail:?}");
    ensure!(scene.ok(&["logs", "-n", "0", "talker"])?.is_empty());
    let dated = scene.ok(&["logs", "-t", "talker"])?;
    let first = dated.lines().next().unwrap_or_default();
    let (stamp, line) = first.split_once(' ').unwrap_or_default();
    ensure!(line == "line 1" && stamp.len() == "2026-01-02T13:23:37.123456789Z".len(), "{dated}");
    ensure!(scene.ok(&["logs", "--since", "1h", "talker"])?.starts_with("line 1\n"));
    ensure!(scene.ok(&["logs", "--until", "1h", "talker"])?.is_empty());
    ensure!(scene.ok(&["logs", "--since", "2099-01-02T13:23:37Z", "talker"])?.is_empty());
    ensure!(
        scene.ok(&["logs", "--since", stamp, "talker"])?.starts_with("line 1\n"),
        "since includes its instant"
    );
    told(&scene.rctl(&["logs", "--since", "yesterday", "talker"])?, 125, "yesterday")?;
    scene.ok(&["rm", "talker", "mumbler"])?;
    scene.finish()
}

#[test]
fn following_ends_with_the_container() -> Result<()> {
    let scene = scene()?;
    let script = "echo one; read line; echo $line; exit 6";
    scene.ok(&["run", "-d", "-i", "--name", "talker", "busybox", "sh", "-c", script])?;
    let mut follower = scene.rctl_command(&["logs", "--follow", "talker"]).stdout(Stdio::piped()).spawn()?;
    let mut seen = [0; 4];
    let mut output = follower.stdout.take().expect("it is piped");
    output.read_exact(&mut seen)?;
    ensure!(&seen == b"one\n");
    let attached = scene.rctl_with(&["attach", "talker"], b"two\n")?;
    ensure!(attached.code == 6 && attached.stdout == "two\n", "{attached:?}");
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    ensure!(rest == "two\n" && follower.wait()?.success(), "{rest:?}");
    scene.ok(&["rm", "talker"])?;
    scene.finish()
}

/// As in a pipe: who runs a container in the foreground, and stops reading for a while, misses nothing of it.
#[test]
fn output_waits_for_who_runs_the_container() -> Result<()> {
    let scene = scene()?;
    for (size, flags) in [(1_500_000, ["--name", "short"]), (20_000_000, ["--rm", "--name=long"])] {
        let script = format!("head -c {size} /dev/zero; exit 4");
        let words = [&["run"], &flags[..], &["busybox", "sh", "-c", &script]].concat();
        let mut client = scene.rctl_command(&words).stdout(Stdio::piped()).spawn()?;
        let mut output = client.stdout.take().expect("it is piped");
        output.read_exact(&mut [0])?;
        if flags[0] == "--name" {
            // It has ended, and that is told, though there is much that nobody has read yet.
            ensure!(scene.ok(&["wait", "short"])? == "4\n");
        } else {
            // Longer than any other client is waited for; nothing happens meanwhile.
            std::thread::sleep(std::time::Duration::from_secs(3));
        }
        let rest = std::io::copy(&mut output, &mut std::io::sink())?;
        ensure!(rest + 1 == size, "{rest} and 1 bytes of {size}");
        ensure!(client.wait()?.code() == Some(4));
    }
    scene.ok(&["rm", "short"])?;
    scene.finish()
}

/// What a shim that is killed had not delivered is missing: that is not taken for the whole.
#[test]
fn output_that_breaks_off_is_no_success() -> Result<()> {
    let scene = scene()?;
    let script = "trap '' TERM; echo begun; exec sleep 1000";
    let mut client = scene.rctl_command(&["run", "--rm", "busybox", "sh", "-c", script]);
    let mut client = client.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    client.stdout.take().expect("it is piped").read_exact(&mut [0; 6])?;
    let [shim] = e2e::shims(&scene)?[..] else { anyhow::bail!("there is one shim") };
    harness::sh::run(std::process::Command::new("kill").args(["-s", "KILL", &shim.to_string()]))?;
    ensure!(client.wait()?.code() == Some(137));
    scene.finish()
}

#[test]
fn a_slow_reader_does_not_stop_a_container() -> Result<()> {
    let scene = scene()?;
    let script = "head -c 8000000 /dev/zero | tr '\\0' x; echo; echo end >&2; sleep 1000";
    scene.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "talker",
        "busybox",
        "sh",
        "-c",
        "read go; eval \"$0\"",
        script,
    ])?;
    // Two that read nothing at all, and one that lets the output begin.
    let mut idle = Vec::new();
    for args in [["logs", "--follow", "talker"].as_slice(), &["attach", "--no-stdin", "talker"]] {
        idle.push(scene.rctl_command(args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
    }
    let mut starter = scene.rctl_command(&["attach", "talker"]);
    let mut starter = starter.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    std::io::Write::write_all(starter.stdin.as_mut().expect("it is piped"), b"go\n")?;
    let mut follower = scene.rctl_command(&["logs", "--follow", "talker"]);
    let mut follower = follower.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut end = [0; 4];
    follower.stderr.take().expect("it is piped").read_exact(&mut end)?;
    ensure!(&end == b"end\n");
    scene.ok(&["rm", "--force", "talker"])?;
    for child in idle.iter_mut().chain([&mut starter, &mut follower]) {
        child.kill()?;
        child.wait()?;
    }
    scene.finish()
}

#[test]
fn use_and_processes_are_shown() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["run", "-d", "--name", "box", "--memory", "32m", "busybox", "sleep", "1000"])?;
    let stats = scene.ok(&["stats", "--no-stream"])?;
    ensure!(stats.starts_with("CONTAINER ID   NAME"), "{stats}");
    ensure!(stats.contains("box") && stats.contains("/ 32MiB"), "{stats}");
    let one = scene.ok(&["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "box"])?;
    ensure!(one == "box 1\n", "{one:?}");
    let top = scene.ok(&["top", "box"])?;
    let pid = inspect(&scene, "box", "/0/State/Pid")?.to_string();
    ensure!(top.starts_with("UID") && top.contains("sleep 1000") && top.contains(&pid), "{top}");
    let short = scene.ok(&["top", "box", "-o", "pid,comm"])?;
    ensure!(short.lines().count() == 2 && short.contains(&pid), "{short}");
    scene.ok(&["rm", "--force", "box"])?;
    told(&scene.rctl(&["top", "box"])?, 1, "No such container: box")?;
    scene.finish()
}

#[test]
fn inspect_has_dockers_names() -> Result<()> {
    let scene = scene()?;
    let file = scene.root().join("env");
    std::fs::write(&file, "# a remark\nFROM_FILE=1\nTAKEN\n")?;
    let mut create = scene.rctl_command(&[
        "create",
        "--name",
        "box",
        "--env-file",
        &file.display().to_string(),
        "-e",
        "OWN=2",
        "-l",
        "a=b",
        "-u",
        "7:8",
        "-w",
        "/tmp",
        "--hostname",
        "host",
        "--memory",
        "64m",
        "--cpus",
        "1.5",
        "--pids-limit",
        "9",
        "--cap-add",
        "NET_ADMIN",
        "--stop-signal",
        "SIGINT",
        "--stop-timeout",
        "3",
        "--read-only",
        "busybox",
        "sleep",
        "5",
    ]);
    let id = Outcome::of(create.env("TAKEN", "3"), b"")?.ok()?;
    let all: Value = serde_json::from_str(&scene.ok(&["inspect", "box"])?)?;
    for (pointer, expected) in [
        ("/0/Id", Value::from(id.trim())),
        ("/0/Name", "/box".into()),
        ("/0/Path", "sleep".into()),
        ("/0/Args", vec!["5"].into()),
        ("/0/State/Status", "created".into()),
        ("/0/State/Running", false.into()),
        ("/0/Config/User", "7:8".into()),
        ("/0/Config/WorkingDir", "/tmp".into()),
        ("/0/Config/Hostname", "host".into()),
        ("/0/Config/Image", "busybox".into()),
        ("/0/Config/Labels/a", "b".into()),
        ("/0/Config/StopSignal", "SIGINT".into()),
        ("/0/Config/StopTimeout", 3.into()),
        ("/0/HostConfig/Memory", (64 << 20).into()),
        ("/0/HostConfig/NanoCpus", 1_500_000_000.into()),
        ("/0/HostConfig/PidsLimit", 9.into()),
        ("/0/HostConfig/CapAdd", vec!["NET_ADMIN"].into()),
        ("/0/HostConfig/ReadonlyRootfs", true.into()),
        ("/0/HostConfig/NetworkMode", "none".into()),
    ] {
        ensure!(all.pointer(pointer) == Some(&expected), "{pointer}: {expected} expected in {all:#}");
    }
    let env = all["/0".trim_start_matches('/').parse::<usize>()?]["Config"]["Env"].to_string();
    ensure!(env.contains("FROM_FILE=1") && env.contains("TAKEN=3") && env.contains("OWN=2"), "{env}");
    ensure!(scene.ok(&["inspect", "-f", "{{.Name}} {{.State.Running}}", "box"])? == "/box false\n");
    ensure!(
        scene.ok(&["container", "inspect", "--format", "{{index .Config.Labels \"a\"}}", "box"])? == "b\n"
    );
    ensure!(scene.rctl(&["inspect", "-f", "{{.Nope}}", "box"])?.code != 0);
    let listed: Value = serde_json::from_str(&scene.ok(&["inspect", "--format", "json", "box", "busybox"])?)?;
    ensure!(listed.as_array().is_some_and(|both| both.len() == 2), "{listed}");
    ensure!(listed[1]["RepoTags"] == serde_json::json!(["busybox:latest"]), "{listed:#}");
    scene.ok(&["rm", "box"])?;
    scene.finish()
}

#[test]
fn lists_are_filtered_and_formatted() -> Result<()> {
    let scene = scene()?;
    for name in ["first", "second", "third"] {
        scene.ok(&["create", "--name", name, "--label", &format!("name={name}"), "busybox", "true"])?;
    }
    scene.ok(&["start", "--attach", "second"])?;
    let names = |args: &[&str]| scene.ok(&[&["ps", "--format", "{{.Names}}"], args].concat());
    ensure!(names(&[])?.is_empty(), "nothing runs");
    ensure!(names(&["-a"])? == "third\nsecond\nfirst\n");
    ensure!(names(&["-n", "2"])? == "third\nsecond\n");
    ensure!(names(&["--latest"])? == "third\n");
    ensure!(names(&["-a", "--filter", "status=exited"])? == "second\n");
    ensure!(names(&["-a", "--filter", "exited=0"])? == "second\n");
    ensure!(names(&["-a", "--filter", "label=name=first"])? == "first\n");
    ensure!(names(&["-a", "--filter", "name=ir"])? == "third\nfirst\n");
    ensure!(names(&["-a", "--filter", "since=first", "--filter", "before=third"])? == "second\n");
    ensure!(names(&["-a", "--filter", "ancestor=busybox"])?.lines().count() == 3);
    ensure!(scene.rctl(&["ps", "--filter", "nonsense=1"])?.code == 1);
    let table = scene.ok(&["ps", "-a", "--format", "table {{.ID}}\\t{{.Names}}"])?;
    ensure!(table.starts_with("CONTAINER ID   NAMES\n"), "{table}");
    let images = scene.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    ensure!(images == "busybox:latest\n", "{images}");
    ensure!(scene.ok(&["image", "ls", "--filter", "reference=other*", "--quiet"])?.is_empty());
    let version: Value = serde_json::from_str(&scene.ok(&["version", "--format", "json"])?)?;
    ensure!(version["Server"]["Version"] == version["Client"]["Version"], "{version}");
    ensure!(scene.ok(&["info", "--format", "{{.Containers}} {{.ContainersRunning}}"])? == "3 0\n");
    scene.ok(&["rm", "first", "second", "third"])?;
    scene.finish()
}

#[test]
fn signals_and_patience_are_as_asked_for() -> Result<()> {
    let scene = scene()?;
    let script = "trap 'exit 31' USR1; trap '' TERM; echo up; while :; do sleep 0.02; done";
    scene.ok(&["run", "-d", "--name", "box", "--stop-timeout", "0", "busybox", "sh", "-c", script])?;
    let mut follower = scene.rctl_command(&["logs", "-f", "box"]).stdout(Stdio::piped()).spawn()?;
    follower.stdout.take().expect("it is piped").read_exact(&mut [0; 3])?;
    follower.kill()?;
    follower.wait()?;
    scene.ok(&["stop", "box"])?;
    ensure!(scene.ok(&["wait", "box"])? == "137\n", "it did not heed TERM and had no time");
    told(&scene.rctl(&["kill", "box"])?, 1, "is not running")?;
    scene.ok(&["restart", "box"])?;
    ensure!(inspect(&scene, "box", "/0/State/Running")? == true);
    told(&scene.rctl(&["kill", "--signal", "NOPE", "box"])?, 1, "NOPE")?;
    let mut waiter = scene.rctl_command(&["wait", "box"]).stdout(Stdio::piped()).spawn()?;
    // The trap may not be set yet: then USR1 ends the shell, or is lost on a first process.
    while inspect(&scene, "box", "/0/State/Running")? == true {
        let _ = scene.rctl(&["kill", "-s", "USR1", "box"])?;
    }
    let mut code = String::new();
    waiter.stdout.take().expect("it is piped").read_to_string(&mut code)?;
    ensure!(waiter.wait()?.success() && code == "31\n", "{code}");
    scene.ok(&["rm", "box"])?;
    scene.finish()
}

#[test]
fn a_stop_signal_that_is_none_is_refused_before_there_is_a_container() -> Result<()> {
    let scene = scene()?;
    for none in ["FOO", "99", "SIGRTMIN+99"] {
        let refused = scene.rctl(&["create", "--stop-signal", none, "busybox", "true"])?;
        told(&refused, 1, &format!("invalid signal: {none}"))?;
    }
    ensure!(scene.ok(&["ps", "--all", "--quiet"])?.is_empty());
    scene.finish()
}

#[test]
fn several_are_stopped_side_by_side() -> Result<()> {
    let scene = scene()?;
    let names = ["s1", "s2", "s3", "s4"];
    for name in names {
        // A first process without a handler does not heed TERM.
        scene.ok(&["run", "-d", "--name", name, "--stop-timeout", "1", "busybox", "sleep", "1000"])?;
    }
    let began = std::time::Instant::now();
    ensure!(scene.ok(&[&["stop"], names.as_slice()].concat())? == "s1\ns2\ns3\ns4\n");
    let took = began.elapsed();
    ensure!(took >= std::time::Duration::from_secs(1), "they were given no time: {took:?}");
    ensure!(took < std::time::Duration::from_millis(3500), "one after the other: {took:?}");
    scene.ok(&[&["rm"], names.as_slice()].concat())?;
    scene.finish()
}

#[test]
fn images_are_named_saved_and_removed() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["tag", "busybox", "example.com/team/tool:2"])?;
    let archive = scene.root().join("two.tar").display().to_string();
    scene.ok(&["save", "-o", &archive, "busybox", "example.com/team/tool:2"])?;
    let removed = scene.ok(&["rmi", "busybox"])?;
    ensure!(removed == "Untagged: busybox:latest\n", "{removed}");
    scene.ok(&["create", "--name", "user", "example.com/team/tool:2"])?;
    told(&scene.rctl(&["rmi", "example.com/team/tool:2"])?, 1, "is using its referenced image")?;
    scene.ok(&["rm", "user"])?;
    let removed = scene.ok(&["rmi", "example.com/team/tool:2"])?;
    ensure!(removed.contains("Untagged: example.com/team/tool:2\nDeleted: sha256:"), "{removed}");
    ensure!(scene.ok(&["images", "-q"])?.is_empty());
    let loaded = scene.rctl_with(&["load", "--quiet"], &std::fs::read(&archive)?)?.ok()?;
    ensure!(loaded.contains("example.com/team/tool:2") && loaded.contains("busybox:latest"), "{loaded}");
    ensure!(scene.ok(&["run", "--rm", "example.com/team/tool:2", "echo", "whole"])? == "whole\n");
    scene.finish()
}

#[test]
fn help_and_completion_need_no_daemon() -> Result<()> {
    let scene = Scene::start()?;
    let alone = |args: &[&str]| {
        let mut command = scene.rctl_command(args);
        Outcome::of(command.env("RUNTIMED_ADDRESS", scene.root().join("no.sock")), b"")?.ok()
    };
    for shell in ["bash", "zsh", "fish"] {
        ensure!(alone(&["completion", shell])?.contains("unpause"), "{shell}");
    }
    let help = alone(&["--help"])?;
    for verb in ["run", "exec", "containers", "container", "snapshots", "image"] {
        ensure!(help.lines().any(|line| line.trim_start().starts_with(verb)), "{verb}: {help}");
    }
    ensure!(alone(&["run", "--help"])?.contains("--stop-timeout"));
    ensure!(alone(&["--version"])?.starts_with("rctl "));
    scene.finish()
}

#[test]
fn a_reader_that_goes_is_no_accident() -> Result<()> {
    let scene = scene()?;
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    for args in [
        ["plugins", "ls"].as_slice(),
        &["info"],
        &["inspect", "busybox"],
        &["run", "--rm", "busybox", "ls", "/bin"],
    ] {
        let mut command = scene.rctl_command(args);
        let output =
            command.stdout(writer.try_clone()?).stderr(Stdio::piped()).spawn()?.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!said.contains("panicked"), "{args:?}: {said}");
    }
    while !scene.ok(&["ps", "--all", "-q"])?.is_empty() {}
    scene.finish()
}
