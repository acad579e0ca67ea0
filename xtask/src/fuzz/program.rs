//! One program of libFuzzer, from its start to its end.

use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

/// Inputs are no longer than this many bytes: what parsers decide on fits.
const LONGEST: u32 = 16 << 10;
/// Megabytes that a program may have.
const MEMORY: u32 = 2048;
/// Seconds that one input may take, by the clock on the wall: a machine may have much else to do, and stop a program for a while.
const PATIENCE: u32 = 600;

/// What came of a run.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Run {
    /// Seconds by the clock on the wall.
    pub wall: f64,
    /// Seconds on a processor.
    pub cpu: f64,
    /// How many inputs it tried.
    pub inputs: u64,
    /// Edges of the program's graph that any input went along.
    pub edges: u64,
    /// How many of them were known once the corpus was read.
    pub edges_at_first: u64,
    /// Inputs in the corpus at the end.
    pub corpus: u64,
    /// When the edges became more for the last time, in seconds of the wall's clock.
    pub grew_at: f64,
    /// What was found, and where it is kept.
    pub found: Option<String>,
}

impl Run {
    /// In a line.
    pub fn shown(&self) -> String {
        format!(
            "{:.0} s, {:.0} s of a processor, {} inputs, {} edges ({} at first), last new one after {:.0} s",
            self.wall, self.cpu, self.inputs, self.edges, self.edges_at_first, self.grew_at
        )
    }

    /// Learns from a line that libFuzzer wrote `at` so many seconds.
    fn learn(&mut self, line: &str, at: f64) {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|rest| rest.split_once(['\t', ' ']))
        else {
            if line.starts_with("found by the target") || line.starts_with("SUMMARY: libFuzzer") {
                let before = self.found.take().map(|before| before + ", ").unwrap_or_default();
                self.found = Some(before + line);
            }
            return;
        };
        self.inputs = number.parse().unwrap_or(self.inputs);
        let mut words = rest.split_whitespace();
        let event = words.next().unwrap_or_default();
        while let Some(word) = words.next() {
            match (word, words.clone().next()) {
                ("cov:", Some(edges)) => {
                    let edges = edges.parse().unwrap_or(self.edges);
                    if edges > self.edges {
                        (self.edges, self.grew_at) = (edges, at);
                    }
                    if event == "INITED" {
                        (self.edges_at_first, self.grew_at) = (edges, 0.0);
                    }
                }
                // "12/345Kb"
                ("corp:", Some(corpus)) => {
                    let count = corpus.split('/').next().unwrap_or_default();
                    self.corpus = count.parse().unwrap_or(self.corpus);
                }
                _ => {}
            }
        }
    }
}

/// Runs `program` of `family` for so many seconds; what it says is in `target`'s log beside it.
pub fn run(root: &Path, program: &Path, family: &str, seconds: u64) -> Result<Run> {
    let own = |kind: &str| root.join("fuzz").join(kind).join(family);
    for kind in ["corpus", "artifacts"] {
        std::fs::create_dir_all(own(kind)).with_context(|| format!("create fuzz/{kind}/{family}"))?;
    }
    let began = Instant::now();
    let mut child = Command::new(program)
        .current_dir(root.join("fuzz"))
        .arg(own("corpus"))
        .args(members(root, program, family)?)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-timeout={PATIENCE}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-artifact_prefix={}/", own("artifacts").display()))
        // An input that is slow by the wall's clock is no finding either.
        .arg(format!("-report_slow_units={PATIENCE}"))
        .args(["-print_final_stats=1", "-reload=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {}", program.display()))?;
    let log = program.with_extension("log");
    let mut run = follow(&mut child, &log, began)?;
    let status = child.wait().context("wait for a program of libFuzzer")?;
    run.wall = began.elapsed().as_secs_f64();
    if !status.success() {
        let said = run.found.take().unwrap_or_else(|| status.to_string());
        run.found = Some(format!("{said}; what it wrote is in {}", log.display()));
    }
    Ok(run)
}

/// The folders of a family's members that are there: seeds, and what was found earlier.
fn members(root: &Path, program: &Path, family: &str) -> Result<Vec<PathBuf>> {
    let output = Command::new(program)
        .env("RUNTIMED_FUZZ_MEMBERS", "1")
        .output()
        .with_context(|| format!("ask {} for its members", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let folders = text
        .lines()
        .flat_map(|member| ["seeds", "regressions"].map(|kind| root.join("fuzz").join(kind).join(member)));
    let folders: Vec<PathBuf> = folders.filter(|folder| folder.is_dir()).collect();
    ensure!(!folders.is_empty(), "the members of {family} have no seeds");
    Ok(folders)
}

/// Reads what it says to its end, keeps it, and asks how long it was on a processor before it is waited for.
fn follow(child: &mut Child, log: &Path, began: Instant) -> Result<Run> {
    let said = child.stderr.take().context("a pipe")?;
    let mut kept = File::create(log).with_context(|| format!("create {}", log.display()))?;
    let mut run = Run::default();
    for line in BufReader::new(said).split(b'\n') {
        let line = line.context("read what libFuzzer says")?;
        let line = String::from_utf8_lossy(&line);
        run.learn(&line, began.elapsed().as_secs_f64());
        writeln!(kept, "{line}").with_context(|| format!("write {}", log.display()))?;
    }
    nix::sys::wait::waitid(
        nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(child.id().cast_signed())),
        nix::sys::wait::WaitPidFlag::WEXITED | nix::sys::wait::WaitPidFlag::WNOWAIT,
    )
    .context("wait for a program of libFuzzer")?;
    run.cpu = processor(child.id())?;
    Ok(run)
}

/// Seconds that a process which has ended, and was not waited for, was on a processor (proc_pid_stat(5), utime and stime).
fn processor(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let after = text.rsplit_once(") ").map_or("", |(_, after)| after);
    let ticks = after.split(' ').skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum::<u64>();
    let second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
    Ok(ticks as f64 / second as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let mut run = Run::default();
        let lines = [
            (1.0, "INFO: Running with entropic power schedule (0xFF, 100)."),
            (2.0, "#12\tINITED cov: 300 ft: 410 corp: 12/345b exec/s: 0 rss: 60Mb"),
            (
                9.0,
                "#512\tNEW    cov: 311 ft: 420 corp: 13/1024Kb lim: 4 exec/s: 0 rss: 60Mb L: 3/9 MS: 1 CrossOver-",
            ),
            (70.5, "#1024\tpulse  cov: 311 ft: 420 corp: 13/1024Kb lim: 4 exec/s: 512 rss: 61Mb"),
        ];
        for (at, line) in lines {
            run.learn(line, at);
        }
        let expected =
            Run { inputs: 1024, edges: 311, edges_at_first: 300, corpus: 13, grew_at: 9.0, ..Run::default() };
        assert_eq!(run, expected);
        run.learn("found by the target filter", 80.0);
        run.learn("SUMMARY: libFuzzer: deadly signal", 80.0);
        assert_eq!(
            run.found.as_deref(),
            Some("found by the target filter, SUMMARY: libFuzzer: deadly signal")
        );
    }
}
