//! A bundle with busybox in it, and the executor on it. Everything is gone at the end.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 7] = ["sh", "sleep", "cat", "mknod", "mkdir", "echo", "ls"];

/// A container's bundle, id and state directory.
pub struct Bundle {
    dir: tempfile::TempDir,
    /// The container's id, and the name of its cgroup.
    pub id: String,
    /// What will be in config.json.
    pub config: Value,
    program: PathBuf,
}

impl Bundle {
    /// A container that runs `args`; `None` where the machine lacks what it takes.
    pub fn new(args: &[&str]) -> Option<Self> {
        Self::of(env!("CARGO_BIN_EXE_runc-rs").into(), args)
    }

    /// The same, run by another executor of the same command line.
    pub fn of(program: PathBuf, args: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() || !PathBuf::from(BUSYBOX).exists() {
            eprintln!("needs root and {BUSYBOX}: skipped");
            return None;
        }
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("runc-rs-test-{}-{count}", std::process::id());
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy(BUSYBOX, bin.join("busybox")).unwrap();
        APPLETS.iter().for_each(|applet| symlink("busybox", bin.join(applet)).unwrap());
        let mut config: Value = serde_json::from_str(&oci::runtime::default_spec_json(unified())).unwrap();
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(args);
        config["root"]["readonly"] = json!(false);
        config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        Some(Self { dir, id, config, program })
    }

    /// Runs the executor with its own state directory.
    pub fn runc(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// The same with `input` on standard input.
    pub fn runc_with_input(&self, args: &[&str], input: &str) -> Output {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// The executor with its own state directory, not started yet.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.dir.path().join("state")).args(args);
        command
    }

    /// Runs the container to its end; standard output, then standard error, then the code.
    pub fn run(&self) -> (String, String, i32) {
        let bundle = self.write_config();
        texts(&self.runc(&["run", "--bundle", &bundle, &self.id]))
    }

    /// Starts the container and leaves it running.
    pub fn run_detached(&self) {
        let bundle = self.write_config();
        // Its output must not be a pipe of ours: we would wait for the container.
        let status = self
            .command(&["run", "--detach", "--bundle", &bundle, &self.id])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.path().join("stderr")).unwrap())
            .status()
            .unwrap();
        let said = fs::read_to_string(self.dir.path().join("stderr")).unwrap();
        assert!(status.success(), "{said}");
    }

    /// Writes config.json; where the bundle is.
    pub fn write_config(&self) -> String {
        fs::write(self.dir.path().join("config.json"), self.config.to_string()).unwrap();
        self.dir.path().to_str().unwrap().to_owned()
    }

    /// A verb on the container that must succeed; its output.
    pub fn ok(&self, args: &[&str]) -> String {
        let (out, err, code) = texts(&self.runc(args));
        assert_eq!(code, 0, "{args:?}: {err}");
        out
    }

    /// A verb on the container that must fail with code 1; what it says.
    pub fn fails(&self, args: &[&str]) -> String {
        let (_, err, code) = texts(&self.runc(args));
        assert_eq!(code, 1, "{args:?}: {err}");
        err
    }

    /// What `state` says of the status.
    pub fn status(&self) -> String {
        let state: Value = serde_json::from_str(&self.ok(&["state", &self.id])).unwrap();
        state["status"].as_str().unwrap().to_owned()
    }

    /// What `events --stats` says.
    pub fn stats(&self) -> Value {
        let event: Value = serde_json::from_str(&self.ok(&["events", "--stats", &self.id])).unwrap();
        assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(self.id)));
        event["data"].clone()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let (_, err, code) = texts(&self.runc(&["delete", "--force", &self.id]));
        if code != 0 && !std::thread::panicking() {
            panic!("delete --force: {err}");
        }
    }
}

/// Output as text, and the exit code.
pub fn texts(output: &Output) -> (String, String, i32) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
        output.status.code().unwrap_or(-1),
    )
}

/// Whether the host's containers live on cgroup v2 alone.
pub fn unified() -> bool {
    PathBuf::from("/sys/fs/cgroup/cgroup.controllers").exists()
}
