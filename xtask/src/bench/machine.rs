//! What the numbers were measured on.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use harness::sh;

/// Whose versions the report tells.
const PROGRAMS: &[&str] = &["runtimed", "containerd", "dockerd", "podman", "runc", "crun"];

/// Release of the running kernel, major and minor.
pub fn kernel() -> Result<(u32, u32)> {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's release")?;
    let mut numbers = text.split(['.', '-']).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("the kernel's release cannot be read: {text}"),
    }
}

/// Names and values, in the order of the report.
pub fn facts(programs: &Path) -> Result<Vec<(String, String)>> {
    let cpus = std::fs::read_to_string("/proc/cpuinfo")?;
    let model = field(&cpus, "model name").unwrap_or("unknown");
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let revision = sh::read(Command::new("git").current_dir(crate::root::root()).args([
        "rev-parse",
        "--short=12",
        "HEAD",
    ]));
    let mut facts = vec![
        ("CPUs", format!("{} of {model}", std::thread::available_parallelism()?)),
        ("memory", field(&memory, "MemTotal").unwrap_or("unknown").to_owned()),
        ("kernel", std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned()),
        ("cgroups", if unified { "v2" } else { "v1 or hybrid" }.to_owned()),
        ("load before", load()?),
        ("checkout", revision.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())),
        ("binaries", programs.file_name().unwrap_or_default().to_string_lossy().into_owned()),
    ];
    let ours = programs.join("runtimed").display().to_string();
    for (name, program) in
        PROGRAMS.iter().map(|name| (*name, if *name == "runtimed" { &ours } else { *name }))
    {
        // Who is missing is named where it would have been measured.
        let said = sh::read(Command::new(program).arg("--version")).unwrap_or_else(|_| "not here".to_owned());
        let line = said.lines().next().unwrap_or_default();
        facts.push((name, line.strip_prefix(name).unwrap_or(line).trim().to_owned()));
    }
    Ok(facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// The load averages of 1, 5 and 15 minutes.
pub fn load() -> Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
}
