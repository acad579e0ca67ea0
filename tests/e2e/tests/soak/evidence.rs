//! What there is to know of something that does not end, gathered while it still does not: for whoever has to find out why.
//!
//! In a folder of its own: `picture` (a line for each process), `runtimed.log` with what the daemon says of itself on SIGUSR1, `sockets` and
//! `locks` (the kernel's tables), a folder of each process of the scene, and of the daemon and of who waits an image of the memory too.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::{Scene, picture};

use crate::worker::signal;

/// How long the daemon may take to say what it is at, and how often to look: it says so in its log alone.
const SAYS: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
/// How long a debugger may take.
const DEBUGGER: &str = "60";
/// The last line of what the daemon says.
const SAID: &str = "that is all that is under way";

/// Gathers what there is about `what` that `client` waits for; says where it is.
pub fn gather(scene: &Scene, client: Option<u32>, what: &str) -> Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("runtimed-soak-evidence-").tempdir()?.keep();
    let write = |name: &str, text: &[u8]| std::fs::write(folder.join(name), text).context("keep evidence");
    write("what", what.as_bytes())?;
    write("picture", picture::of_scene(scene).as_bytes())?;
    for (name, table) in [("sockets", "/proc/net/unix"), ("locks", "/proc/locks")] {
        write(name, &std::fs::read(table).unwrap_or_default())?;
    }
    let pids = picture::processes(scene);
    // First what disturbs nothing, then what stops them for a moment.
    for pid in &pids {
        kernel(*pid, &folder.join(pid.to_string()))?;
    }
    let log = match scene.pid() {
        Some(pid) => says(scene, pid)?,
        None => scene.log(),
    };
    write("runtimed.log", log.as_bytes())?;
    let whole: Vec<u32> = scene.pid().into_iter().chain(client).collect();
    for pid in pids.iter().filter(|pid| is_program(scene, **pid)) {
        debug(*pid, &folder.join(pid.to_string()), whole.contains(pid));
    }
    Ok(folder)
}

/// What the kernel tells of a process and its threads.
fn kernel(pid: u32, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    std::fs::write(folder.join("cmdline"), read("cmdline").replace('\0', " "))?;
    for name in ["status", "cgroup", "limits"] {
        std::fs::write(folder.join(name), read(name))?;
    }
    let mut threads = String::new();
    for tid in names(&format!("/proc/{pid}/task")) {
        let part = |name: &str| read(&format!("task/{tid}/{name}"));
        let status = part("status");
        let line = |of: &str| status.lines().find(|line| line.starts_with(of)).unwrap_or_default().to_owned();
        let about = [line("Name:"), line("State:"), part("wchan"), part("syscall")];
        // Writing into a string does not fail.
        let _ = writeln!(
            threads,
            "{tid}: {}\n{}",
            about.each_ref().map(|text| text.trim()).join(" | "),
            part("stack")
        );
    }
    std::fs::write(folder.join("threads"), threads)?;
    let mut files = String::new();
    for fd in names(&format!("/proc/{pid}/fd")) {
        let to = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
        let about = read(&format!("fdinfo/{fd}")).replace('\n', " ");
        let _ = writeln!(files, "{fd} -> {} ({})", to.display(), about.trim());
    }
    std::fs::write(folder.join("files"), files).context("keep evidence")
}

fn names(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// The daemon's log, once it has said what it is at.
fn says(scene: &Scene, pid: u32) -> Result<String> {
    let already = scene.log().len();
    signal("USR1", pid.into())?;
    let begun = Instant::now();
    loop {
        let log = scene.log();
        if log.get(already..).is_some_and(|new| new.contains(SAID)) || begun.elapsed() > SAYS {
            return Ok(log);
        }
        std::thread::sleep(LOOK);
    }
}

/// One of ours, with symbols: not what runs in containers.
fn is_program(scene: &Scene, pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path.starts_with(scene.programs()))
}

/// Where its threads are, if there is a debugger; with an image of its memory if it is worth that.
fn debug(pid: u32, folder: &Path, whole: bool) {
    let core = format!("generate-core-file {}", folder.join("core").display());
    let mut command = Command::new("timeout");
    command.args([DEBUGGER, "gdb", "-p", &pid.to_string(), "-batch", "-ex", "thread apply all backtrace"]);
    if whole {
        command.args(["-ex", &core]);
    }
    // It is no help if there is none, and no reason to give the rest up.
    if let Ok(output) = command.stdin(Stdio::null()).output() {
        let _ = std::fs::write(folder.join("backtrace"), [output.stdout, output.stderr].concat());
    }
}
