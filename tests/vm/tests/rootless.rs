//! An ordinary user's containers: as units of the user's own service manager, and below a cgroup that was delegated to the user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::sh;
use serde_json::json;
use vm::{Bundle, as_user, until};

fn property(unit: &str, name: &str) -> Result<String> {
    let mut command = as_user("systemctl");
    let text = sh::read(command.args(["--user", "show", "--value", "--property", name, unit]))?;
    Ok(text.trim_end().to_owned())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_users_container_is_a_unit_of_the_users() -> Result<()> {
    let mut bundle = Bundle::rootless(&["--systemd-cgroup"], "exec sleep 1000")?;
    bundle.limit("pids", json!({"limit": 21}));
    bundle.limit("memory", json!({"limit": 64 << 20}));
    bundle.start()?;
    let unit = format!("runc-{}.scope", bundle.id);
    let cgroup = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/{unit}");
    ensure!(property(&unit, "ControlGroup")? == cgroup, "{}", property(&unit, "ControlGroup")?);
    ensure!(property(&unit, "TasksMax")? == "21" && property(&unit, "MemoryMax")? == "67108864");
    ensure!(bundle.file("pids.max")? == "21" && bundle.file("memory.max")? == "67108864");
    // Neither cgroup is the user's to move processes between: systemd does it. Seen from within, its own cgroup is the top.
    let within = bundle.ok(&["exec", "ID", "cat", "/proc/self/cgroup"])?;
    ensure!(within == "0::/\n", "{within}");
    bundle.ok(&["update", "--pids-limit", "12", "ID"])?;
    ensure!(property(&unit, "TasksMax")? == "12" && bundle.file("pids.max")? == "12");
    bundle.ok(&["pause", "ID"])?;
    bundle.ok(&["resume", "ID"])?;
    bundle.ok(&["delete", "--force", "ID"])?;
    ensure!(property(&unit, "LoadState")? == "not-found");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn without_a_bus_the_reason_is_said() -> Result<()> {
    let bundle = Bundle::rootless(&["--systemd-cgroup"], "true")?;
    let path = bundle.write()?;
    let mut command = bundle.command(&["run", "--bundle"]);
    let output = sh::output(command.arg(path).arg(&bundle.id).env_remove("XDG_RUNTIME_DIR"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && said.contains("XDG_RUNTIME_DIR"), "{said}");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_delegated_cgroup_is_enough() -> Result<()> {
    let mut bundle = Bundle::rootless(&[], "cat /proc/self/cgroup; exec sleep 1000")?;
    bundle.limit("pids", json!({"limit": 23}));
    bundle.limit("memory", json!({"limit": 48 << 20}));
    bundle.at("part");
    let path = bundle.write()?;
    let words: Vec<String> = {
        let command = bundle.command(&["run", "--detach", "--bundle"]);
        // Without the prefix that makes an ordinary user of it.
        command
            .get_args()
            .skip_while(|word| *word != "--")
            .skip(1)
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    };
    // The service's own process has to leave the cgroup that is divided. A file, as systemd-run replaces dollars.
    let script = "own=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)\nmkdir $own/leaf && echo $$ >$own/leaf/cgroup.procs && \
        exec \"$@\" </dev/null >out 2>&1\n";
    fs::write(path.join("script"), script)?;
    // Its output is the user's file.
    sh::run(Command::new("install").args(["-o", "user", "-m", "666", "/dev/null"]).arg(path.join("out")))?;
    let mut run = as_user("systemd-run");
    run.args([
        "--user",
        "--quiet",
        "--wait",
        "--collect",
        "--property=Delegate=yes",
        "--property=KillMode=process",
    ]);
    run.arg("--property=RuntimeMaxSec=60").arg(format!("--working-directory={}", path.display()));
    run.args(["--service-type=exec", "/bin/sh", "script"]).args(&words).arg(&path).arg(&bundle.id);
    sh::run(&mut run).with_context(|| format!("{:?}", bundle.output()))?;
    ensure!(bundle.file("pids.max")? == "23", "{}", bundle.file("pids.max")?);
    ensure!(bundle.file("memory.max")? == "50331648", "{}", bundle.file("memory.max")?);
    until("it has spoken", || Ok(bundle.output()? == "0::/\n"))
        .with_context(|| format!("{:?}", bundle.output()))?;
    let cgroup = bundle.cgroup("")?;
    ensure!(cgroup.ends_with("part"), "{}", cgroup.display());
    ensure!(cgroup.to_string_lossy().contains("user@1000.service"), "{}", cgroup.display());
    bundle.ok(&["kill", "ID", "KILL"])?;
    Ok(())
}

/// A cgroup that root has made, and given to the user.
struct Given(PathBuf);

impl Given {
    fn new(name: &str) -> Result<Given> {
        let top = Path::new("/sys/fs/cgroup");
        fs::write(top.join("cgroup.subtree_control"), "+memory +pids")?;
        let given = Given(top.join(name));
        fs::create_dir(&given.0)?;
        let files =
            ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"].map(|file| given.0.join(file));
        sh::run(Command::new("chown").arg("user").args(files))?;
        sh::run(as_user("mkdir").arg(given.0.join("leaf")))?;
        Ok(given)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        for dir in [self.0.join("leaf"), self.0.clone()] {
            let gone = fs::remove_dir(&dir);
            assert!(gone.is_ok() || std::thread::panicking(), "{}: {gone:?}", dir.display());
        }
    }
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_cgroup_that_was_given_away_is_enough() -> Result<()> {
    let mut bundle = Bundle::rootless(&[], "exec sleep 1000")?;
    let given = Given::new(&format!("{}-given", bundle.id))?;
    bundle.limit("pids", json!({"limit": 24}));
    bundle.limit("memory", json!({"limit": 40 << 20}));
    bundle.at(&format!("/{}-given/part", bundle.id));
    let path = bundle.write()?;
    let command = bundle.command(&["run", "--detach", "--bundle"]);
    // Into the cgroup as root: the user cannot move anything out of another one.
    let enter = "echo $$ >\"$0\" && exec \"$@\" </dev/null >/dev/null 2>complaint";
    let mut run = Command::new("sh");
    run.args(["-c", enter])
        .arg(given.0.join("leaf/cgroup.procs"))
        .arg(command.get_program())
        .args(command.get_args());
    let status = run.arg(&path).arg(&bundle.id).current_dir(&path).status()?;
    ensure!(status.success(), "{}", fs::read_to_string(path.join("complaint"))?);
    ensure!(bundle.cgroup("")? == given.0.join("part"));
    ensure!(bundle.file("pids.max")? == "24" && bundle.file("memory.max")? == "41943040");
    bundle.ok(&["update", "--pids-limit", "14", "ID"])?;
    ensure!(bundle.file("pids.max")? == "14");
    bundle.ok(&["pause", "ID"])?;
    ensure!(bundle.file("cgroup.events")?.contains("frozen 1"));
    bundle.ok(&["delete", "--force", "ID"])?;
    ensure!(!given.0.join("part").exists());
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_containers_root_divides_its_cgroup() -> Result<()> {
    let script = "mkdir /sys/fs/cgroup/part && echo 1 >/sys/fs/cgroup/part/cgroup.procs && \
        echo +pids >/sys/fs/cgroup/cgroup.subtree_control && echo 9 >/sys/fs/cgroup/part/pids.max && echo divided; exec sleep 1000";
    for flags in [&[][..], &["--systemd-cgroup"]] {
        let mut bundle = Bundle::new(flags, script)?;
        let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        bundle.config["linux"]["uidMappings"] = maps.clone();
        bundle.config["linux"]["gidMappings"] = maps;
        bundle.config["linux"]["namespaces"]
            .as_array_mut()
            .context("no namespaces")?
            .push(json!({"type": "user"}));
        bundle.mount_cgroup_writable()?;
        sh::run(Command::new("chown").args(["-R", "100000:100000"]).arg(bundle.write()?.join("rootfs")))?;
        bundle.start()?;
        until("it has divided its cgroup", || Ok(bundle.output()?.contains("divided")))
            .with_context(|| format!("{flags:?}: {:?}", bundle.output()))?;
        ensure!(bundle.file("part/pids.max")? == "9");
        // The limits of the whole are not the container's.
        let refused = bundle.verb(&["exec", "ID", "sh", "-c", "echo max >/sys/fs/cgroup/pids.max"])?;
        ensure!(refused.code != 0 && refused.err.contains("denied"), "{refused:?}");
    }
    Ok(())
}
