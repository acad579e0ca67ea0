//! `rctl run` and what comes after it.

use std::path::Path;

use anyhow::{Result, ensure};
use e2e::scene;
use harness::Scene;

#[test]
fn a_first_container_needs_no_registry() -> Result<()> {
    let scene = Scene::start()?;
    let said = scene.ok(&["run", "--rm", "hello"])?;
    ensure!(said.starts_with("Hello from runtimed!"), "{said}");
    ensure!(scene.ok(&["ps", "--all", "--quiet"])?.is_empty(), "a container is left");
    scene.ok(&["rmi", "hello"])?;
    scene.finish()
}

/// The unit that comes with the daemon is of this kind.
#[test]
fn a_daemon_under_a_service_manager_that_listens_starts_containers() -> Result<()> {
    let mut scene = Scene::with_programs(&harness::programs::folder()?)?;
    let path = scene.root().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path)?;
    scene.set_environment("NOTIFY_SOCKET", &path);
    scene.start_daemon()?;
    e2e::load(&scene)?;
    let mut message = [0; 64];
    let length = manager.recv(&mut message)?;
    ensure!(&message[..length] == b"READY=1");
    // Afresh, and by who stood by.
    for _ in 0..2 {
        let said = scene.ok(&["run", "--rm", "busybox", "sh", "-c", "echo ${NOTIFY_SOCKET-none}"])?;
        ensure!(said == "none\n", "{said}");
    }
    scene.ok(&["create", "--name", "two", "busybox", "sleep", "1000"])?;
    scene.ok(&["start", "two"])?;
    scene.ok(&["exec", "two", "true"])?;
    scene.ok(&["rm", "--force", "two"])?;
    manager.set_nonblocking(true)?;
    ensure!(manager.recv(&mut message).is_err(), "a container has told the manager something");
    scene.finish()
}

#[test]
fn a_pod_may_have_many_containers() -> Result<()> {
    if !harness::needs("a_pod_may_have_many_containers", &["ctr"]) {
        return Ok(());
    }
    let scene = scene()?;
    let ctr = |args: &[&str]| scene.ctr(Path::new("ctr"), args);
    let names: Vec<String> = (0..10).map(|number| format!("part-{number}")).collect();
    for name in &names {
        let pod = ["--annotation", "io.kubernetes.cri.sandbox-id=pod", "docker.io/library/busybox:latest"];
        ctr(&[&["run", "-d"], pod.as_slice(), &[name, "sleep", "1000"]].concat())?;
    }
    ensure!(e2e::shims(&scene)?.len() == 1, "they do not share a shim");
    for name in &names {
        ensure!(ctr(&["task", "exec", "--exec-id", "one", name, "echo", "here"])? == "here\n");
        ctr(&["task", "rm", "--force", name])?;
        ctr(&["container", "rm", name])?;
    }
    scene.finish()
}

#[test]
fn output_input_and_exit_codes_come_through() -> Result<()> {
    let scene = scene()?;
    let run = |args: &[&str]| scene.rctl(&[&["run", "--rm", "busybox"], args].concat());
    let both = run(&["sh", "-c", "echo out; echo err >&2; exit 3"])?;
    ensure!((both.code, both.stdout.as_str(), both.stderr.as_str()) == (3, "out\n", "err\n"), "{both:?}");
    let killed = run(&["sh", "-c", "kill -TERM $$; sleep 5"])?;
    ensure!(killed.code == 0 || killed.code == 143, "{killed:?}");
    ensure!(run(&["no-such-program"])?.code == 127);
    ensure!(run(&["/etc"])?.code == 126);
    ensure!(scene.rctl(&["run", "--no-such-flag", "busybox"])?.code == 125);
    let big = "0123456789abcdef".repeat(64 << 10);
    let echoed = scene.rctl_with(&["run", "--rm", "-i", "busybox", "cat"], big.as_bytes())?;
    ensure!(echoed.stdout == big, "a megabyte went in, {} bytes came out", echoed.stdout.len());
    scene.finish()
}

#[test]
fn many_short_containers_lose_no_output_and_no_code() -> Result<()> {
    let scene = scene()?;
    std::thread::scope(|threads| {
        let runs: Vec<_> = (0..12)
            .map(|n| {
                let scene = &scene;
                threads.spawn(move || {
                    let script = format!("echo line {n}; exit {n}");
                    (n, scene.rctl(&["run", "--rm", "busybox", "sh", "-c", &script]))
                })
            })
            .collect();
        for run in runs {
            let (n, outcome) = run.join().expect("the thread runs to its end");
            let outcome = outcome?;
            ensure!(
                outcome.code == n && outcome.stdout == format!("line {n}\n"),
                "{outcome:?}\n{}",
                scene.log()
            );
        }
        Ok(())
    })?;
    scene.finish()
}

#[test]
fn a_container_lives_its_life() -> Result<()> {
    let scene = scene()?;
    let script = "trap 'echo bye; exit 7' TERM; echo hi; while :; do sleep 0.05; done";
    scene.ok(&["run", "-d", "--name", "web", "-e", "A=b", "-l", "k=v", "busybox", "sh", "-c", script])?;
    let listed = scene.ok(&["ps"])?;
    ensure!(listed.contains("web") && listed.contains("Up "), "{listed}");
    let taken = scene.rctl(&["run", "--name", "web", "busybox", "true"])?;
    ensure!(taken.code == 125 && taken.stderr.contains("is already in use by container"), "{taken:?}");
    let exec = scene.rctl(&["exec", "-e", "C=d", "web", "sh", "-c", "echo $A $C; exit 5"])?;
    ensure!(exec.code == 5 && exec.stdout == "b d\n", "{exec:?}");
    ensure!(scene.rctl_with(&["exec", "-i", "web", "cat"], b"typed")?.stdout == "typed");
    let refused = scene.rctl(&["rm", "web"])?;
    ensure!(
        refused.code == 1
            && refused.stderr.contains("cannot remove container \"/web\": container is running"),
        "{refused:?}"
    );
    scene.ok(&["pause", "web"])?;
    ensure!(scene.ok(&["ps"])?.contains("(Paused)"));
    scene.ok(&["unpause", "web"])?;
    scene.ok(&["stop", "web"])?;
    ensure!(scene.ok(&["logs", "web"])? == "hi\nbye\n");
    ensure!(scene.ok(&["wait", "web"])? == "7\n");
    ensure!(scene.ok(&["ps", "--all"])?.contains("Exited (7)"));
    scene.ok(&["start", "web"])?;
    scene.ok(&["kill", "web"])?;
    ensure!(scene.ok(&["wait", "web"])? == "137\n");
    scene.ok(&["rm", "web"])?;
    ensure!(scene.rctl(&["inspect", "web"])?.code == 1);
    scene.finish()
}

#[test]
fn limits_and_rights_are_what_was_asked_for() -> Result<()> {
    let scene = scene()?;
    let run = |args: &[&str]| scene.ok(&[&["run", "--rm"], args].concat());
    let memory = run(&[
        "--memory",
        "64m",
        "busybox",
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true",
    ])?;
    ensure!(memory.trim() == "67108864", "{memory}");
    ensure!(run(&["-u", "1000:1001", "busybox", "id"])?.starts_with("uid=1000 gid=1001"));
    ensure!(run(&["-w", "/tmp", "busybox", "pwd"])? == "/tmp\n");
    ensure!(run(&["--hostname", "box", "busybox", "hostname"])? == "box\n");
    let caps =
        run(&["--cap-drop", "ALL", "--cap-add", "CHOWN", "busybox", "grep", "CapEff", "/proc/self/status"])?;
    ensure!(caps.trim().ends_with("0000000000000001"), "{caps}");
    ensure!(scene.rctl(&["run", "--rm", "--read-only", "busybox", "touch", "/x"])?.code == 1);
    ensure!(
        run(&["--ulimit", "nofile=100:200", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn"])? == "100\n200\n"
    );
    ensure!(
        run(&[
            "--tmpfs",
            "/scratch",
            "busybox",
            "sh",
            "-c",
            "echo x > /scratch/y; mount | grep -c ' /scratch type tmpfs'"
        ])? == "1\n"
    );
    let shared = scene.root().join("shared");
    std::fs::create_dir(&shared)?;
    std::fs::write(shared.join("file"), "from outside")?;
    let volume = format!("{}:/in:ro", shared.display());
    ensure!(run(&["-v", &volume, "busybox", "cat", "/in/file"])? == "from outside");
    ensure!(scene.rctl(&["run", "--rm", "-v", &volume, "busybox", "touch", "/in/new"])?.code == 1);
    ensure!(run(&["--net", "none", "busybox", "sh", "-c", "ls /sys/class/net"])? == "lo\n");
    scene.finish()
}

#[test]
fn the_rarer_flags_do_what_they_say() -> Result<()> {
    let scene = scene()?;
    let run = |args: &[&str]| scene.ok(&[&["run", "--rm"], args].concat());
    ensure!(run(&["--entrypoint", "echo", "busybox", "a", "b"])? == "a b\n");
    ensure!(run(&["-a", "stderr", "busybox", "sh", "-c", "echo out; echo err >&2"])?.is_empty());
    let own = std::fs::read_link("/proc/self/ns/pid")?.display().to_string();
    ensure!(run(&["--pid", "host", "busybox", "readlink", "/proc/self/ns/pid"])?.trim() == own);
    let own = std::fs::read_link("/proc/self/ns/ipc")?.display().to_string();
    ensure!(run(&["--ipc", "host", "busybox", "readlink", "/proc/self/ns/ipc"])?.trim() == own);
    let own = std::fs::read_link("/proc/self/ns/net")?.display().to_string();
    ensure!(run(&["--net", "host", "busybox", "readlink", "/proc/self/ns/net"])?.trim() == own);
    let status =
        |args: &[&str], field: &str| run(&[args, &["busybox", "grep", field, "/proc/self/status"]].concat());
    ensure!(status(&["--security-opt", "no-new-privileges"], "NoNewPrivs")?.ends_with("1\n"));
    ensure!(status(&[], "Seccomp:")?.ends_with("2\n"), "a filter by default");
    ensure!(status(&["--security-opt", "seccomp=unconfined"], "Seccomp:")?.ends_with("0\n"));
    ensure!(status(&["--cpuset-cpus", "0"], "Cpus_allowed_list")?.ends_with("\t0\n"));
    let file = scene.root().join("profile.json");
    std::fs::write(
        &file,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#,
    )?;
    let profile = format!("seccomp={}", file.display());
    let refused = scene.rctl(&["run", "--rm", "--security-opt", &profile, "busybox", "mkdir", "/new"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("Operation not permitted"), "{refused:?}");
    let mount = format!("type=bind,source={},target=/in,readonly", scene.root().join("scratch").display());
    ensure!(run(&["--mount", &mount, "busybox", "ls", "/in"])?.contains("busybox.tar"));
    let missing =
        scene.rctl(&["run", "--rm", "--mount", "type=bind,source=/no/such,target=/in", "busybox"])?;
    ensure!(missing.code == 125 && missing.stderr.contains("/no/such"), "{missing:?}");
    let volume = scene.rctl(&["run", "--rm", "-v", "named:/data", "busybox"])?;
    ensure!(volume.code == 125 && volume.stderr.contains("-v /folder:/target"), "{volume:?}");
    ensure!(run(&["--privileged", "busybox", "sh", "-c", "mount -t tmpfs x /tmp && echo may"])? == "may\n");
    scene.finish()
}

#[test]
fn what_is_asked_for_is_read_as_docker_reads_it() -> Result<()> {
    let scene = scene()?;
    let said = scene.rctl(&["run", "--rm", "--read-only", "busybox", "sh", "-c", "echo 1 > /etc/hosts"])?;
    ensure!(said.code == 1 && said.stderr.contains("Read-only file system"), "{said:?}");
    ensure!(
        scene.ok(&["run", "--rm", "busybox", "sh", "-c", "echo own > /etc/hosts; cat /etc/hosts"])?
            == "own\n"
    );
    let said =
        scene.rctl(&["run", "--rm", "--pull", "never", "--platform", "linux/s390x", "busybox", "true"])?;
    let text = "does not match the specified platform: wanted linux/s390x, actual: linux/";
    ensure!(said.code == 125 && said.stderr.contains(text), "{said:?}");
    ensure!(scene.ok(&["ps", "--all", "--quiet"])?.is_empty());
    ensure!(scene.ok(&["run", "--rm", "-w", "/a/../b/./c", "busybox", "pwd"])? == "/b/c\n");
    let bind = format!("{}:/x/../y:ro", scene.root().display());
    ensure!(scene.ok(&["run", "--rm", "-v", &bind, "busybox", "ls", "/y"])?.contains("runtimed.log"));
    let large = scene.root().join("large.env");
    std::fs::write(&large, "A=1\n".repeat(2 << 20))?;
    let said = scene.rctl(&["run", "--rm", "--env-file", &large.display().to_string(), "busybox", "true"])?;
    ensure!(said.code == 125 && said.stderr.contains("the file has more than"), "{said:?}");
    scene.finish()
}

/// Whether or not somebody is about to feed it.
#[test]
fn a_short_exec_with_input_has_its_output_and_its_code() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"])?;
    for _ in 0..20 {
        let said = scene.rctl(&["exec", "-i", "box", "sh", "-c", "echo x; echo x >> /count; exit 3"])?;
        ensure!(said.code == 3 && said.stdout == "x\n", "{said:?}");
    }
    ensure!(scene.ok(&["exec", "box", "cat", "/count"])?.lines().count() == 20);
    ensure!(scene.rctl_with(&["exec", "-i", "box", "cat"], b"fed")?.stdout == "fed");
    scene.ok(&["rm", "--force", "box"])?;
    scene.finish()
}

#[test]
fn exec_has_dockers_codes() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["run", "-d", "--name", "box", "-u", "1000", "busybox", "sleep", "1000"])?;
    let exec = |args: &[&str]| scene.rctl(&[&["exec"], args].concat());
    ensure!(exec(&["box", "no-such-program"])?.code == 127);
    ensure!(exec(&["box", "/etc"])?.code == 126);
    ensure!(exec(&["box", "sh", "-c", "kill -KILL $$"])?.code == 137);
    ensure!(exec(&["box", "id", "-u"])?.stdout == "1000\n");
    ensure!(exec(&["-u", "0", "-w", "/tmp", "box", "sh", "-c", "id -u; pwd"])?.stdout == "0\n/tmp\n");
    let detached = exec(&["-d", "-u", "0", "box", "sh", "-c", "echo made > /tmp/made; exec sleep 1000"])?;
    ensure!(detached.code == 0 && detached.stdout.is_empty(), "{detached:?}");
    let seen = exec(&["box", "sh", "-c", "until grep made /tmp/made; do sleep 0.01; done"])?;
    ensure!(seen.stdout == "made\n", "{seen:?}");
    let no_terminal = exec(&["-it", "box", "sh"])?;
    ensure!(no_terminal.code == 1 && no_terminal.stderr.contains("the input device is not a TTY"));
    scene.ok(&["kill", "box"])?;
    scene.ok(&["wait", "box"])?;
    let stopped = exec(&["box", "true"])?;
    ensure!(stopped.code == 1 && stopped.stderr.contains("is not running"), "{stopped:?}");
    scene.ok(&["rm", "box"])?;
    scene.finish()
}

#[test]
fn the_end_of_one_run_is_not_taken_for_the_next_ones() -> Result<()> {
    let scene = scene()?;
    scene.ok(&["run", "-d", "--name", "again", "busybox", "sleep", "1000"])?;
    for round in 0..8 {
        scene.ok(&["kill", "again"])?;
        scene.ok(&["start", "again"])?;
        let line = scene.ok(&["inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", "again"])?;
        // A start that came before the end leaves the dying run alone, as docker does; one that came after it runs.
        ensure!(line == "true 0\n" || line == "false 137\n", "round {round}: {line}");
        if line.starts_with("false") {
            scene.ok(&["start", "again"])?;
        }
    }
    scene.ok(&["stop", "-t", "0", "again"])?;
    ensure!(scene.ok(&["wait", "again"])? == "137\n");
    scene.ok(&["rm", "again"])?;
    scene.finish()
}

#[test]
fn a_forced_removal_tells_the_true_code() -> Result<()> {
    let scene = scene()?;
    for _ in 0..4 {
        scene.ok(&["run", "-d", "--name", "gone", "busybox", "sleep", "1000"])?;
        std::thread::scope(|threads| -> Result<()> {
            let waiting = threads.spawn(|| scene.rctl(&["wait", "--condition", "removed", "gone"]));
            // The wait has begun once the daemon knows of a second call; a removal that comes first answers it all the same.
            let following = threads.spawn(|| scene.rctl(&["attach", "--no-stdin", "gone"]));
            scene.ok(&["rm", "--force", "gone"])?;
            let waited = waiting.join().expect("the thread runs to its end")?;
            let followed = following.join().expect("the thread runs to its end")?;
            let known = |code: i32, text: &str| {
                code == 137 || text.contains("No such container") || text.contains("stopped")
            };
            ensure!(waited.stdout == "137\n" || waited.stderr.contains("No such container"), "{waited:?}");
            ensure!(known(followed.code, &followed.stderr), "{followed:?}");
            Ok(())
        })?;
    }
    scene.finish()
}
