//! Debian's podman with `runc-rs` for its executor.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::{Outcome, needs};
use interop::podman::{IMAGE, Podman};
use interop::{on_a_terminal, text, until};

const TOOLS: &[&str] = &["podman", "conmon", "umoci", "skopeo", "busybox", "script"];
const LOOP: &str =
    "trap 'echo bye; exit 3' TERM; trap 'echo used' USR1; echo up; while :; do sleep 0.05; done";

fn podman(test: &str) -> Result<Option<Podman>> {
    if needs(test, TOOLS) { Podman::new().map(Some) } else { Ok(None) }
}

#[test]
fn a_container_lives_its_life() -> Result<()> {
    let Some(podman) = podman("a_container_lives_its_life")? else { return Ok(()) };
    ensure!(podman.ok(&["run", "--rm", IMAGE, "echo", "hello"])? == "hello");
    let parent = podman.cgroup();
    let limits = ["--memory", "64m", "--pids-limit", "33", "--cgroup-parent", &parent];
    let id =
        podman.ok(&[&["run", "-d", "--name", "one"], &limits[..], &[IMAGE, "sh", "-c", LOOP]].concat())?;
    ensure!(podman.inspect("one", "{{.OCIRuntime}}")? == "runc-rs");
    limited(&parent, &id)?;
    entered(&podman)?;
    podman.ok(&["pause", "one"])?;
    ensure!(podman.inspect("one", "{{.State.Status}}")? == "paused");
    podman.ok(&["unpause", "one"])?;
    ensure!(podman.inspect("one", "{{.State.Status}}")? == "running");
    ensure!(podman.ok(&["top", "one", "args"])?.contains("sleep 0.05"));
    let stats = podman.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "one"])?;
    ensure!(stats.contains("/ 67.11MB"), "{stats}");
    podman.ok(&["kill", "--signal", "USR1", "one"])?;
    until("the signal has come", || Ok(podman.ok(&["logs", "one"])?.contains("used")))?;
    podman.ok(&["stop", "--time", "30", "one"])?;
    ensure!(podman.inspect("one", "{{.State.Status}} {{.State.ExitCode}}")? == "exited 3");
    ensure!(podman.ok(&["logs", "one"])? == "up\nused\nbye");
    podman.ok(&["start", "one"])?;
    podman.ok(&["kill", "one"])?;
    podman.ok(&["wait", "one"])?;
    ensure!(podman.inspect("one", "{{.State.ExitCode}}")? == "137");
    podman.ok(&["rm", "one"])?;
    podman.finish()
}

/// `--memory`, `--pids-limit` and `--cgroup-parent` are where the kernel looks.
fn limited(parent: &str, id: &str) -> Result<()> {
    let cgroup = format!("{}/libpod-{id}", parent.trim_start_matches('/'));
    let root = Path::new("/sys/fs/cgroup");
    let files = match root.join("cgroup.controllers").exists() {
        true => [root.join(&cgroup).join("memory.max"), root.join(&cgroup).join("pids.max")],
        false => [
            root.join("memory").join(&cgroup).join("memory.limit_in_bytes"),
            root.join("pids").join(&cgroup).join("pids.max"),
        ],
    };
    for (file, limit) in files.iter().zip(["67108864", "33"]) {
        let found = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        ensure!(found.trim() == limit, "{}: {found}", file.display());
    }
    Ok(())
}

fn entered(podman: &Podman) -> Result<()> {
    ensure!(podman.ok(&["exec", "one", "echo", "inside"])? == "inside");
    ensure!(podman.outcome(&["exec", "one", "sh", "-c", "exit 7"])?.code == 7);
    let missing = podman.outcome(&["exec", "one", "nothing-there"])?;
    ensure!(missing.code == 127 && missing.stderr.contains("executable file not found"), "{missing:?}");
    let shown =
        on_a_terminal(&podman.command(&["exec", "-t", "one", "sh", "-c", "test -t 1 && echo terminal"]))?;
    ensure!(shown.code == 0 && shown.stdout.contains("terminal\n"), "{shown:?}");
    Ok(())
}

#[test]
fn errors_have_podmans_codes() -> Result<()> {
    let Some(podman) = podman("errors_have_podmans_codes")? else { return Ok(()) };
    for (program, code) in [("nothing-there", 127), ("/etc", 126), ("/etc/passwd", 126)] {
        let failed = podman.outcome(&["run", "--rm", IMAGE, program])?;
        ensure!(failed.code == code, "{failed:?}");
    }
    let oom = podman.outcome(&[
        "run",
        "--rm",
        "-m",
        "16m",
        IMAGE,
        "sh",
        "-c",
        "head -c 99999999 /dev/zero | tail",
    ])?;
    ensure!(oom.code == 137, "{oom:?}");
    podman.finish()
}

#[test]
fn user_namespaces_are_mapped() -> Result<()> {
    let Some(podman) = podman("user_namespaces_are_mapped")? else { return Ok(()) };
    let script = "cat /proc/self/uid_map; touch /new; stat -c %u:%g /new; id -u";
    let said = podman.ok(&["run", "--rm", "--uidmap", "0:100000:5000", IMAGE, "sh", "-c", script])?;
    ensure!(said.split_whitespace().collect::<Vec<_>>() == ["0", "100000", "5000", "0:0", "0"], "{said}");
    // Ranges of ids are the machine's own; a mount namespace shows podman others.
    let ranges = podman.file("ranges");
    fs::write(&ranges, "containers:1000000:65536\n")?;
    let run =
        podman.command(&["run", "--rm", "--userns", "auto:size=4096", IMAGE, "cat", "/proc/self/uid_map"]);
    let script = "mount --bind \"$0\" /etc/subuid && mount --bind \"$0\" /etc/subgid && exec \"$@\"";
    let mut apart = Command::new("unshare");
    apart.args(["--mount", "sh", "-c", script]).arg(&ranges).arg(run.get_program()).args(run.get_args());
    apart.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = Outcome::of(&mut apart, b"")?.ok()?;
    ensure!(said.split_whitespace().collect::<Vec<_>>() == ["0", "1000000", "4096"], "{said}");
    podman.finish()
}

#[test]
fn system_calls_are_filtered() -> Result<()> {
    let Some(podman) = podman("system_calls_are_filtered")? else { return Ok(()) };
    let seen = |options: &[&str]| {
        podman.ok(&[&["run", "--rm"], options, &[IMAGE, "grep", "Seccomp:", "/proc/self/status"]].concat())
    };
    ensure!(seen(&[])?.ends_with('2'));
    ensure!(seen(&["--security-opt", "seccomp=unconfined"])?.ends_with('0'));
    let profile = podman.file("profile.json");
    fs::write(
        &profile,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#,
    )?;
    let option = format!("seccomp={}", text(&profile)?);
    let refused = podman.outcome(&["run", "--rm", "--security-opt", &option, IMAGE, "mkdir", "/new"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("Operation not permitted"), "{refused:?}");
    podman.finish()
}

#[test]
fn health_is_checked() -> Result<()> {
    let Some(podman) = podman("health_is_checked")? else { return Ok(()) };
    let check = ["--health-cmd", "test -e /well", "--health-interval", "disable"];
    podman.ok(&[&["run", "-d", "--name", "one"], &check[..], &[IMAGE, "sleep", "1000"]].concat())?;
    ensure!(podman.outcome(&["healthcheck", "run", "one"])?.code == 1);
    podman.ok(&["exec", "one", "touch", "/well"])?;
    podman.ok(&["healthcheck", "run", "one"])?;
    ensure!(podman.inspect("one", "{{.State.Health.Status}}")? == "healthy");
    podman.finish()
}

const POD: &str = r"
apiVersion: v1
kind: Pod
metadata: {name: small}
spec:
  hostNetwork: true
  restartPolicy: Never
  containers:
  - name: one
    image: docker.io/library/busybox:latest
    imagePullPolicy: Never
    command: [/bin/sh, -c, 'echo from one >/shared/word; exec /bin/sleep 1000']
    resources: {limits: {memory: 32Mi}}
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: two
    image: docker.io/library/busybox:latest
    imagePullPolicy: Never
    command: [/bin/sleep, '1000']
    volumeMounts: [{name: shared, mountPath: /shared}]
  volumes:
  - {name: shared, emptyDir: {}}
";

#[test]
fn a_small_pod_is_played() -> Result<()> {
    let Some(podman) = podman("a_small_pod_is_played")? else { return Ok(()) };
    // The container that holds the namespaces is of an image of ours: podman's own takes one more program.
    let layer = podman.file("layer.tar");
    interop::run("tar", &["-C", "/", "-cf", text(&layer)?, "bin/busybox"])?;
    podman.ok(&[
        "import",
        "--change",
        r#"CMD ["/bin/busybox", "sleep", "1000"]"#,
        text(&layer)?,
        "localhost/hold:1",
    ])?;
    podman.configure("infra_image = \"localhost/hold:1\"")?;
    let pod = podman.file("pod.yaml");
    fs::write(&pod, POD)?;
    podman.ok(&["play", "kube", text(&pod)?])?;
    until("one has written", || {
        Ok(podman.outcome(&["exec", "small-two", "/bin/cat", "/shared/word"])?.code == 0)
    })?;
    ensure!(podman.ok(&["exec", "small-two", "/bin/cat", "/shared/word"])? == "from one");
    ensure!(podman.inspect("small-one", "{{.HostConfig.Memory}} {{.OCIRuntime}}")? == "33554432 runc-rs");
    // Containers of a pod share what the first one holds.
    let namespace = |name: &str| podman.ok(&["exec", name, "/bin/readlink", "/proc/self/ns/ipc"]);
    ensure!(namespace("small-one")? == namespace("small-two")?);
    podman.ok(&["play", "kube", "--down", text(&pod)?])?;
    ensure!(podman.ok(&["ps", "--all", "--quiet"])?.is_empty());
    podman.finish()
}
