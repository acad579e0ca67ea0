//! `rctl pull`, as a person sees it, from a real registry.

use anyhow::{Result, ensure};
use e2e::Terminal;
use harness::registry::Registry;
use harness::{Scene, image};

#[test]
fn a_pull_says_what_came() -> Result<()> {
    if !harness::needs("a_pull_says_what_came", &["docker-registry", "skopeo", "umoci"]) {
        return Ok(());
    }
    let scene = Scene::start()?;
    let registry = Registry::start(scene.root())?;
    let layout = scene.root().join("layout");
    image::busybox(scene.root(), &layout, "1")?;
    let name = registry.push(&layout, "1", "small")?;
    let pulled = scene.rctl(&["pull", &name])?;
    ensure!(pulled.code == 0 && pulled.stderr.contains(": Pull complete\n"), "{pulled:?}");
    ensure!(!format!("{pulled:?}").contains('\u{1b}'), "{pulled:?}");
    let lines: Vec<&str> = pulled.stdout.lines().collect();
    let [digest, status, last] = lines.as_slice() else { anyhow::bail!("{pulled:?}") };
    ensure!(*status == format!("Status: Downloaded newer image for {name}") && *last == name, "{pulled:?}");
    let digest = digest.strip_prefix("Digest: ").unwrap_or_default();
    ensure!(scene.ok(&["pull", &name])?.contains(&format!("Status: Image is up to date for {name}")));
    ensure!(scene.ok(&["pull", "--quiet", &name])? == format!("{name}\n"));
    ensure!(scene.ok(&["run", "--rm", &name, "echo", "ran"])? == "ran\n");
    scene.ok(&["rmi", &name])?;
    // A run brings what it needs, and says so where it does not disturb the output.
    let by_digest = format!("{}@{digest}", name.trim_end_matches(":1"));
    let run = scene.rctl(&["run", "--rm", &by_digest, "echo", "ran"])?;
    ensure!(run.stdout == "ran\n" && run.stderr.contains("Unable to find image"), "{run:?}");
    scene.ok(&["rmi", &by_digest])?;
    let mut terminal = Terminal::start(&scene.rctl_command(&["pull", &name]))?;
    terminal.expect("Pull complete")?;
    terminal.expect(&format!("Status: Downloaded newer image for {name}"))?;
    ensure!(terminal.end()? == 0);
    let missing = scene.rctl(&["pull", &format!("127.0.0.1:{}/small:none", registry.port)])?;
    ensure!(missing.code == 1 && missing.stderr.contains("small:none"), "{missing:?}");
    let never = scene.rctl(&["run", "--rm", &format!("127.0.0.1:{}/other", registry.port)])?;
    ensure!(never.code == 125 && never.stderr.contains("other"), "{never:?}");
    drop(registry);
    let nobody = scene.rctl(&["pull", &name])?;
    ensure!(nobody.code == 1 && nobody.stderr.contains("127.0.0.1"), "{nobody:?}");
    scene.finish()
}
