//! Programs in the place of a shim that are none: nothing starts by them, what they did say is told, and nothing of them stays.

use anyhow::{Result, ensure};
use e2e::until;
use harness::{Scene, programs};

/// What one of them does when it is asked to `start`, and what is told of it.
const STARTS: &[(&str, &str)] = &[
    ("exit 3", "exit"),
    ("sleep LENGTH", "no answer in 2 s"),
    ("echo no-shim-here; exit 0", "no-shim-here"),
    ("head -c 1000000 /dev/zero | tr '\\0' x", "x"),
    ("printf 'unix:///nobody/listens/here'", "/nobody/listens/here"),
    ("printf '{\"version\":3,\"address\":\"unix://SOCKET\",\"protocol\":\"ttrpc\"}'", "shim"),
    ("printf '{\"version\":99,\"address\":\"unix:///x\",\"protocol\":\"smoke\"}'", "only ttrpc is supported"),
    ("printf '\\033[2Jgone' >&2; exit 1", "gone"),
];

#[test]
fn a_program_that_is_no_shim_starts_nothing() -> Result<()> {
    let mut scene = Scene::with_programs(&programs::folder()?)?;
    let path = scene.root().join("containerd-shim-odd-v2");
    scene.configure(&format!(
        "\"io.containerd.odd.v2\" = {path:?}\n[runtime]\nshim_timeout = 2\n[timeouts]\nshim_long_call = 2\n"
    ));
    scene.start_daemon()?;
    e2e::load(&scene)?;
    scene.ok(&["run", "-d", "--name", "other", "busybox", "sleep", "100000"])?;
    // Nobody else sleeps for as long as that.
    let length = format!("3{}.5", std::process::id());
    for (start, words) in STARTS {
        let start = start.replace("SOCKET", &scene.socket().display().to_string());
        let start = start.replace("LENGTH", &length);
        let script = format!(
            "#!/bin/sh\nfor action; do :; done\ncase $action in start) {start};; delete) echo odd;; esac\n"
        );
        ::programs::write(&path, &script)?;
        let said = scene.rctl(&["run", "--rm", "--runtime", "io.containerd.odd.v2", "busybox", "true"])?;
        ensure!((125..=127).contains(&said.code), "{start}: {said:?}");
        ensure!(said.stderr.contains(words), "{start}: not {words:?} in {said:?}");
        ensure!(said.stderr.len() < 16 << 10, "{start}: {} bytes of error", said.stderr.len());
        ensure!(!said.stderr.contains('\u{1b}') && !scene.log().contains('\u{1b}'), "{start}: {said:?}");
        until("an end of it", &scene, || {
            Ok(scene.ok(&["ps", "--all", "--quiet"])?.lines().count() == 1
                && scene.ok(&["tasks", "ls", "--quiet"])?.lines().count() == 1)
        })?;
        ensure!(scene.ok(&["exec", "other", "echo", "here"])? == "here\n");
    }
    let lines =
        std::fs::read_dir("/proc")?.flatten().map(|entry| std::fs::read(entry.path().join("cmdline")));
    let sleeps = lines.flatten().filter(|line| String::from_utf8_lossy(line).contains(&length)).count();
    ensure!(sleeps == 0, "{sleeps} of what hung go on");
    scene.ok(&["rm", "--force", "other"])?;
    scene.finish()
}
