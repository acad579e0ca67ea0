//! Checkpoint and restore with Debian's criu, which works with this machine's kernel.

mod flags;
mod place;

use std::fs;
use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use harness::sh;
use serde_json::json;
use vm::{is_unified, until};

use place::{COUNT, Place, hears, mount, receive};

/// The next number in a pipe.
fn number(lines: &mut BufReader<PipeReader>) -> Result<u32> {
    let mut line = String::new();
    lines.read_line(&mut line)?;
    line.trim().parse().with_context(|| format!("no number: {line:?}"))
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_counter_goes_on_counting() -> Result<()> {
    let mut place = Place::new(&[], COUNT)?;
    place.bundle.limit("pids", json!({"limit": 41}));
    // /lib64 is a symbolic link.
    mount(&mut place.bundle, "/mnt/host", Path::new("/lib64"), &["bind", "ro"])?;
    let (lines, stdout) = std::io::pipe()?;
    place.run(stdout)?;
    let mut lines = BufReader::new(lines);
    while number(&mut lines)? < 3 {}
    let created = place.bundle.state()?["created"].clone();
    place.checkpoint(&["--image-path", "image", "--work-path", "work"])?;
    ensure!(
        !place.dir.join("state").join(&place.bundle.id).exists() && place.dir.join("work/dump.log").exists()
    );
    let rest: Vec<String> = lines.lines().collect::<Result<_, _>>()?;
    let last: u32 = rest.last().context("it has said nothing more")?.parse()?;
    let (lines, stdout) = std::io::pipe()?;
    place.restore(&["--pid-file", "pid", "--image-path", "image", "--work-path", "work"], stdout)?;
    let mut lines = BufReader::new(lines);
    ensure!(
        number(&mut lines)? == last + 1 && number(&mut lines)? == last + 2,
        "it has not gone on from {last}"
    );
    ensure!(place.status()? == "running" && place.bundle.state()?["created"] != created);
    ensure!(fs::read_to_string(place.dir.join("pid"))? == place.pid()?.to_string());
    let pids = place.bundle.cgroup(if is_unified() { "" } else { "pids" })?;
    ensure!(fs::read_to_string(pids.join("pids.max"))?.trim_end() == "41");
    let within = "hostname; ls /mnt/host; echo >/mnt/host/x || head -c 1 /proc/kcore; cat /proc/1/cgroup; echo >/sys/firmware/x";
    let said = place.bundle.verb(&["exec", "ID", "sh", "-c", within])?;
    ensure!(said.out.starts_with("runc\nld-linux-x86-64.so.2\n"), "{said:?}");
    ensure!(!is_unified() || said.out.lines().skip(2).eq(["0::/"]), "{said:?}");
    ensure!(said.err.matches("Read-only file system").count() == 2, "{said:?}");
    ensure!(!place.dir.join("state").join(&place.bundle.id).join("criu-root").exists());
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn memory_is_written_down_in_parts() -> Result<()> {
    let place = Place::new(&[], COUNT)?;
    place.run(Stdio::null())?;
    place.counts_on(0)?;
    place.checkpoint(&["--pre-dump", "--image-path", "first"])?;
    ensure!(place.status()? == "running" && !place.dir.join("first/core-1.img").exists());
    place.counts_on(place.count())?;
    place.checkpoint(&["--leave-running", "--parent-path", "../first", "--image-path", "second"])?;
    ensure!(place.status()? == "running");
    ensure!(fs::read_link(place.dir.join("second/parent"))? == Path::new("../first"));
    let size =
        |part: &str| Ok::<_, std::io::Error>(fs::metadata(place.dir.join(part).join("pages-1.img"))?.len());
    ensure!(size("second")? < size("first")?, "the second part is no smaller");
    place.counts_on(place.count())?;
    let last = place.count();
    let taken = place.restore(&["--image-path", "second"], Stdio::null());
    ensure!(
        taken.is_err() && place.log().contains("container with given ID already exists"),
        "{}",
        place.log()
    );
    place.bundle.ok(&["delete", "--force", "ID"])?;
    fs::write(place.dir.join("out/count"), "")?;
    place.restore(&["--image-path", "second"], Stdio::null())?;
    until("it has written again", || Ok(place.count() > 0))?;
    ensure!(place.count() < last, "it did not begin where it was written down");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn pages_are_fetched_when_they_are_needed() -> Result<()> {
    let place = Place::new(&[], COUNT)?;
    place.run(Stdio::null())?;
    place.counts_on(0)?;
    let checked = sh::output(Command::new("criu").args(["check", "--feature", "uffd-noncoop"]))?;
    ensure!(checked.status.success(), "this kernel's userfaultfd does not do: {checked:?}");
    let (mut ready, status) = std::io::pipe()?;
    let status = OwnedFd::from(status);
    rustix::io::fcntl_setfd(&status, rustix::io::FdFlags::empty())?;
    let fd = status.as_raw_fd().to_string();
    let flags = [
        "--lazy-pages",
        "--page-server",
        "127.0.0.1:2770",
        "--status-fd",
        &fd,
        "--manage-cgroups-mode",
        "ignore",
    ];
    let mut dump =
        place.bundle.command(&["--log", &place.path("dump-log"), "checkpoint", "--image-path", "image"]);
    dump.args(flags)
        .arg(&place.bundle.id)
        .current_dir(&place.dir)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut dump = dump.spawn()?;
    drop(status);
    let mut byte = [1; 1];
    ready
        .read_exact(&mut byte)
        .with_context(|| fs::read_to_string(place.dir.join("dump-log")).unwrap_or_default())?;
    ensure!(byte == [0]);
    let server =
        ["lazy-pages", "--page-server", "--address", "127.0.0.1", "--port", "2770", "--images-dir", "image"];
    let mut fetch = Command::new("criu").args(server).current_dir(&place.dir).spawn()?;
    until("the way to the pages is there", || Ok(place.dir.join("image/lazy-pages.socket").exists()))?;
    // The original is still there.
    let other = format!("{}-other", place.bundle.id);
    let restored = place.verb(
        &[
            "restore",
            "--detach",
            "--lazy-pages",
            "--manage-cgroups-mode",
            "ignore",
            "--image-path",
            "image",
            &other,
        ],
        Stdio::null(),
    );
    let ended = (dump.wait()?, fetch.wait()?);
    restored?;
    ensure!(
        ended.0.success() && ended.1.success(),
        "{ended:?}: {}",
        fs::read_to_string(place.dir.join("dump-log"))?
    );
    place.counts_on(place.count())?;
    let within = place.bundle.ok(&["exec", &other, "cat", "/sys/fs/cgroup/cgroup.procs"])?;
    ensure!(within.lines().count() >= 2, "{within}");
    place.bundle.ok(&["delete", "--force", &other])?;
    // It has gone from here to there.
    ensure!(place.bundle.verb(&["state", "ID"])?.err.contains("container does not exist"));
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn locks_are_held_on() -> Result<()> {
    let mut place = Place::new(&[], "exec flock /out/lock sh -c 'echo 1 >/out/count; exec sleep 1000'")?;
    for (destination, source) in [
        ("/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu"),
        ("/lib64", "/lib64"),
        ("/bin/flock", "/usr/bin/flock"),
    ] {
        mount(&mut place.bundle, destination, Path::new(source), &["bind", "ro"])?;
    }
    place.run(Stdio::null())?;
    until("it holds the lock", || Ok(place.count() == 1))?;
    ensure!(place.checkpoint(&[]).is_err() && place.log().contains("--file-locks"), "{}", place.log());
    ensure!(place.status()? == "running");
    place.checkpoint(&["--file-locks"])?;
    let free = || {
        Ok::<_, anyhow::Error>(
            sh::output(Command::new("flock").args(["--nonblock", &place.path("out/lock"), "true"]))?
                .status
                .success(),
        )
    };
    ensure!(free()?, "somebody holds the lock");
    place.restore(&["--file-locks"], Stdio::null())?;
    ensure!(!free()?, "nobody holds the lock");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_terminal_is_handed_over_again() -> Result<()> {
    let mut place =
        Place::new(&[], "said=nothing; while read word; do echo $said then $word; said=$word; done")?;
    place.bundle.config["process"]["terminal"] = json!(true);
    let socket = place.path("console");
    let listener = UnixListener::bind(&socket)?;
    place.bundle.write()?;
    place.verb(&["run", "--detach", "--console-socket", &socket, &place.bundle.id], Stdio::null())?;
    let mut master = receive(&listener)?;
    master.write_all(b"one\n")?;
    hears(&mut master, "nothing then one")?;
    place.checkpoint(&[])?;
    drop(master);
    let refused = place.restore(&[], Stdio::null());
    ensure!(refused.is_err() && place.log().contains("without setting console socket"), "{}", place.log());
    place.restore(&["--console-socket", &socket], Stdio::null())?;
    let mut master = receive(&listener)?;
    master.write_all(b"two\n")?;
    hears(&mut master, "one then two")
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn cgroups_are_dealt_with_as_is_asked() -> Result<()> {
    let mut place = Place::new(&[], COUNT)?;
    place.run(Stdio::null())?;
    place.counts_on(0)?;
    place.checkpoint(&["--manage-cgroups-mode", "ignore"])?;
    // The images know nothing of where it was.
    let elsewhere = format!("/{}-elsewhere", place.bundle.id);
    place.bundle.at(&elsewhere);
    place.bundle.write()?;
    place.restore(&["--manage-cgroups-mode", "ignore"], Stdio::null())?;
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", place.pid()?))?;
    ensure!(cgroup.trim_end().ends_with(&elsewhere), "{cgroup}");
    place.counts_on(place.count())?;
    place.checkpoint(&["--manage-cgroups-mode", "strict"])?;
    // It has to be missing, and is not: the executor makes it first.
    ensure!(place.restore(&["--manage-cgroups-mode", "strict"], Stdio::null()).is_err());
    ensure!(place.log().contains("existing cgroups"), "{}", place.log());
    ensure!(!Path::new("/sys/fs/cgroup").join(&elsewhere[1..]).exists(), "its cgroup is left");
    for mode in ["soft", "full"] {
        place.restore(&["--manage-cgroups-mode", mode], Stdio::null())?;
        place.counts_on(place.count())?;
        place.bundle.ok(&["delete", "--force", "ID"])?;
    }
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn a_joined_network_is_joined_again_and_hooks_are_told() -> Result<()> {
    let mut place = Place::new(&[], COUNT)?;
    let name = place.bundle.id.clone();
    sh::run(Command::new("ip").args(["netns", "add", &name]))?;
    let path = format!("/run/netns/{name}");
    let namespaces = place.bundle.config["linux"]["namespaces"].as_array_mut().context("no namespaces")?;
    namespaces.retain(|namespace| namespace["type"] != "network");
    namespaces.push(json!({"type": "network", "path": path}));
    let told = place.path("told");
    place.run(Stdio::null())?;
    place.counts_on(0)?;
    place.checkpoint(&["--empty-ns", "network"])?;
    let tell = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat >{told}")]}]);
    place.bundle.config["hooks"] = json!({"createRuntime": tell});
    place.bundle.write()?;
    let last = place.count();
    place.restore(&["--empty-ns", "network"], Stdio::null())?;
    place.counts_on(last)?;
    let inode = |path: &str| Ok::<_, std::io::Error>(fs::metadata(path)?.ino());
    ensure!(inode(&path)? == inode(&format!("/proc/{}/ns/net", place.pid()?))?, "it is in another network");
    let state: serde_json::Value = serde_json::from_str(&fs::read_to_string(&told)?)?;
    ensure!(state["pid"] == place.pid()? && state["id"] == name, "{state}");
    place.bundle.ok(&["delete", "--force", "ID"])?;
    sh::run(Command::new("ip").args(["netns", "del", &name]))
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn systemd_makes_the_scope_again() -> Result<()> {
    let mut place = Place::new(&["--systemd-cgroup"], COUNT)?;
    place.bundle.limit("pids", json!({"limit": 43}));
    place.run(Stdio::null())?;
    place.counts_on(0)?;
    let cgroup = place.bundle.cgroup("")?;
    place.checkpoint(&[])?;
    ensure!(!cgroup.exists(), "its scope is left");
    let last = place.count();
    place.restore(&[], Stdio::null())?;
    place.counts_on(last)?;
    ensure!(place.bundle.cgroup("")? == cgroup && place.bundle.file("pids.max")? == "43");
    let unit = format!("runc-{}.scope", place.bundle.id);
    let active = sh::read(Command::new("systemctl").args(["is-active", &unit]))?;
    ensure!(active.trim_end() == "active", "{active}");
    Ok(())
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn memory_goes_to_a_server_of_pages() -> Result<()> {
    let place = Place::new(&[], COUNT)?;
    place.run(Stdio::null())?;
    place.counts_on(0)?;
    fs::create_dir(place.dir.join("pages"))?;
    let server =
        ["page-server", "--images-dir", "pages", "--address", "127.0.0.1", "--port", "2771", "--daemon"];
    sh::run(Command::new("criu").args(server).current_dir(&place.dir))?;
    place.checkpoint(&["--page-server", "127.0.0.1:2771", "--image-path", "image"])?;
    ensure!(!place.dir.join("image/pages-1.img").exists(), "the pages are here");
    let last = place.count();
    for entry in fs::read_dir(place.dir.join("pages"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("page") {
            fs::rename(entry.path(), place.dir.join("image").join(entry.file_name()))?;
        }
    }
    place.restore(&["--image-path", "image"], Stdio::null())?;
    place.counts_on(last)
}

#[test]
#[ignore = "cargo xtask vm-test runs it"]
fn the_exit_code_is_that_of_the_restored_program() -> Result<()> {
    let script = "echo 1 >/out/count; until [ -e /out/go ]; do sleep 0.1; done; exit 7";
    let mut place = Place::new(&[], script)?;
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    place.bundle.config["linux"]["uidMappings"] = maps.clone();
    place.bundle.config["linux"]["gidMappings"] = maps;
    let namespaces = place.bundle.config["linux"]["namespaces"].as_array_mut().context("no namespaces")?;
    namespaces.push(json!({"type": "user"}));
    for name in ["rootfs", "out"] {
        sh::run(Command::new("chown").args(["-hR", "100000:100000"]).arg(place.dir.join(name)))?;
    }
    let settings = place.path("criu.conf");
    fs::write(&settings, "log-file=other.log\n")?;
    place.bundle.config["annotations"] = json!({"org.criu.config": settings});
    place.run(Stdio::null())?;
    until("it is there", || Ok(place.count() == 1))?;
    place.checkpoint(&[])?;
    ensure!(place.dir.join("checkpoint/other.log").exists(), "the annotation's settings were not heeded");
    let mut restore = place.bundle.command(&["--log", &place.path("log"), "restore"]);
    restore.arg(&place.bundle.id).current_dir(&place.dir).stdout(Stdio::null()).stderr(Stdio::null());
    let mut restore = restore.spawn()?;
    until("it is there again", || {
        if let Some(status) = restore.try_wait()? {
            anyhow::bail!("{status}: {}", place.log());
        }
        Ok(place.bundle.verb(&["state", "ID"])?.out.contains("\"running\""))
    })?;
    let map = fs::read_to_string(format!("/proc/{}/uid_map", place.pid()?))?;
    ensure!(map.split_whitespace().eq(["0", "100000", "65536"]), "{map}");
    fs::write(place.dir.join("out/go"), "")?;
    ensure!(restore.wait()?.code() == Some(7));
    let images = fs::metadata(place.dir.join("checkpoint"))?;
    ensure!(images.mode() & 0o7777 == 0o700 && images.gid() == 0, "the images are open to others");
    ensure!(!place.dir.join("state").join(&place.bundle.id).exists(), "its state is left");
    Ok(())
}
