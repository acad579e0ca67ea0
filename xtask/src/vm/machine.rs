//! The virtual machine: its command line, its output as it comes, its end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Parts;
use super::report::Report;

/// How long all of it may take. Emulation on a busy machine is slow; a machine that hangs is worse.
const LIMIT: Duration = Duration::from_secs(900);
/// How much of the kernel's log is shown when the machine has died.
const SHOWN: usize = 40;

/// Which control groups the machine's systemd sets up; and the security module, of which a kernel runs one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hierarchy {
    /// Version 2 alone, and AppArmor, as Debian does.
    Unified,
    /// Version 1, and SELinux, which rules nothing until it is given a policy.
    Legacy,
}

impl Hierarchy {
    /// The word that suites are chosen by.
    pub fn name(self) -> &'static str {
        match self {
            Hierarchy::Unified => "unified",
            Hierarchy::Legacy => "legacy",
        }
    }
}

/// Boots, shows what the tests say, and judges it.
pub fn run(parts: &Parts, hierarchy: Hierarchy, folder: &Path) -> Result<()> {
    let console = folder.join(format!("console-{hierarchy:?}.log").to_lowercase());
    println!("== A virtual machine, control groups: {hierarchy:?}");
    let began = Instant::now();
    let mut machine = command(parts, hierarchy, &console).spawn().context("run qemu-system-x86_64")?;
    let output = machine.stdout.take().context("qemu has no output")?;
    let (report, late) = watch(machine, output)?;
    let verdict = report.verdict();
    println!(
        "== {} tests passed, {} failed, in {} s",
        report.passed,
        report.failed,
        began.elapsed().as_secs()
    );
    if late {
        bail!("the machine was still running after {} s\n{}", LIMIT.as_secs(), tail(&console));
    }
    if report.finished { verdict } else { verdict.with_context(|| tail(&console)) }
}

/// Reads to the end of the machine; says whether it had to be ended.
fn watch(mut machine: Child, output: ChildStdout) -> Result<(Report, bool)> {
    let guard = Guard::over(machine.id());
    let began = Instant::now();
    let mut report = Report::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read from qemu")?;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end_matches('\r');
        match line.strip_prefix("== end ") {
            Some(end) => println!("== end {end}, {} s after the start", began.elapsed().as_secs()),
            None => println!("{line}"),
        }
        report.line(line);
    }
    let late = guard.dismiss();
    machine.wait().context("wait for qemu")?;
    Ok((report, late))
}

/// Ends a process when its time is up.
struct Guard {
    dismissed: Arc<AtomicBool>,
    thread: JoinHandle<bool>,
}

impl Guard {
    /// The process must not be reaped before the guard is dismissed: its id could be another's.
    fn over(pid: u32) -> Self {
        let dismissed = Arc::new(AtomicBool::new(false));
        let told = dismissed.clone();
        let thread = std::thread::spawn(move || {
            let end = Instant::now() + LIMIT;
            while !told.load(Ordering::Acquire) {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
                    return true;
                }
                std::thread::park_timeout(left);
            }
            false
        });
        Self { dismissed, thread }
    }

    /// Says whether it has ended the process.
    fn dismiss(self) -> bool {
        self.dismissed.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or(false)
    }
}

fn command(parts: &Parts, hierarchy: Hierarchy, console: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-machine",
        "pc",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
    ]);
    command.args(["-smp", "2", "-m", "2048", "-display", "none", "-no-reboot", "-kernel"]).arg(&parts.kernel);
    command.arg("-initrd").arg(&parts.initramfs).args(["-append", &words(hierarchy)]);
    // What the machine writes to its disks is forgotten.
    for disk in [&parts.root, &parts.payload] {
        let drive = format!("file={},format=raw,if=virtio,snapshot=on", disk.display());
        command.args(["-drive", &drive]);
    }
    command.arg("-serial").arg(format!("file:{}", console.display()));
    command.args(["-chardev", "stdio,id=results,signal=off", "-serial", "chardev:results"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// The kernel's command line.
fn words(hierarchy: Hierarchy) -> String {
    let fixed = "console=ttyS0 panic=-1 rw systemd.show_status=false systemd.log_level=notice hugepages=8";
    let own = match hierarchy {
        Hierarchy::Unified => "systemd.unified_cgroup_hierarchy=1 security=apparmor",
        Hierarchy::Legacy => "systemd.unified_cgroup_hierarchy=0 security=selinux selinux=1",
    };
    format!("{fixed} {own} vm.suites={}", hierarchy.name())
}

/// The end of the kernel's log.
fn tail(console: &Path) -> String {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    format!("the end of {}:\n{}", console.display(), lines[lines.len().saturating_sub(SHOWN)..].join("\n"))
}
