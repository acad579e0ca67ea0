//! `cargo xtask demo`: what a person sees on the first day, each step checked.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::registry::Registry;
use crate::scene::Scene;
use crate::{build, image, packages};

/// A daemon that is back later than this has kept its promise badly.
const RESTART: Duration = Duration::from_secs(1);

/// Shows the whole stack at work; an error names the step that was not as promised.
pub fn demo() -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::DEMO)?;
    let dist = build::release()?;
    let mut scene = Scene::new(&dist)?;
    let scratch = scene.root().join("scratch");
    std::fs::create_dir(&scratch)?;
    say("An image from Debian packages, in a registry on loopback");
    let layout = scratch.join("layout");
    image::make(&scratch, &layout, "12")?;
    let registry = Registry::start(&scratch)?;
    let name = registry.push(&layout, "12", "debian-tools")?;
    println!("pushed {name}");
    first_run(&mut scene)?;
    pulled(&scene, &name)?;
    survive(&mut scene)?;
    remove(&scene, &name)?;
    drop(registry);
    say("Nothing is left");
    let left = scene.tear_down()?;
    if !left.is_empty() {
        bail!("left behind:\n  {}", left.join("\n  "));
    }
    println!("no mount, process, cgroup, network namespace or socket");
    Ok(())
}

fn first_run(scene: &mut Scene) -> Result<()> {
    say("A daemon, and a first container without any registry");
    scene.start()?;
    let text = scene.show(&["run", "--rm", "hello"])?;
    ensure!(text.starts_with("Hello from runtimed!"), "hello said {text:?}");
    Ok(())
}

fn pulled(scene: &Scene, name: &str) -> Result<()> {
    say("Pull and run");
    scene.show(&["pull", name])?;
    let images = scene.show(&["images"])?;
    ensure!(images.contains("debian-tools"), "the image is not listed");
    let text = scene.show(&[
        "run",
        "--rm",
        name,
        "bash",
        "-c",
        "echo \"$BASH_VERSION on $(. /etc/os-release; echo $PRETTY_NAME), pid $$\"",
    ])?;
    ensure!(text.contains("Debian") && text.contains("pid 1"), "bash said {text:?}");
    let code = scene.rctl(&["run", "--rm", name, "sh", "-c", "exit 42"]).status()?.code();
    ensure!(code == Some(42), "the exit code is {code:?}, not 42");
    let script = "trap 'echo bye; exit 0' TERM; i=0; while :; do echo tick $((i+=1)); sleep 0.1; done";
    scene.show(&["run", "-d", "--name", "ticker", "--memory", "64m", name, "bash", "-c", script])?;
    ensure!(scene.show(&["ps"])?.contains("ticker"), "the container is not listed");
    let text = scene.show(&["exec", "ticker", "cat", "/etc/hostname"])?;
    ensure!(text.trim().len() == 12, "the host name is {text:?}");
    let text = scene.show(&["logs", "--tail", "2", "ticker"])?;
    ensure!(text.contains("tick"), "the output is {text:?}");
    Ok(())
}

fn survive(scene: &mut Scene) -> Result<()> {
    say("The daemon dies; the container does not notice");
    let pid = inspect(scene, "ticker", "Pid")?;
    let log = inspect(scene, "ticker", "LogPath")?;
    let before = lines(&log)?;
    scene.kill()?;
    std::thread::sleep(Duration::from_millis(500));
    ensure!(Path::new("/proc").join(&pid).exists(), "process {pid} has ended with the daemon");
    let after = lines(&log)?;
    println!("process {pid} is alive; its output grew from {before} to {after} lines");
    ensure!(after > before, "the output stopped with the daemon");
    let took = scene.start()?;
    println!("the daemon answers again after {} ms", took.as_millis());
    ensure!(took < RESTART, "the daemon took {took:?} to come back");
    ensure!(scene.show(&["ps"])?.contains("Up "), "the container is not shown as running");
    let text = scene.show(&["exec", "ticker", "bash", "-c", "echo still here"])?;
    ensure!(text == "still here\n", "exec said {text:?}");
    ensure!(inspect(scene, "ticker", "Pid")? == pid, "it is another process");
    Ok(())
}

fn remove(scene: &Scene, name: &str) -> Result<()> {
    say("Stop and remove");
    scene.show(&["stop", "ticker"])?;
    let text = scene.show(&["logs", "--tail", "1", "ticker"])?;
    ensure!(text == "bye\n", "the last line is {text:?}");
    ensure!(scene.show(&["ps", "--all"])?.contains("Exited (0)"), "the exit code is not 0");
    scene.show(&["rm", "ticker"])?;
    scene.show(&["rmi", name])?;
    scene.show(&["rmi", "hello"])?;
    ensure!(scene.show(&["images", "--quiet"])?.is_empty(), "an image is left");
    ensure!(scene.show(&["ps", "--all", "--quiet"])?.is_empty(), "a container is left");
    Ok(())
}

/// A field of `rctl inspect`, wherever it is.
fn inspect(scene: &Scene, container: &str, field: &str) -> Result<String> {
    let output = scene.rctl(&["inspect", container]).output()?;
    let all: serde_json::Value = serde_json::from_slice(&output.stdout)?;
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
