//! Debian's dockerd with `runc-rs` for its executor: as a runtime that was added to it, and under the name `runc`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use harness::needs;
use interop::docker::{CLIENT, Docker, IMAGE};
use interop::{on_a_terminal, until};

const TOOLS: &[&str] =
    &["dockerd", "containerd", "containerd-shim-runc-v2", "unshare", "umoci", "skopeo", "script"];
const LOOP: &str = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done";

fn docker(test: &str, flags: &[&str]) -> Result<Option<Docker>> {
    if !needs(test, TOOLS) {
        return Ok(None);
    }
    if !Path::new(CLIENT).exists() {
        println!("SKIP {test}: this machine has no {CLIENT}");
        return Ok(None);
    }
    Docker::start(flags).map(Some)
}

/// `docker run --rm` with a runtime and no network.
fn run<'a>(runtime: &'a str, options: &[&'a str], command: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--rm", "--runtime", runtime, "--network", "none"], options, &[IMAGE], command].concat()
}

#[test]
fn added_and_as_runc() -> Result<()> {
    let Some(docker) = docker("added_and_as_runc", &[])? else { return Ok(()) };
    ensure!(docker.ok(&["info", "--format", "{{.DefaultRuntime}}"])? == "runc");
    // The daemon asks the default runtime for its version.
    ensure!(docker.ok(&["version", "--format", "{{json .Server}}"])?.contains("runc-rs-"), "it is not ours");
    for runtime in ["runc", "runc-rs"] {
        lives(&docker, runtime).with_context(|| format!("{runtime}: {}", docker.log()))?;
        obeys(&docker, runtime).with_context(|| format!("{runtime}: {}", docker.log()))?;
        fails(&docker, runtime).with_context(|| format!("{runtime}: {}", docker.log()))?;
    }
    docker.finish()
}

/// run, exec, stop, pause, update, top, stats, logs.
fn lives(docker: &Docker, runtime: &str) -> Result<()> {
    let name = format!("one-{runtime}");
    let name = name.as_str();
    let start = ["run", "-d", "--runtime", runtime, "--network", "none", "--name", name];
    let limits = ["--memory", "64m", "--memory-swap", "64m", "--pids-limit", "40"];
    let id = docker.ok(&[&start[..], &limits, &[IMAGE, "sh", "-c", LOOP]].concat())?;
    ensure!(
        docker.inspect(name, "{{.HostConfig.Runtime}} {{.State.Status}}")? == format!("{runtime} running")
    );
    ensure!(docker.ok(&["exec", name, "echo", "inside"])? == "inside");
    ensure!(docker.outcome(&["exec", name, "sh", "-c", "exit 7"])?.code == 7);
    let shown =
        on_a_terminal(&docker.command(&["exec", "-t", name, "sh", "-c", "test -t 1 && echo terminal"]))?;
    ensure!(shown.code == 0 && shown.stdout.contains("terminal\n"), "{shown:?}");
    docker.ok(&["pause", name])?;
    ensure!(docker.inspect(name, "{{.State.Status}}")? == "paused");
    docker.ok(&["unpause", name])?;
    docker.ok(&["update", "--memory", "32m", "--memory-swap", "48m", "--pids-limit", "30", name])?;
    ensure!(limits_of(docker, &id)? == ["33554432", "30"], "{:?}", limits_of(docker, &id)?);
    ensure!(docker.ok(&["top", name])?.contains("sleep 0.05"));
    let stats = docker.ok(&["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", name])?;
    ensure!(stats.contains("/ 32MiB"), "{stats}");
    docker.ok(&["stop", "--time", "30", name])?;
    ensure!(docker.inspect(name, "{{.State.ExitCode}}")? == "3");
    ensure!(docker.ok(&["logs", name])? == "up\nbye");
    docker.ok(&["start", name])?;
    docker.ok(&["kill", name])?;
    until("it is killed", || Ok(docker.inspect(name, "{{.State.ExitCode}}")? == "137"))?;
    docker.ok(&["rm", name]).map(drop)
}

/// The limits of memory and processes in the kernel.
fn limits_of(docker: &Docker, id: &str) -> Result<Vec<String>> {
    let cgroup = Path::new(docker.cgroup()).join(id);
    let root = Path::new("/sys/fs/cgroup");
    let files = match root.join("cgroup.controllers").exists() {
        true => [root.join(&cgroup).join("memory.max"), root.join(&cgroup).join("pids.max")],
        false => [
            root.join("memory").join(&cgroup).join("memory.limit_in_bytes"),
            root.join("pids").join(&cgroup).join("pids.max"),
        ],
    };
    let read = |file: &std::path::PathBuf| {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Ok(text.trim().to_owned())
    };
    files.iter().map(read).collect()
}

/// --init, --privileged, --read-only, --cap-drop, and other flags that become config.json.
fn obeys(docker: &Docker, runtime: &str) -> Result<()> {
    let said = |options: &[&str], command: &[&str]| docker.ok(&run(runtime, options, command));
    let processes = said(&["--init"], &["ps", "-o", "pid,args"])?;
    ensure!(processes.contains("1 /sbin/docker-init -- ps"), "{processes}");
    let capabilities = |options: &[&str]| said(options, &["grep", "CapEff", "/proc/self/status"]);
    // A privileged container has what there is to give, of what a daemon of its age knows.
    let known = (1 << 38) - 1;
    let own = mask(&fs::read_to_string("/proc/self/status")?, "CapBnd:")? & known;
    let given = mask(&capabilities(&["--privileged"])?, "CapEff:")? & known;
    ensure!(given == own, "{given:x} is not {own:x}");
    ensure!(capabilities(&["--cap-drop", "ALL"])?.ends_with("\t0000000000000000"));
    ensure!(capabilities(&["--cap-drop", "ALL", "--cap-add", "KILL"])?.ends_with("\t0000000000000020"));
    let refused = docker.outcome(&run(runtime, &["--read-only"], &["touch", "/new"]))?;
    ensure!(refused.code == 1 && refused.stderr.contains("Read-only file system"), "{refused:?}");
    let user = said(
        &["--user", "12:34", "--workdir", "/made/up", "--hostname", "box"],
        &["sh", "-c", "id -u; pwd; hostname"],
    )?;
    ensure!(user == "12\n/made/up\nbox", "{user}");
    let mount = said(
        &["--tmpfs", "/scratch:size=64k", "--sysctl", "net.ipv4.ip_forward=1"],
        &["sh", "-c", "grep -c 'scratch tmpfs.*size=64k' /proc/mounts; cat /proc/sys/net/ipv4/ip_forward"],
    )?;
    ensure!(mount == "1\n1", "{mount}");
    let limits = said(
        &["--ulimit", "nofile=100:200", "--shm-size", "1m"],
        &["sh", "-c", "ulimit -n; df -k /dev/shm | tail -n 1"],
    )?;
    ensure!(limits.starts_with("100\n") && limits.contains(" 1024 "), "{limits}");
    let filter = said(&["--security-opt", "seccomp=unconfined"], &["grep", "Seccomp:", "/proc/self/status"])?;
    ensure!(filter.ends_with('0'), "{filter}");
    ensure!(
        said(&["--security-opt", "no-new-privileges"], &["grep", "NoNewPrivs", "/proc/self/status"])?
            .ends_with('1')
    );
    Ok(())
}

/// A line of /proc/PID/status with a mask.
fn mask(status: &str, name: &str) -> Result<u64> {
    let line =
        status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    Ok(u64::from_str_radix(line.trim(), 16)?)
}

/// Exit codes and messages that people know.
fn fails(docker: &Docker, runtime: &str) -> Result<()> {
    let missing = docker.outcome(&run(runtime, &[], &["nothing-there"]))?;
    ensure!(
        missing.code == 127 && missing.stderr.contains("executable file not found in $PATH"),
        "{missing:?}"
    );
    let refused = docker.outcome(&run(runtime, &[], &["/etc/passwd"]))?;
    ensure!(refused.code == 126 && refused.stderr.contains("permission denied"), "{refused:?}");
    let oom =
        docker.outcome(&run(runtime, &["-m", "16m"], &["sh", "-c", "head -c 99999999 /dev/zero | tail"]))?;
    ensure!(oom.code == 137, "{oom:?}");
    Ok(())
}

#[test]
fn users_are_remapped() -> Result<()> {
    let Some(docker) = docker("users_are_remapped", &["--userns-remap=nobody:nogroup"])? else {
        return Ok(());
    };
    for runtime in ["runc", "runc-rs"] {
        let script = "cat /proc/self/uid_map; touch /new; stat -c %u /new; id -u";
        let said = docker.ok(&run(runtime, &[], &["sh", "-c", script]))?;
        ensure!(said.split_whitespace().collect::<Vec<_>>() == ["0", "1000000", "65536", "0", "0"], "{said}");
        let host = docker.ok(&run(runtime, &["--userns", "host"], &["cat", "/proc/self/uid_map"]))?;
        ensure!(host.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"], "{host}");
    }
    docker.finish()
}
