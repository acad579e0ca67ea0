//! Clients that vanish, that are slow, that are many: the container and the others do not notice.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{Use, scene, scene_without_standby, until};
use harness::Scene;
use harness::hostile::{Asked, Entry, How, Image, Registry, Reply};

/// Starts rctl with pipes on all its streams.
fn piped(scene: &Scene, args: &[&str]) -> Result<Child> {
    let mut command = scene.rctl_command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("start rctl")
}

/// What the daemon has open.
fn open_files(scene: &Scene) -> Vec<String> {
    let folder = format!("/proc/{}/fd", scene.pid().unwrap_or_default());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string())).collect()
}

/// Waits for a program's end.
fn end(child: &mut Child, scene: &Scene) -> Result<Option<i32>> {
    let mut code = None;
    until("the end of rctl", scene, || {
        let status = child.try_wait()?;
        code = status.and_then(|status| status.code());
        Ok(status.is_some())
    })?;
    Ok(code)
}

fn signal(name: &str, child: &Child) -> Result<()> {
    harness::sh::run(Command::new("kill").args(["-s", name, &child.id().to_string()]))
}

fn read_line(child: &mut Child) -> Result<(String, BufReader<std::process::ChildStdout>)> {
    let mut reader = BufReader::new(child.stdout.take().context("stdout is piped")?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok((line, reader))
}

/// Writes until the pipe has been full for a while: whoever should read it does not.
fn clog(child: &mut Child) -> Result<std::thread::JoinHandle<()>> {
    let mut stdin = child.stdin.take().context("stdin is piped")?;
    let (tell, told) = std::sync::mpsc::channel();
    let feeding = std::thread::spawn(move || {
        let block = [b'x'; 64 << 10];
        while stdin.write_all(&block).is_ok() {
            // Whoever waited for this may have heard enough.
            let _ = tell.send(());
        }
    });
    // As long as something moves, it is not full.
    while told.recv_timeout(Duration::from_millis(500)).is_ok() {}
    Ok(feeding)
}

#[test]
fn a_signal_passes_input_that_nobody_reads() -> Result<()> {
    let scene = scene()?;
    let script = "trap 'echo told; exit 9' TERM; echo ready; while :; do sleep 0.02; done";
    let mut client = piped(&scene, &["run", "--rm", "-i", "busybox", "sh", "-c", script])?;
    let (line, mut output) = read_line(&mut client)?;
    ensure!(line == "ready\n", "{line:?}");
    let feeding = clog(&mut client)?;
    signal("TERM", &client)?;
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    ensure!(rest == "told\n", "{rest:?}");
    ensure!(end(&mut client, &scene)? == Some(9));
    drop(feeding.join());
    scene.finish()
}

#[test]
fn an_attached_client_with_input_that_nobody_reads_can_be_killed() -> Result<()> {
    let scene = scene_without_standby()?;
    scene.ok(&["run", "-d", "-i", "--name", "box", "busybox", "sleep", "1000"])?;
    let before = descriptors(&scene)?;
    let mut client = piped(&scene, &["attach", "box"])?;
    let feeding = clog(&mut client)?;
    ensure!(descriptors(&scene)? > before, "nothing is attached");
    client.kill()?;
    client.wait()?;
    drop(feeding.join());
    until("an end of the session", &scene, || Ok(descriptors(&scene)? <= before))?;
    scene.ok(&["rm", "--force", "box"])?;
    scene.finish()
}

/// Descriptors that the daemon and the shims of the scene have open.
fn descriptors(scene: &Scene) -> Result<usize> {
    let pids = scene.pid().into_iter().chain(e2e::shims(scene)?);
    Ok(pids.filter_map(|pid| Use::of(pid).ok()).map(|used| used.descriptors).sum())
}

#[test]
fn clients_that_vanish_leave_nothing_behind() -> Result<()> {
    let scene = scene_without_standby()?;
    let script = "n=0; while :; do echo line $n; n=$((n+1)); sleep 0.01; done";
    scene.ok(&["run", "-d", "--name", "box", "busybox", "sh", "-c", script])?;
    scene.ok(&["run", "-d", "-i", "--name", "quiet", "busybox", "sleep", "1000"])?;
    scene.ok(&["logs", "box"])?;
    let before = descriptors(&scene)?;
    let verbs: [&[&str]; 8] = [
        &["attach", "box"],
        &["attach", "quiet"],
        &["logs", "-f", "box"],
        &["logs", "-f", "quiet"],
        &["exec", "-i", "quiet", "cat"],
        &["stats", "box"],
        &["wait", "box"],
        &["save", "busybox"],
    ];
    for _ in 0..3 {
        let mut clients = Vec::new();
        for args in verbs {
            clients.push(piped(&scene, args)?);
        }
        until("the opening of sessions", &scene, || Ok(descriptors(&scene)? >= before + verbs.len()))?;
        for mut client in clients {
            client.kill()?;
            client.wait()?;
        }
    }
    // An exec goes on without its client, as docker's does; one that reads finds the end of its input.
    // Some are opened once, whoever comes first; far fewer than clients have come.
    let closed =
        until("an end of everything that was open", &scene, || Ok(descriptors(&scene)? <= before + 4));
    closed.with_context(|| format!("{before} descriptors before, now {:?}", open_files(&scene)))?;
    ensure!(scene.ok(&["exec", "quiet", "echo", "here"])? == "here\n");
    scene.ok(&["rm", "--force", "box", "quiet"])?;
    scene.finish()
}

#[test]
fn a_run_whose_client_vanished_goes_on() -> Result<()> {
    let scene = scene()?;
    let script = "echo ready; i=0; while [ $i -lt 50 ]; do echo $i; i=$((i+1)); sleep 0.01; done; exit 6";
    let mut client = piped(&scene, &["run", "--name", "box", "busybox", "sh", "-c", script])?;
    let (line, _) = read_line(&mut client)?;
    ensure!(line == "ready\n", "{line:?}");
    client.kill()?;
    client.wait()?;
    ensure!(scene.ok(&["wait", "box"])? == "6\n");
    ensure!(scene.ok(&["logs", "box"])?.ends_with("\n49\n"));
    scene.ok(&["rm", "box"])?;
    scene.finish()
}

#[test]
fn an_upload_that_breaks_off_leaves_no_content() -> Result<()> {
    let scene = scene()?;
    let archive = scene.root().join("saved.tar");
    scene.ok(&["save", "--output", &archive.display().to_string(), "busybox"])?;
    let bytes = std::fs::read(&archive)?;
    let before = held(&scene)?;
    // An archive that stops in the middle, and a blob, of which more is sent than is read at once.
    let half = bytes[..bytes.len() / 2].to_vec();
    for (args, sent) in [(&["load"][..], half), (&["content", "ingest", "half"], vec![7; 3 << 20])] {
        let mut client = piped(&scene, args)?;
        let mut stdin = client.stdin.take().context("stdin is piped")?;
        stdin.write_all(&sent)?;
        if args[0] == "content" {
            until("an upload on its way", &scene, || Ok(scene.ok(&["content", "active"])?.contains("half")))?;
        }
        client.kill()?;
        client.wait()?;
        drop(stdin);
    }
    let ended = until("an end of the uploads", &scene, || Ok(held(&scene)? == before));
    ended.with_context(|| format!("held before:\n{before}and now:\n{:?}", held(&scene)))?;
    // What a client sent under a name of its own it may go on with, or take back.
    let active = scene.ok(&["content", "active"])?;
    ensure!(active.lines().skip(1).all(|line| line.starts_with("half ")), "{active}");
    scene.ok(&["content", "abort", "half"])?;
    ensure!(scene.ok(&["content", "active"])?.lines().count() == 1);
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "still here"])? == "still here\n");
    scene.finish()
}

/// What a daemon holds of images: blobs, layers, and leases on them.
fn held(scene: &Scene) -> Result<String> {
    let nouns = [&["content", "ls", "--quiet"][..], &["snapshots", "ls"], &["leases", "ls", "--quiet"]];
    nouns.into_iter().map(|noun| scene.ok(noun)).collect()
}

#[test]
fn a_pull_whose_client_vanished_leaves_nothing() -> Result<()> {
    let scene = scene()?;
    let noise: Vec<u8> =
        (0..1u64 << 20).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let image = Image::of(&[vec![Entry::file("a", &noise)], vec![Entry::file("b", &noise)]]);
    let layer = image.layers[1].clone();
    // It sends a part of one layer, and then nothing for as long as the client likes to wait.
    let stalled = move |asked: &Asked| {
        let half = Reply::new(200, &layer.bytes).sent(How::Stall(layer.bytes.len() / 2));
        (asked.path.contains(&layer.digest) && asked.method == "GET").then_some(half)
    };
    let registry = Registry::start(&image, stalled)?;
    let before = held(&scene)?;
    for _ in 0..3 {
        let asked = registry.asked(&image.layers[1].digest).len();
        let mut client = piped(&scene, &["pull", &registry.name()])?;
        until("a layer on its way", &scene, || Ok(registry.asked(&image.layers[1].digest).len() > asked))?;
        until("the other layer", &scene, || {
            Ok(scene.ok(&["content", "ls", "--quiet"])?.contains(&image.layers[0].digest))
        })?;
        client.kill()?;
        client.wait()?;
        let ended = until("an end of the pull", &scene, || Ok(held(&scene)? == before));
        ended.with_context(|| format!("held before:\n{before}and now:\n{:?}", held(&scene)))?;
    }
    ensure!(!scene.ok(&["images"])?.contains("strange"), "half an image has a name");
    // What was begun may be gone on with for a day; then nothing of it is left.
    let honest = Registry::start(&image, |_| None)?;
    scene.ok(&["pull", &honest.name()])?;
    let active = scene.ok(&["content", "active"])?;
    ensure!(!active.contains("sha256"), "{active}");
    scene.finish()
}

#[test]
fn a_reader_that_hardly_reads_holds_nothing_up() -> Result<()> {
    let scene = scene()?;
    // As much as fits into no buffer on the way; it says that it is done in a file, since its output is not read.
    let script = "read go; yes 0123456789012345678901234567890123456789012345678901234567890 | head -n 400000; touch /done; sleep 1000";
    scene.ok(&["run", "-d", "-i", "--name", "box", "busybox", "sh", "-c", script])?;
    let mut slow = piped(&scene, &["attach", "box"])?;
    let mut logs = piped(&scene, &["logs", "-f", "box"])?;
    let daemon = scene.pid().context("a daemon runs")?;
    let before = Use::of(daemon)?.memory;
    slow.stdin.as_mut().context("stdin is piped")?.write_all(b"go\n")?;
    let (mut output, mut byte) = (slow.stdout.take().context("stdout is piped")?, [0]);
    let mut read = 0;
    until("the end of 24 MB", &scene, || {
        read += output.read(&mut byte)?;
        Ok(scene.rctl(&["exec", "box", "test", "-e", "/done"])?.code == 0)
    })?;
    ensure!(read > 0, "nothing was read at all");
    let grown = Use::of(daemon)?.memory.saturating_sub(before);
    ensure!(grown < 16 << 10, "the daemon has grown by {grown} KiB for readers who do not read");
    // Who was let go is told so, once it reads on; nothing before is missing.
    let mut rest = Vec::new();
    output.read_to_end(&mut rest)?;
    let mut said = String::new();
    slow.stderr.take().context("stderr is piped")?.read_to_string(&mut said)?;
    ensure!(said.contains("read too slowly"), "{said:?}");
    ensure!(end(&mut slow, &scene)? == Some(1));
    // The log has all of it; its reader is held back, and nobody else.
    let mut kept = BufReader::new(logs.stdout.take().context("stdout is piped")?);
    let mut line = String::new();
    for number in 0..400_000 {
        line.clear();
        kept.read_line(&mut line)?;
        ensure!(line.len() == 62, "line {number}: {line:?}");
    }
    logs.kill()?;
    logs.wait()?;
    scene.ok(&["rm", "--force", "box"])?;
    scene.finish()
}

#[test]
fn many_clients_at_once_are_all_served() -> Result<()> {
    let clients: usize = match std::env::var("RUNTIMED_TEST_CLIENTS") {
        Ok(text) => text.parse().context("RUNTIMED_TEST_CLIENTS")?,
        Err(_) => 500,
    };
    let scene = scene()?;
    scene.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "box",
        "busybox",
        "sh",
        "-c",
        // More than once: who comes late hears it, too.
        "read go; while sleep 0.1; do echo to all; done",
    ])?;
    let before = descriptors(&scene)?;
    let mut attached = Vec::new();
    for number in 0..clients {
        let args: &[&str] =
            if number % 2 == 0 { &["attach", "--no-stdin", "box"] } else { &["logs", "-f", "box"] };
        attached.push(piped(&scene, args)?);
    }
    let began = Instant::now();
    until("the opening of sessions", &scene, || Ok(descriptors(&scene)? >= before + clients * 2))?;
    // Others are served meanwhile.
    ensure!(scene.ok(&["ps", "--quiet"])?.lines().count() == 1);
    println!("{clients} clients are connected after {:?}", began.elapsed());
    let daemon = scene.pid().context("a daemon runs")?;
    println!("the daemon has {} KiB with {clients} clients", Use::of(daemon)?.memory);
    let mut writer = piped(&scene, &["attach", "box"])?;
    writer.stdin.as_mut().context("stdin is piped")?.write_all(b"go\n")?;
    for client in &mut attached {
        let (line, _) = read_line(client)?;
        if line != "to all\n" {
            let mut said = String::new();
            client.kill()?;
            client.stderr.take().context("stderr is piped")?.read_to_string(&mut said)?;
            bail!("{line:?}, {said:?}\n{}", scene.log());
        }
    }
    attached.push(writer);
    for mut client in attached {
        client.kill()?;
        client.wait()?;
    }
    until("an end of all sessions", &scene, || Ok(descriptors(&scene)? <= before + 4))?;
    println!("the daemon has {} KiB after them", Use::of(daemon)?.memory);
    scene.ok(&["rm", "--force", "box"])?;
    scene.finish()
}
