//! Resident memory of daemon and shim with one container running.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};

use harness::sh;

use super::stacks::Stacks;
use super::{IMAGE, report};

/// KiB of a process: RSS counts shared pages in full, PSS its share of them.
struct Resident {
    rss: u64,
    pss: u64,
}

/// Runs one container on each, reads, and makes the table.
pub fn section(stacks: &Stacks) -> Result<String> {
    let run = ["run", "-d", IMAGE, "memory", "sleep", "1000"];
    sh::read(&mut stacks.ctr(&run))?;
    sh::read(&mut stacks.peer.ctr(&run))?;
    let ours = of_pid(stacks.ours.pid().context("runtimed runs")?)?;
    let peer = of_pid(stacks.peer.pid())?;
    let our_shim = of_pid(shim(stacks.ours.root(), "containerd-shim-runtimed-v2")?)?;
    let peer_shim = of_pid(shim(stacks.peer.root(), "containerd-shim-runc-v2")?)?;
    remove(
        &mut stacks.ctr(&["tasks", "rm", "--force", "memory"]),
        &mut stacks.ctr(&["containers", "rm", "memory"]),
    )?;
    remove(
        &mut stacks.peer.ctr(&["tasks", "rm", "--force", "memory"]),
        &mut stacks.peer.ctr(&["containers", "rm", "memory"]),
    )?;
    let mut text = String::from(
        "\n## Memory with one container running\n\n| process | ours RSS | peer RSS | ratio | ours PSS | peer PSS | ratio |\n\
         |---|--:|--:|--:|--:|--:|--:|\n",
    );
    row(&mut text, "daemon, after the containers above", &ours, &peer);
    row(&mut text, "shim", &our_shim, &peer_shim);
    Ok(text)
}

/// A forced removal tells the exit code of what it killed as a warning.
fn remove(task: &mut std::process::Command, container: &mut std::process::Command) -> Result<()> {
    sh::output(task)?;
    sh::read(container).map(drop)
}

fn row(text: &mut String, what: &str, ours: &Resident, peer: &Resident) {
    let _ = writeln!(
        text,
        "| {what} | {} KiB | {} KiB | {} | {} KiB | {} KiB | {} |",
        ours.rss,
        peer.rss,
        report::ratio(ours.rss as f64, peer.rss as f64),
        ours.pss,
        peer.pss,
        report::ratio(ours.pss as f64, peer.pss as f64),
    );
}

fn of_pid(pid: u32) -> Result<Resident> {
    let file = format!("/proc/{pid}/smaps_rollup");
    let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
    Ok(Resident { rss: kib(&text, "Rss:")?, pss: kib(&text, "Pss:")? })
}

fn kib(text: &str, name: &str) -> Result<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("{name} is not there"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// The shim of this name that was told a path below `root`.
fn shim(root: &Path, name: &str) -> Result<u32> {
    let root = root.display().to_string();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        let program = command.split('\0').next().unwrap_or_default();
        if program.ends_with(name) && command.contains(&root) {
            return Ok(pid);
        }
    }
    bail!("no process {name} with {root} on its command line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read() {
        let text = "7f00-7fff ---p 00000000 00:00 0 [rollup]\nRss:                1234 kB\nPss:                 567 kB\nPss_Dirty: 1 kB\n";
        assert_eq!(kib(text, "Pss:").unwrap(), 567);
        assert!(kib(text, "Swap:").is_err());
    }
}
