//! `runc-rs run` against runc and crun, on one bundle.
//!
//! crun refuses a machine where version 1 and 2 of cgroups are mixed and version 2 has a controller. So all three are timed by a
//! process of this program in a mount namespace of its own, where version 2 is not mounted then.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use harness::sh;

use super::timing::{self, Contender, Samples};
use super::{COMMAND, report};

/// Where version 2 is mounted beside version 1.
const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// Times all three and makes the table.
pub fn section(programs: &Path, rounds: usize) -> Result<String> {
    let scene = harness::Scene::with_programs(programs)?;
    let bundle = scene.root().join("bundle");
    make_bundle(&bundle)?;
    let own = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]).arg(own).arg("bench-executors");
    command.arg(programs).arg(&bundle).arg(rounds.to_string());
    let said = sh::read(&mut command)?;
    scene.finish()?;
    let said: Value = serde_json::from_str(&said).context("read what the timing process says")?;
    let samples =
        said["samples"].as_array().context("samples")?.iter().map(parse).collect::<Result<Vec<_>>>()?;
    let Some((ours, peers)) = samples.split_first() else { bail!("nothing was timed") };
    let pairs: Vec<_> = peers.iter().map(|peer| (ours, peer)).collect();
    let mut text = report::times("An executor alone", &pairs);
    if said["unmounted"] == true {
        text.push_str("\nAll three with version 1 of cgroups alone, since crun refuses both at once.\n");
    }
    for missing in said["missing"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let line = missing.split_whitespace().collect::<Vec<_>>().join(" ");
        text.push_str(&format!("\nNot measured: {line}\n"));
    }
    Ok(text)
}

/// What runs in the mount namespace: prints samples as JSON.
pub fn time_and_print(programs: &Path, bundle: &Path, rounds: usize) -> Result<()> {
    let mut missing = Vec::new();
    let mixed = Path::new(UNIFIED).join("cgroup.controllers").exists();
    if mixed && let Err(error) = sh::read(Command::new("umount").arg(UNIFIED)) {
        missing.push(format!("{UNIFIED} cannot be unmounted: {error:#}"));
    }
    let mut contenders = vec![contender("runc-rs", &programs.join("runc-rs"), bundle)];
    for peer in ["runc", "crun"] {
        let mut peer = contender(peer, Path::new(peer), bundle);
        match (peer.once)() {
            Ok(()) => contenders.push(peer),
            Err(error) => missing.push(format!("{}: {error:#}", peer.name)),
        }
    }
    let samples = timing::in_turns(rounds, &mut contenders)?;
    let samples: Vec<Value> = samples
        .iter()
        .map(|one| {
            let nanos: Vec<u64> = one.times().iter().map(|time| time.as_nanos() as u64).collect();
            json!({"name": one.name, "nanos": nanos})
        })
        .collect();
    println!("{}", json!({"samples": samples, "missing": missing, "unmounted": mixed && missing.is_empty()}));
    Ok(())
}

fn contender(name: &str, program: &Path, bundle: &Path) -> Contender<'static> {
    let (program, bundle) = (program.to_owned(), bundle.to_owned());
    let state = bundle.join(format!("state-{name}"));
    let id = format!("bench-{}-{name}", std::process::id());
    let once = move || {
        let mut command = Command::new(&program);
        timing::silently(command.arg("--root").arg(&state).args(["run", "--bundle"]).arg(&bundle).arg(&id))
    };
    Contender { name: format!("`{name} run`"), once: Box::new(once) }
}

/// busybox, and the document that runc itself proposes.
fn make_bundle(bundle: &Path) -> Result<()> {
    let bin = bundle.join("rootfs/bin");
    std::fs::create_dir_all(&bin)?;
    std::fs::copy("/bin/busybox", bin.join("busybox")).context("copy busybox")?;
    std::os::unix::fs::symlink("busybox", bundle.join("rootfs").join(COMMAND.trim_start_matches('/')))?;
    sh::run(Command::new("runc").arg("spec").arg("--bundle").arg(bundle))?;
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!([COMMAND]);
    std::fs::write(&file, serde_json::to_vec(&config)?)?;
    Ok(())
}

fn parse(value: &Value) -> Result<Samples> {
    let name = value["name"].as_str().context("a name")?;
    let nanos = value["nanos"].as_array().context("times")?.iter().filter_map(Value::as_u64);
    Ok(Samples::new(name.to_owned(), nanos.map(Duration::from_nanos).collect()))
}
