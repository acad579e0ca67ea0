//! `cargo xtask demo`: what a person sees on the first day, each step checked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use harness::registry::Registry;
use harness::{Scene, Traces, image};

use crate::{build, packages};

/// A daemon that is back later than this has kept its promise badly.
const RESTART: Duration = Duration::from_secs(1);

/// Shows the whole stack at work; an error names the step that was not as promised.
pub fn demo() -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::DEMO)?;
    let dist = build::release()?;
    let before = Traces::take()?;
    let mut scene = Scene::with_programs(&dist)?;
    scene.use_namespace("default");
    let scratch = scene.root().join("scratch");
    std::fs::create_dir(&scratch)?;
    say("An image from Debian packages, in a registry on loopback");
    let layout = scratch.join("layout");
    image::debian(&scratch, &layout, "12")?;
    let registry = Registry::start(&scratch)?;
    let name = registry.push(&layout, "12", "debian-tools")?;
    println!("pushed {name}");
    first_run(&mut scene)?;
    pulled(&scene, &name)?;
    survive(&mut scene)?;
    remove(&scene, &name)?;
    drop(registry);
    say("The daemon stops, and nothing is left");
    let root = scene.root().to_owned();
    println!("$ kill -TERM {}", scene.pid().unwrap_or_default());
    scene.finish()?;
    let left = Traces::take()?.beyond(&before);
    if !left.is_empty() || root.exists() {
        bail!("left behind:\n  {}", left.join("\n  "));
    }
    println!("no mount, process, cgroup, network namespace, socket or file");
    Ok(())
}

/// Shows the command line that starts the daemon, and starts it.
fn start(scene: &mut Scene) -> Result<Duration> {
    println!("$ {}", shown(&scene.daemon_command()?));
    scene.start_daemon()
}

/// Shows a command line, runs it to success and shows what it says.
fn show(scene: &Scene, args: &[&str]) -> Result<String> {
    println!("$ rctl {}", args.join(" "));
    let outcome = scene.rctl(args)?;
    print!("{}{}", outcome.stderr, outcome.stdout);
    outcome.ok().with_context(|| format!("the daemon's log:\n{}", scene.log()))
}

fn shown(command: &std::process::Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn first_run(scene: &mut Scene) -> Result<()> {
    say("A daemon, and a first container without any registry");
    start(scene)?;
    let text = show(scene, &["run", "--rm", "hello"])?;
    ensure!(text.starts_with("Hello from runtimed!"), "hello said {text:?}");
    Ok(())
}

fn pulled(scene: &Scene, name: &str) -> Result<()> {
    say("Pull and run");
    show(scene, &["pull", name])?;
    let images = show(scene, &["images"])?;
    ensure!(images.contains("debian-tools"), "the image is not listed");
    let text = show(
        scene,
        &[
            "run",
            "--rm",
            name,
            "bash",
            "-c",
            "echo \"$BASH_VERSION on $(. /etc/os-release; echo $PRETTY_NAME), pid $$\"",
        ],
    )?;
    ensure!(text.contains("Debian") && text.contains("pid 1"), "bash said {text:?}");
    let code = scene.rctl(&["run", "--rm", name, "bash", "-c", "exit 42"])?.code;
    ensure!(code == 42, "the exit code is {code}, not 42");
    let script = "trap 'echo bye; exit 0' TERM; i=0; while :; do echo tick $((i+=1)); sleep 0.1; done";
    show(scene, &["run", "-d", "--name", "ticker", "--memory", "64m", name, "bash", "-c", script])?;
    ensure!(show(scene, &["ps"])?.contains("ticker"), "the container is not listed");
    let text = show(scene, &["exec", "ticker", "cat", "/etc/hostname"])?;
    ensure!(text.trim().len() == 12, "the host name is {text:?}");
    let text = show(scene, &["logs", "--tail", "2", "ticker"])?;
    ensure!(text.contains("tick"), "the output is {text:?}");
    Ok(())
}

fn survive(scene: &mut Scene) -> Result<()> {
    say("The daemon dies; the container does not notice");
    let pid = inspect(scene, "ticker", "Pid")?;
    let log = inspect(scene, "ticker", "LogPath")?;
    let before = lines(&log)?;
    println!("$ kill -KILL {}", scene.pid().unwrap_or_default());
    scene.kill_daemon()?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(Path::new("/proc").join(&pid).exists(), "process {pid} has ended with the daemon");
    let after = lines(&log)?;
    println!("process {pid} is alive; its output grew from {before} to {after} lines");
    ensure!(after > before, "the output stopped with the daemon");
    let took = start(scene)?;
    println!("the daemon answers again after {} ms", took.as_millis());
    ensure!(took < RESTART, "the daemon took {took:?} to come back");
    ensure!(show(scene, &["ps"])?.contains("Up "), "the container is not shown as running");
    let text = show(scene, &["exec", "ticker", "bash", "-c", "echo still here"])?;
    ensure!(text == "still here\n", "exec said {text:?}");
    ensure!(inspect(scene, "ticker", "Pid")? == pid, "it is another process");
    Ok(())
}

fn remove(scene: &Scene, name: &str) -> Result<()> {
    say("Stop and remove");
    show(scene, &["stop", "ticker"])?;
    let text = show(scene, &["logs", "--tail", "1", "ticker"])?;
    ensure!(text == "bye\n", "the last line is {text:?}");
    ensure!(show(scene, &["ps", "--all"])?.contains("Exited (0)"), "the exit code is not 0");
    show(scene, &["rm", "ticker"])?;
    show(scene, &["rmi", name])?;
    show(scene, &["rmi", "hello"])?;
    ensure!(show(scene, &["images", "--quiet"])?.is_empty(), "an image is left");
    ensure!(show(scene, &["ps", "--all", "--quiet"])?.is_empty(), "a container is left");
    Ok(())
}

/// A field of `rctl inspect`, wherever it is.
fn inspect(scene: &Scene, container: &str, field: &str) -> Result<String> {
    let all: serde_json::Value = serde_json::from_str(&scene.ok(&["inspect", container])?)?;
    let object = &all[0];
    let value = if object[field].is_null() { &object["State"][field] } else { &object[field] };
    Ok(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn lines(path: &str) -> Result<usize> {
    Ok(std::fs::read_to_string(path)?.lines().count())
}

fn say(what: &str) {
    println!("\n== {what}");
}
