//! A bundle in a temporary directory, and the executor's verbs on it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

static COUNT: AtomicU32 = AtomicU32::new(0);

const APPLETS: &[&str] = &[
    "sh", "true", "false", "cat", "ls", "id", "mount", "ps", "sleep", "env", "hostname", "echo", "stat",
    "tty", "touch", "mkdir", "pwd", "grep", "readlink", "kill", "test", "stty", "wc", "date", "uname",
    "find", "head", "ip", "cp", "ln", "rm",
];

/// A container to be: its directory, its config.json and its id.
pub struct Bundle {
    pub dir: tempfile::TempDir,
    pub config: Value,
    pub id: String,
}

/// What a command said.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// What a finished command said.
    pub fn of(output: &Output) -> Self {
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Standard output of a command that must succeed.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "out: {} err: {}", self.out, self.err);
        self.out
    }
}

impl Bundle {
    /// A container that runs `args`.
    pub fn new(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bin = dir.path().join("rootfs/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::copy("/bin/busybox", bin.join("busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", bin.join(applet)).unwrap();
        }
        let etc = dir.path().join("rootfs/etc");
        fs::create_dir(&etc).unwrap();
        fs::write(etc.join("passwd"), "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n").unwrap();
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("runc-rs-test-{}-{number}", std::process::id());
        Bundle { config: config(args), dir, id }
    }

    /// A shell script as the container's program.
    pub fn script(text: &str) -> Self {
        Self::new(&["sh", "-c", text])
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state").join(&self.id)
    }

    /// Adds a mount.
    pub fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    /// Adds a namespace, or changes one.
    pub fn namespace(&mut self, kind: &str, path: Option<&str>) {
        let all = self.config["linux"]["namespaces"].as_array_mut().unwrap();
        all.retain(|n| n["type"] != kind);
        all.push(match path {
            Some(path) => json!({"type": kind, "path": path}),
            None => json!({"type": kind}),
        });
    }

    pub fn without_namespace(&mut self, kind: &str) {
        self.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != kind);
    }

    /// The executor with a verb and flags, without the id.
    pub fn command(&self, args: &[&str]) -> Command {
        let text = serde_json::to_string(&self.config).unwrap();
        // Whole at once: another verb may be reading it.
        let mut file = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        file.persist(self.dir.path().join("config.json")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_runc-rs"));
        command.current_dir(self.dir.path()).arg("--root").arg(self.dir.path().join("state")).args(args);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a verb on the container.
    pub fn verb(&self, args: &[&str]) -> Said {
        let mut command = self.command(args);
        Said::of(&command.arg(&self.id).output().unwrap())
    }

    /// Runs a verb with arguments after the id.
    pub fn verb_with(&self, flags: &[&str], arguments: &[&str]) -> Said {
        let mut command = self.command(flags);
        Said::of(&command.arg(&self.id).args(arguments).output().unwrap())
    }

    /// Runs the container in the foreground.
    pub fn run(&self) -> Said {
        self.verb(&["run"])
    }

    /// Creates the container with its output going to the file `out` of the bundle: the process keeps it open.
    pub fn create(&self) -> Said {
        let out = fs::File::create(self.dir.path().join("out")).unwrap();
        let err = fs::File::create(self.dir.path().join("err")).unwrap();
        let mut command = self.command(&["create"]);
        let status = command.arg(&self.id).stdout(out).stderr(err).status().unwrap();
        let err = fs::read_to_string(self.dir.path().join("err")).unwrap();
        Said { code: status.code().unwrap(), out: self.output(), err }
    }

    pub fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("out")).unwrap()
    }

    /// Creates and starts.
    pub fn started(self) -> Self {
        self.create().ok();
        self.verb(&["start"]).ok();
        self
    }

    pub fn exec(&self, args: &[&str]) -> Said {
        self.verb_with(&["exec"], args)
    }

    pub fn state(&self) -> Value {
        serde_json::from_str(&self.verb(&["state"]).ok()).unwrap()
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().unwrap()).unwrap()
    }

    /// Waits until something is so.
    pub fn wait(&self, what: &str, so: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !so() {
            assert!(Instant::now() < end, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Cgroups that bear the container's id.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        fn find(dir: &Path, id: &str, depth: u32, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                if entry.file_name() == id {
                    found.push(entry.path());
                } else if depth > 0 && entry.file_type().is_ok_and(|t| t.is_dir()) {
                    find(&entry.path(), id, depth - 1, found);
                }
            }
        }
        let mut found = Vec::new();
        find(Path::new("/sys/fs/cgroup"), &self.id, 4, &mut found);
        found
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let said = self.verb(&["delete", "--force"]);
        if std::thread::panicking() {
            return;
        }
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(!self.state_dir().exists());
        assert_eq!(self.cgroups(), Vec::<PathBuf>::new());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dir.path().to_str().unwrap()), "{mounts}");
    }
}

/// What `runc spec` writes, in short.
fn config(args: &[&str]) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": args,
            "env": ["PATH=/bin:/usr/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 512}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
             "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
             "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                           {"type": "cgroup"}],
            "maskedPaths": ["/proc/acpi", "/proc/keys", "/proc/timer_list", "/proc/no-such", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/no-such"]
        }
    })
}
