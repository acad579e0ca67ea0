//! Many containers at once: create, list, events, a restart of the daemon, remove all. How much memory and how many descriptors that takes
//! is measured, and what is left afterwards.
//!
//! `RUNTIMED_TEST_CONTAINERS` says how many; by default as many as a small machine runs in well under a minute.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{Use, scene};
use harness::Scene;

/// How long any one step may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Clients that create at once.
const CLIENTS: usize = 4;

fn containers() -> Result<usize> {
    match std::env::var("RUNTIMED_TEST_CONTAINERS") {
        Ok(text) => text.parse().context("RUNTIMED_TEST_CONTAINERS"),
        Err(_) => Ok(100),
    }
}

/// Runs one command for each number, a few at once; the first failure is told.
fn each(scene: &Scene, count: usize, args: impl Fn(usize) -> Vec<String> + Sync) -> Result<()> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let words = args(number);
            scene.ok(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(work)).collect();
        clients.into_iter().try_for_each(|client| match client.join() {
            Ok(result) => result,
            Err(_) => bail!("a client panicked"),
        })
    })
}

/// Says what a step took.
fn told(what: &str, count: usize, begun: Instant, daemon: Option<u32>) -> Result<()> {
    let took = begun.elapsed();
    ensure!(took < PATIENCE, "{what} took {took:?}");
    let each = took.as_secs_f64() * 1000.0 / count as f64;
    let used = daemon.map(Use::of).transpose()?;
    let shown = used.map(|used| format!(", the daemon has {used}")).unwrap_or_default();
    println!("{what}: {took:.1?}, {each:.2} ms each{shown}");
    Ok(())
}

#[test]
fn many_containers_come_stay_and_go() -> Result<()> {
    let count = containers()?;
    let mut scene = scene()?;
    // What is made once, for the first container.
    scene.ok(&["run", "--rm", "busybox", "true"])?;
    let idle = Use::of(scene.pid().context("a daemon runs")?)?;
    println!("{count} containers; idle, the daemon has {idle}");
    let events = Events::listen(&scene, "/tasks/start")?;
    let begun = Instant::now();
    each(&scene, count, |number| {
        ["run", "-d", "--name", &format!("c{number}"), "busybox", "sleep", "100000"]
            .map(str::to_owned)
            .to_vec()
    })?;
    told("run", count, begun, scene.pid())?;
    let begun = Instant::now();
    ensure!(scene.ok(&["ps", "--quiet"])?.lines().count() == count);
    ensure!(scene.ok(&["tasks", "ls", "--quiet"])?.lines().count() == count);
    told("ps and tasks ls", count, begun, None)?;
    let (memory, shims) = shims(&scene)?;
    ensure!(shims == count, "{shims} shims for {count} containers");
    println!("shims: {} KiB each", memory / count);

    let begun = Instant::now();
    scene.kill_daemon()?;
    let back = scene.start_daemon()?;
    println!("back after {back:.1?}");
    ensure!(scene.ok(&["ps", "--quiet"])?.lines().count() == count);
    told("restart", count, begun, scene.pid())?;
    ensure!(scene.ok(&["exec", "c0", "echo", "here"])? == "here\n");
    if let Some(events) = events {
        // The subscription ended with the daemon that it was made with: it saw every start.
        let starts = events.end()?.len();
        ensure!(starts == count, "{starts} starts were told of {count}");
    }

    let events = Events::listen(&scene, "/tasks/exit")?;
    let begun = Instant::now();
    let all: Vec<String> = (0..count).map(|number| format!("c{number}")).collect();
    let mut args = vec!["rm", "--force"];
    args.extend(all.iter().map(String::as_str));
    scene.ok(&args)?;
    told("rm --force", count, begun, scene.pid())?;
    ensure!(scene.ok(&["ps", "--all", "--quiet"])?.is_empty());
    ensure!(scene.ok(&["tasks", "ls", "--quiet"])?.is_empty());
    // Nothing of them is held: as many descriptors as before, and no more memory than the tables of a container are worth.
    let daemon = scene.pid().context("a daemon runs")?;
    let begun = Instant::now();
    while Use::of(daemon)?.descriptors > idle.descriptors + 4 {
        ensure!(begun.elapsed() < Duration::from_secs(30), "{} descriptors, {idle} before", Use::of(daemon)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("after all, the daemon has {}", Use::of(daemon)?);
    // Each end was told once, over a restart and all.
    scene.kill_daemon()?;
    if let Some(events) = events {
        let mut exits = Vec::new();
        for line in events.end()? {
            let (_, event) = line.split_once('{').with_context(|| line.clone())?;
            let event: serde_json::Value = serde_json::from_str(&format!("{{{event}"))?;
            // That of the exec may come late, too.
            if event["id"] == event["container_id"] {
                exits.push(event["id"].to_string());
            }
        }
        exits.sort();
        ensure!(exits.len() == count, "{} exits were told of {count}: {exits:?}", exits.len());
        exits.dedup();
        ensure!(exits.len() == count, "of {} containers it was told that they ended", exits.len());
    }
    scene.start_daemon()?;
    scene.finish()
}

/// Events as `ctr` sees them.
struct Events {
    client: Child,
    listening: std::thread::JoinHandle<Vec<String>>,
}

impl Events {
    /// Takes down the events of `topic` from here on; `None` where there is no `ctr`.
    fn listen(scene: &Scene, topic: &'static str) -> Result<Option<Events>> {
        if !harness::needs("events of many containers", &["ctr"]) {
            return Ok(None);
        }
        let mut client = scene.ctr_command(Path::new("ctr"), &["events"]).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(client.stdout.take().context("stdout is piped")?).lines();
        let (tell, heard) = std::sync::mpsc::channel();
        let listening = std::thread::spawn(move || {
            // It listens once it has heard of a thing that is done again and again until it does.
            let _ = lines.by_ref().map_while(std::io::Result::ok).find(|line| line.contains("/images/"));
            let _ = tell.send(());
            lines.map_while(std::io::Result::ok).filter(|line| line.contains(topic)).collect()
        });
        let begun = Instant::now();
        while heard.try_recv().is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(30), "ctr hears nothing\n{}", scene.log());
            scene.ok(&["tag", "busybox", "heard"])?;
            scene.ok(&["rmi", "heard"])?;
        }
        Ok(Some(Events { client, listening }))
    }

    /// What was heard until the daemon ended.
    fn end(mut self) -> Result<Vec<String>> {
        self.client.wait()?;
        self.listening.join().map_err(|_| anyhow::anyhow!("the listening panicked"))
    }
}

/// What all shims of the scene have in memory, in KiB, and how many there are.
fn shims(scene: &Scene) -> Result<(usize, usize)> {
    let (mut memory, mut count) = (0, 0);
    for pid in e2e::shims(scene)? {
        memory += Use::of(pid)?.memory;
        count += 1;
    }
    Ok((memory, count))
}

/// The soft limit of open files of a process.
fn files_of(pid: u32) -> Result<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("Max open files")?;
    Ok(line.split_whitespace().nth(3).context("a soft limit")?.parse()?)
}

#[test]
fn a_daemon_raises_the_limit_of_open_files_for_itself_alone() -> Result<()> {
    if !harness::needs("a_daemon_raises_the_limit_of_open_files_for_itself_alone", &["prlimit"]) {
        return Ok(());
    }
    let mut scene = Scene::with_programs(&harness::programs::folder()?)?;
    scene.launch_with(&["prlimit", "--nofile=100:5000"]);
    scene.start_daemon()?;
    e2e::load(&scene)?;
    ensure!(files_of(scene.pid().context("a daemon runs")?)? == 5000);
    // Far more than fit into what it was started with.
    each(&scene, 40, |number| {
        ["run", "-d", "--name", &format!("c{number}"), "busybox", "sleep", "100000"]
            .map(str::to_owned)
            .to_vec()
    })?;
    for shim in e2e::shims(&scene)? {
        ensure!(files_of(shim)? == 100, "a shim may open {} files", files_of(shim)?);
    }
    ensure!(scene.ok(&["exec", "c0", "sh", "-c", "ulimit -n"])? == "100\n");
    let all: Vec<String> = (0..40).map(|number| format!("c{number}")).collect();
    let mut args = vec!["rm", "--force"];
    args.extend(all.iter().map(String::as_str));
    scene.ok(&args)?;
    scene.finish()
}

#[test]
fn a_daemon_without_descriptors_goes_on_when_there_are_some() -> Result<()> {
    if !harness::needs("a_daemon_without_descriptors_goes_on_when_there_are_some", &["prlimit"]) {
        return Ok(());
    }
    let scene = scene()?;
    scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?;
    let daemon = scene.pid().context("a daemon runs")?;
    let few = Use::of(daemon)?.descriptors + 20;
    harness::sh::run(Command::new("prlimit").args([
        "--pid",
        &daemon.to_string(),
        &format!("--nofile={few}:{few}"),
    ]))?;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(std::os::unix::net::UnixStream::connect(scene.socket())?);
    }
    // Until the kernel has no descriptor for it any more.
    let begun = Instant::now();
    while Use::of(daemon)?.descriptors < few {
        ensure!(
            begun.elapsed() < Duration::from_secs(30),
            "the daemon takes no more clients\n{}",
            scene.log()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(crowd);
    ensure!(scene.ok(&["exec", "box", "echo", "here"])? == "here\n");
    ensure!(scene.ok(&["run", "--rm", "busybox", "echo", "there"])? == "there\n");
    scene.ok(&["rm", "--force", "box"])?;
    scene.finish()
}
