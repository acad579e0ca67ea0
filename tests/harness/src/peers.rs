//! Programs that this project did not write.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::sh;

/// Debian's containerd in a root of its own.
pub struct Containerd {
    child: Child,
    root: PathBuf,
}

impl Containerd {
    /// Starts it below `root`, with `path` in front of PATH, so that it finds shims there.
    pub fn start(root: &Path, path: &Path) -> Result<Containerd> {
        let root = root.join("containerd");
        std::fs::create_dir_all(&root)?;
        let config = root.join("config.toml");
        let text = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = {:?}\n",
            root.join("lib"),
            root.join("run"),
            root.join("containerd.sock"),
        );
        std::fs::write(&config, text)?;
        let log = std::fs::File::create(root.join("containerd.log"))?;
        let search = format!("{}:{}", path.display(), std::env::var("PATH").unwrap_or_default());
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .env("PATH", search)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("start Debian's containerd")?;
        let peer = Containerd { child, root };
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            if sh::output(&mut peer.ctr(&["version"]))?.status.success() {
                return Ok(peer);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("Debian's containerd does not answer:\n{}", peer.log())
    }

    /// A command line of Debian's ctr that speaks to it.
    pub fn ctr(&self, args: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.root.join("containerd.sock")).args(args).stdin(Stdio::null());
        command
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.root.join("containerd.log")).unwrap_or_default()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        // SIGTERM, so that it unmounts what it mounted.
        let _ = sh::output(Command::new("kill").args(["-TERM", &self.child.id().to_string()]));
        let _ = self.child.wait();
    }
}

/// `ctr` 2.2, built from its Go module once a machine; `None`, said by name, where there is no Go or no module proxy.
pub fn new_ctr(test: &str) -> Option<PathBuf> {
    let module = "github.com/containerd/containerd/v2";
    go_program(test, "ctr-2.2.0", module, "v2.2.0", "cmd/ctr")
}

fn go_program(test: &str, name: &str, module: &str, version: &str, package: &str) -> Option<PathBuf> {
    if !crate::needs(test, &["go"]) {
        return None;
    }
    let cache = std::env::temp_dir().join("runtimed-peers");
    let program = cache.join(name);
    if program.is_file() {
        return Some(program);
    }
    match build_go(&cache, &program, module, version, package) {
        Ok(()) => Some(program),
        Err(error) => {
            println!("SKIP {test}: {module} {version} cannot be built here: {error:#}");
            None
        }
    }
}

/// Two tests may want the same program at the same time: each builds apart, and the last rename wins.
fn build_go(cache: &Path, program: &Path, module: &str, version: &str, package: &str) -> Result<()> {
    std::fs::create_dir_all(cache)?;
    let work = tempfile::tempdir_in(cache)?;
    let made = work.path().join("program");
    let go = |args: &[&str]| {
        let mut command = Command::new("go");
        command.current_dir(work.path()).args(args);
        sh::read(&mut command)
    };
    go(&["mod", "init", "peers"])?;
    let target = format!("{module}/{package}");
    go(&["get", &format!("{target}@{version}")])?;
    go(&["build", "-o", &made.display().to_string(), &target])?;
    std::fs::rename(&made, program)?;
    Ok(())
}
