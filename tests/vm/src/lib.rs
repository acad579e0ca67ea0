//! A container's bundle with busybox in it, and the executor on it, inside the virtual machine. Everything is gone at the end.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long to wait for what no program can be asked to wait for. Emulation is slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the containers are made of.
const APPLETS: [&str; 12] =
    ["sh", "sleep", "cat", "mkdir", "echo", "ls", "dd", "id", "grep", "rmdir", "true", "head"];

/// A bundle, an id and a state directory.
pub struct Bundle {
    dir: TempDir,
    /// The container's id.
    pub id: String,
    /// What will be in config.json.
    pub config: Value,
    flags: Vec<String>,
    user: bool,
}

/// How a verb ended, and what it said.
#[derive(Debug)]
pub struct Said {
    /// The exit code; -1 for a signal.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Said {
    fn new(output: &Output) -> Said {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// What was said by a verb that has to succeed.
    ///
    /// # Errors
    /// It did not.
    pub fn ok(self) -> Result<String> {
        ensure!(self.code == 0, "code {}: {}{}", self.code, self.out, self.err);
        Ok(self.out)
    }
}

impl Bundle {
    /// A container that runs a shell script, with the executor's cgroup driver as `flags` say.
    ///
    /// # Errors
    /// No bundle could be made.
    pub fn new(flags: &[&str], script: &str) -> Result<Bundle> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().context("make a folder")?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let bin = dir.path().join("rootfs/bin");
        fs::create_dir_all(&bin)?;
        fs::copy("/bin/busybox", bin.join("busybox")).context("copy busybox")?;
        for applet in APPLETS {
            symlink("busybox", bin.join(applet))?;
        }
        let mut config: Value = serde_json::from_str(&oci::runtime::default_spec_json(is_unified()))?;
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["root"]["readonly"] = json!(false);
        let id = format!("vm-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Ok(Bundle { dir, id, config, flags, user: false })
    }

    /// The same, all of it an ordinary user's: root inside is that user outside.
    ///
    /// # Errors
    /// No bundle could be made.
    pub fn rootless(flags: &[&str], script: &str) -> Result<Bundle> {
        let mut bundle = Bundle::new(flags, script)?;
        let process = bundle.config["process"].clone();
        bundle.config = serde_json::from_str(&oci::runtime::rootless_spec_json(1000, 1000, is_unified()))?;
        bundle.config["process"]["terminal"] = json!(false);
        bundle.config["process"]["args"] = process["args"].clone();
        bundle.config["root"]["readonly"] = json!(false);
        harness::sh::run(Command::new("chown").args(["-R", "user:user"]).arg(bundle.dir.path()))?;
        bundle.user = true;
        Ok(bundle)
    }

    /// Lets the container write to its cgroup.
    ///
    /// # Errors
    /// config.json has no such mount.
    pub fn mount_cgroup_writable(&mut self) -> Result<()> {
        let mounts = self.config["mounts"].as_array_mut().context("no mounts")?;
        let mount = mounts.iter_mut().find(|mount| mount["type"] == "cgroup").context("no cgroup mount")?;
        mount["options"] = json!(["nosuid", "noexec", "nodev", "rw"]);
        Ok(())
    }

    /// The path of `linux.cgroupsPath`.
    pub fn at(&mut self, cgroups_path: &str) {
        self.config["linux"]["cgroupsPath"] = json!(cgroups_path);
    }

    /// Sets one of `linux.resources`.
    pub fn limit(&mut self, name: &str, value: Value) {
        self.config["linux"]["resources"][name] = value;
    }

    /// The executor with a verb.
    pub fn command(&self, args: &[&str]) -> Command {
        let program = program("runc-rs");
        let mut command = if self.user { as_user(program) } else { Command::new(program) };
        command.arg("--root").arg(self.dir.path().join("state")).args(&self.flags).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a verb to its end; `ID` stands for the container's id.
    ///
    /// # Errors
    /// It could not be run.
    pub fn verb(&self, args: &[&str]) -> Result<Said> {
        let args: Vec<&str> =
            args.iter().map(|arg| if *arg == "ID" { self.id.as_str() } else { arg }).collect();
        Ok(Said::new(&harness::sh::output(&mut self.command(&args))?))
    }

    /// Runs a verb that has to succeed.
    ///
    /// # Errors
    /// It did not.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        self.verb(args)?.ok().with_context(|| format!("{args:?}"))
    }

    /// Writes config.json.
    ///
    /// # Errors
    /// It could not be written.
    pub fn write(&self) -> Result<PathBuf> {
        let path = self.dir.path().join("config.json");
        fs::File::create(&path)?.write_all(self.config.to_string().as_bytes())?;
        Ok(self.dir.path().to_owned())
    }

    /// Runs the container to its end.
    ///
    /// # Errors
    /// It could not be started.
    pub fn run(&self) -> Result<Said> {
        let bundle = self.write()?;
        self.verb(&["run", "--bundle", &bundle.to_string_lossy(), "ID"])
    }

    /// Starts the container and leaves it running, its output in a file: see [`Bundle::output`].
    ///
    /// # Errors
    /// It did not start.
    pub fn start(&self) -> Result<()> {
        let bundle = self.write()?;
        let out = fs::File::create(bundle.join("out"))?;
        let mut command = self.command(&["run", "--detach", "--bundle"]);
        let status = command.arg(&bundle).arg(&self.id).stdout(out.try_clone()?).stderr(out).status()?;
        ensure!(status.success(), "run --detach: {}", self.output()?);
        Ok(())
    }

    /// What a detached container, or the executor that started it, has said.
    ///
    /// # Errors
    /// The file could not be read.
    pub fn output(&self) -> Result<String> {
        Ok(fs::read_to_string(self.dir.path().join("out"))?)
    }

    /// state.json.
    ///
    /// # Errors
    /// There is none.
    pub fn state(&self) -> Result<Value> {
        let path = self.dir.path().join("state").join(&self.id).join("state.json");
        Ok(serde_json::from_slice(&fs::read(&path).with_context(|| format!("read {}", path.display()))?)?)
    }

    /// The container's cgroup; on version 1 that of a controller.
    ///
    /// # Errors
    /// state.json names none.
    pub fn cgroup(&self, controller: &str) -> Result<PathBuf> {
        let state = self.state()?;
        let path = state["cgroup_paths"][controller].as_str();
        path.map(PathBuf::from).with_context(|| format!("no cgroup {controller:?} in {state}"))
    }

    /// A file of the container's cgroup on version 2, without the newline.
    ///
    /// # Errors
    /// It could not be read.
    pub fn file(&self, name: &str) -> Result<String> {
        let path = self.cgroup("")?.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim_end().to_owned())
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let cgroup = self.cgroup("");
        let gone = self.ok(&["delete", "--force", "ID"]);
        if !std::thread::panicking() {
            assert!(gone.is_ok(), "{gone:?}");
            assert!(cgroup.is_err() || cgroup.is_ok_and(|dir| !dir.exists()));
        }
    }
}

/// Where a program of this project is.
pub fn program(name: &str) -> PathBuf {
    Path::new(&std::env::var_os("RUNTIMED_BIN_DIR").unwrap_or_default()).join(name)
}

/// A program that an ordinary user runs, with the way to the user's service manager.
pub fn as_user(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "user", "--regid", "user", "--init-groups", "--"]).arg(program);
    command
        .env("XDG_RUNTIME_DIR", "/run/user/1000")
        .env("HOME", "/home/user")
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    command
}

/// Asks until the answer is yes.
///
/// # Errors
/// It never was.
pub fn until(what: &str, mut yes: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !yes()? {
        if Instant::now() > end {
            bail!("it never came to this: {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Is this machine one with cgroup version 2 alone?
pub fn is_unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}
