//! containerd's own client, Debian's and a new one, against this daemon.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use harness::registry::Registry;
use harness::{Outcome, Scene, image, needs};

const NAME: &str = "docker.io/library/busybox:latest";

/// A daemon, an archive with the small image, and a `ctr`.
struct Stage {
    scene: Scene,
    ctr: PathBuf,
    archive: PathBuf,
    scratch: PathBuf,
}

impl Stage {
    fn new(ctr: PathBuf) -> Result<Stage> {
        let scene = Scene::start()?;
        let scratch = scene.root().join("scratch");
        std::fs::create_dir(&scratch)?;
        let archive = image::busybox_archive(&scratch)?;
        Ok(Stage { scene, ctr, archive, scratch })
    }

    fn ctr(&self, args: &[&str]) -> Result<String> {
        self.scene.ctr(&self.ctr, args)
    }

    fn outcome(&self, args: &[&str]) -> Result<Outcome> {
        Outcome::of(&mut self.scene.ctr_command(&self.ctr, args), b"")
    }
}

/// Debian's ctr, or nothing, said by name.
fn debian(test: &str) -> Option<PathBuf> {
    needs(test, &["ctr", "umoci", "skopeo", "busybox"]).then(|| PathBuf::from("ctr"))
}

macro_rules! with_both {
    ($($name:ident: $body:ident;)+) => {
        mod with_debians_ctr {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                match super::debian(concat!("with_debians_ctr::", stringify!($name))) {
                    Some(ctr) => super::$body(ctr, false),
                    None => Ok(()),
                }
            })+
        }
        mod with_a_new_ctr {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                match harness::peers::new_ctr(concat!("with_a_new_ctr::", stringify!($name))) {
                    Some(ctr) => super::$body(ctr, true),
                    None => Ok(()),
                }
            })+
        }
    };
}

with_both! {
    daemon: the_daemon_tells_of_itself;
    images: images_come_go_and_are_named;
    registry: images_are_pulled;
    run: containers_run_as_asked;
    tasks: tasks_are_driven;
    records: records_are_kept;
    events: events_are_told;
}

fn the_daemon_tells_of_itself(ctr: PathBuf, _: bool) -> Result<()> {
    let stage = Stage::new(ctr)?;
    ensure!(stage.ctr(&["version"])?.contains("Version:  1.7"));
    let plugins = stage.ctr(&["plugins", "ls"])?;
    for part in ["io.containerd.snapshotter.v1", "overlayfs", "native", "io.containerd.content.v1"] {
        ensure!(plugins.contains(part), "{part} is not among\n{plugins}");
    }
    stage.ctr(&["namespaces", "create", "other", "a=b"])?;
    ensure!(stage.ctr(&["namespaces", "ls"])?.contains("a=b"));
    stage.ctr(&["namespaces", "label", "other", "c=d"])?;
    ensure!(stage.ctr(&["namespaces", "ls"])?.contains("c=d"));
    stage.ctr(&["namespaces", "rm", "other"])?;
    ensure!(!stage.ctr(&["namespaces", "ls"])?.contains("other"));
    stage.scene.finish()
}

fn images_come_go_and_are_named(ctr: PathBuf, _: bool) -> Result<()> {
    let stage = Stage::new(ctr)?;
    stage.ctr(&["images", "import", path(&stage.archive)?])?;
    ensure!(stage.ctr(&["images", "ls"])?.contains(NAME));
    stage.ctr(&["images", "tag", NAME, "example.test/other:2"])?;
    ensure!(stage.ctr(&["images", "ls", "-q"])? == format!("{NAME}\nexample.test/other:2\n"));
    ensure!(stage.ctr(&["images", "check"])?.contains("complete"));
    let exported = stage.scratch.join("exported.tar");
    stage.ctr(&["images", "export", path(&exported)?, NAME])?;
    stage.ctr(&["images", "rm", "--sync", NAME, "example.test/other:2"])?;
    ensure!(stage.ctr(&["images", "ls", "-q"])?.is_empty());
    ensure!(stage.ctr(&["content", "ls", "-q"])?.is_empty(), "blobs are left");
    stage.ctr(&["images", "import", path(&exported)?])?;
    ensure!(stage.ctr(&["images", "ls", "-q"])?.contains(NAME));
    let blobs = stage.ctr(&["content", "ls", "-q"])?;
    let digest = blobs.lines().next().context("there is a blob")?;
    ensure!(!stage.ctr(&["content", "get", digest])?.is_empty());
    ensure!(stage.ctr(&["snapshots", "ls"])?.contains("Committed"));
    ensure!(stage.ctr(&["snapshots", "tree"])?.contains("sha256:"));
    stage.scene.finish()
}

fn images_are_pulled(ctr: PathBuf, new: bool) -> Result<()> {
    if !needs("images_are_pulled", &["docker-registry"]) {
        return Ok(());
    }
    let stage = Stage::new(ctr)?;
    let registry = Registry::start(&stage.scratch)?;
    let name = registry.push(&stage.scratch.join("busybox-layout"), "1", "library/busybox")?;
    stage.ctr(&["images", "pull", "--plain-http", &name])?;
    ensure!(stage.ctr(&["images", "ls", "-q"])?.contains(&name));
    ensure!(stage.ctr(&["run", "--rm", &name, "c", "echo", "pulled"])? == "pulled\n");
    stage.ctr(&["images", "rm", "--sync", &name])?;
    if new {
        stage.ctr(&["images", "pull", "--local", "--plain-http", &name])?;
        ensure!(stage.ctr(&["run", "--rm", &name, "c", "echo", "again"])? == "again\n");
    }
    drop(registry);
    stage.scene.finish()
}

fn containers_run_as_asked(ctr: PathBuf, new: bool) -> Result<()> {
    let stage = Stage::new(ctr)?;
    stage.ctr(&["images", "import", path(&stage.archive)?])?;
    let run = |flags: &[&str], command: &[&str]| {
        stage.ctr(&[&["run", "--rm"], flags, &[NAME, "one"], command].concat())
    };
    ensure!(run(&[], &["echo", "hi"])? == "hi\n");
    ensure!(run(&["--env", "A=b"], &["sh", "-c", "echo $A"])? == "b\n");
    ensure!(run(&["--cwd", "/tmp"], &["pwd"])? == "/tmp\n");
    if new {
        ensure!(run(&["--user", "7:8"], &["id"])?.starts_with("uid=7 gid=8"));
    }
    ensure!(run(&["--net-host"], &["cat", "/proc/sys/kernel/ostype"])? == "Linux\n");
    let shared = stage.scratch.join("shared");
    std::fs::create_dir(&shared)?;
    std::fs::write(shared.join("file"), "outside")?;
    let mount = format!("type=bind,src={},dst=/in,options=rbind:ro", shared.display());
    ensure!(run(&["--mount", &mount], &["cat", "/in/file"])? == "outside");
    let caps = run(&["--cap-add", "CAP_SYS_TIME"], &["grep", "CapEff", "/proc/self/status"])?;
    let mask = u64::from_str_radix(caps.split_whitespace().last().unwrap_or_default(), 16)?;
    ensure!(mask & (1 << 25) != 0, "{caps}");
    let refused = stage.outcome(&["run", "--rm", "--read-only", NAME, "one", "touch", "/x"])?;
    ensure!(refused.code == 1 && refused.stderr.contains("Read-only file system"), "{refused:?}");
    ensure!(stage.outcome(&["run", "--rm", NAME, "one", "sh", "-c", "exit 9"])?.code == 9);
    let missing = stage.outcome(&["run", "--rm", NAME, "one", "nothing-there"])?;
    ensure!(
        missing.code == 1 && missing.stderr.contains("executable file not found in $PATH"),
        "{missing:?}"
    );
    ensure!(stage.ctr(&["containers", "ls", "-q"])?.is_empty(), "a container is left");
    stage.scene.finish()
}

fn tasks_are_driven(ctr: PathBuf, _: bool) -> Result<()> {
    let stage = Stage::new(ctr)?;
    stage.ctr(&["images", "import", path(&stage.archive)?])?;
    stage.ctr(&["run", "-d", "--memory-limit", "33554432", NAME, "long", "sleep", "1000"])?;
    let state = |word: &str| -> Result<()> {
        let list = stage.ctr(&["tasks", "ls"])?;
        ensure!(
            list.lines().any(|line| line.starts_with("long ") && line.contains(word)),
            "not {word}:\n{list}"
        );
        Ok(())
    };
    state("RUNNING")?;
    ensure!(stage.ctr(&["tasks", "ps", "long"])?.lines().count() == 2);
    ensure!(stage.ctr(&["tasks", "exec", "--exec-id", "e1", "long", "echo", "inside"])? == "inside\n");
    ensure!(stage.outcome(&["tasks", "exec", "--exec-id", "e2", "long", "sh", "-c", "exit 4"])?.code == 4);
    stage.ctr(&["tasks", "pause", "long"])?;
    state("PAUSED")?;
    stage.ctr(&["tasks", "resume", "long"])?;
    state("RUNNING")?;
    let metrics = stage.ctr(&["tasks", "metrics", "long"])?;
    ensure!(metrics.contains("33554432"), "{metrics}");
    // rctl knows the containers of other clients.
    ensure!(stage.scene.ok(&["ps"])?.contains("long"));
    ensure!(stage.scene.ok(&["exec", "long", "echo", "both"])? == "both\n");
    let refused = stage.outcome(&["tasks", "rm", "long"])?;
    ensure!(refused.code != 0, "a running task was deleted");
    stage.ctr(&["tasks", "kill", "--signal", "SIGKILL", "long"])?;
    stage.scene.ok(&["wait", "long"])?;
    state("STOPPED")?;
    stage.outcome(&["tasks", "rm", "long"])?;
    ensure!(!stage.ctr(&["tasks", "ls"])?.contains("long"));
    stage.ctr(&["containers", "rm", "long"])?;
    stage.scene.finish()
}

fn records_are_kept(ctr: PathBuf, _: bool) -> Result<()> {
    let stage = Stage::new(ctr)?;
    stage.ctr(&["images", "import", path(&stage.archive)?])?;
    stage.ctr(&["containers", "create", NAME, "kept"])?;
    let info: serde_json::Value = serde_json::from_str(&stage.ctr(&["containers", "info", "kept"])?)?;
    ensure!(info["ID"] == "kept" && info["Image"] == NAME, "{info}");
    stage.ctr(&["containers", "label", "kept", "a=b"])?;
    ensure!(stage.ctr(&["containers", "info", "kept"])?.contains("\"a\": \"b\""));
    let twice = stage.outcome(&["containers", "create", NAME, "kept"])?;
    ensure!(twice.code == 1 && twice.stderr.contains("already exists"), "{twice:?}");
    stage.ctr(&["containers", "rm", "kept"])?;
    stage.ctr(&["leases", "create", "--id", "mine", "x=y"])?;
    ensure!(stage.ctr(&["leases", "ls"])?.contains("mine"));
    stage.ctr(&["leases", "rm", "mine"])?;
    ensure!(!stage.ctr(&["leases", "ls"])?.contains("mine"));
    stage.scene.finish()
}

fn events_are_told(ctr: PathBuf, _: bool) -> Result<()> {
    let stage = Stage::new(ctr)?;
    stage.ctr(&["images", "import", path(&stage.archive)?])?;
    let mut watching = stage.scene.ctr_command(&stage.ctr, &["events"]).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(watching.stdout.take().context("stdout is piped")?).lines();
    // Label changes are told until one arrives: only then is the watcher known to listen.
    let (told, heard) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        for line in lines.map_while(std::result::Result::ok) {
            if told.send(line).is_err() {
                return;
            }
        }
    });
    for n in 0.. {
        ensure!(n < 100, "no event is ever told");
        stage.ctr(&["images", "label", NAME, &format!("n={n}")])?;
        if heard.recv_timeout(std::time::Duration::from_millis(100)).is_ok() {
            break;
        }
    }
    stage.ctr(&["run", "--rm", NAME, "one", "true"])?;
    let order = [
        "/containers/create",
        "/tasks/create",
        "/tasks/start",
        "/tasks/exit",
        "/tasks/delete",
        "/containers/delete",
    ];
    let mut wanted = order.iter();
    let mut next = wanted.next();
    while let Some(topic) = next {
        let line = heard
            .recv_timeout(std::time::Duration::from_secs(10))
            .with_context(|| format!("{topic} is not told"))?;
        if line.contains(topic) {
            next = wanted.next();
        }
    }
    watching.kill()?;
    watching.wait()?;
    drop(heard);
    let _ = reading.join();
    stage.scene.finish()
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the path is text")
}
