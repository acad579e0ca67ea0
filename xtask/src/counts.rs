//! `cargo xtask counts`: how many instructions the hot ways take, beside what docs/counts.toml says they took.
//!
//! Instructions are counted by valgrind's callgrind, so that a busy machine counts as a quiet one does. The programs are those that the
//! tests use, not optimized: they are built anyway, and a way that takes longer shows in them too. The numbers are worth something
//! beside their like alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use harness::{Scene, image, sh};

use crate::root::root;
use crate::{build, packages};

/// What a way may differ before it is shown.
const TOLERANCE: f64 = 0.03;
/// Threads make a client's count differ a little: the least of some is taken.
const CLIENT_RUNS: usize = 3;

/// Counts by the names of ways.
type Counts = BTreeMap<String, u64>;

/// Counts every way, and shows what has changed; `update` makes these the counts to come. `programs` is where they are built already.
pub fn counts(update: bool, programs: Option<&Path>) -> Result<()> {
    packages::install(packages::TEST)?;
    packages::install(packages::COUNTS)?;
    let (counter, programs) = match programs {
        Some(folder) => {
            let folder = folder.canonicalize().with_context(|| format!("find {}", folder.display()))?;
            (folder.join("counts"), folder)
        }
        None => (build::debug_of("counts")?, build::debug()?),
    };
    let mut counts = ways(&counter)?;
    counts.extend(clients(&programs)?);
    let file = root().join("docs/counts.toml");
    let known = read(&file)?;
    let (text, changed) = compare(&counts, &known);
    println!("{text}");
    if update {
        std::fs::write(&file, shown(&counts)).with_context(|| format!("write {}", file.display()))?;
        println!("written to {}", file.display());
    } else if changed > 0 {
        println!(
            "CHANGED: {changed} ways by more than {:.0} %; `cargo xtask counts --update` keeps the new counts",
            TOLERANCE * 100.0
        );
    }
    Ok(())
}

/// What the program `counts` can go, each way with its fixtures and without, so that the difference is the way alone.
fn ways(program: &Path) -> Result<Counts> {
    let mut counts = Counts::new();
    for line in sh::read(&mut Command::new(program))?.lines() {
        let (times, name) = line.split_once('\t').with_context(|| format!("a way: {line:?}"))?;
        let count = |times: &str| instructions(Command::new(program).args([name, times]));
        let per = (count(times)?.saturating_sub(count("0")?)) / times.parse::<u64>()?.max(1);
        counts.insert(name.to_owned(), per);
    }
    Ok(counts)
}

/// What clients do for one command, beside a daemon that is not counted.
fn clients(programs: &Path) -> Result<Counts> {
    let mut scene = Scene::with_programs(programs)?;
    scene.start_daemon()?;
    let scratch = scene.root().join("scratch");
    std::fs::create_dir(&scratch)?;
    let archive = image::busybox_archive(&scratch)?.display().to_string();
    scene.ok(&["load", "--quiet", "--input", &archive])?;
    let mut counts = Counts::new();
    for (name, args) in [
        ("rctl version", &["version"][..]),
        ("rctl run --rm", &["run", "--rm", "--net", "none", "busybox", "true"]),
    ] {
        let mut least = u64::MAX;
        for _ in 0..CLIENT_RUNS {
            least = least.min(instructions(&scene.rctl_command(args))?);
        }
        counts.insert(name.to_owned(), least);
    }
    scene.finish()?;
    Ok(counts)
}

/// Runs a command under callgrind, which says at its end how many instructions it has seen.
fn instructions(command: &Command) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(command.get_program()).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => valgrind.env(key, value),
            None => valgrind.env_remove(key),
        };
    }
    let output = sh::output(&mut valgrind)?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{valgrind:?}: {}: {said}", output.status);
    collected(&said).with_context(|| format!("{valgrind:?} told no count: {said}"))
}

fn collected(said: &str) -> Option<u64> {
    let number = said.lines().find_map(|line| line.split_once("Collected :").map(|(_, number)| number))?;
    number.trim().parse().ok()
}

/// A line for each way, and how many have changed.
fn compare(counts: &Counts, known: &Counts) -> (String, usize) {
    let (mut text, mut changed) = (String::from("instructions of hot ways, not optimized\n"), 0);
    for (name, count) in counts {
        let verdict = match known.get(name) {
            None => "new".to_owned(),
            Some(old) => {
                let change = *count as f64 / (*old).max(1) as f64 - 1.0;
                let loud = if change.abs() > TOLERANCE { "CHANGED " } else { "" };
                changed += usize::from(!loud.is_empty());
                format!("{loud}{:+.1} %", change * 100.0)
            }
        };
        text.push_str(&format!("{count:>12}  {name}: {verdict}\n"));
    }
    for name in known.keys().filter(|name| !counts.contains_key(*name)) {
        text.push_str(&format!("{:>12}  {name}: CHANGED, it is gone\n", "-"));
        changed += 1;
    }
    (text, changed)
}

fn read(file: &PathBuf) -> Result<Counts> {
    match std::fs::read_to_string(file) {
        Ok(text) => parse(&text).with_context(|| format!("read {}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Counts::new()),
        Err(error) => Err(error).with_context(|| format!("read {}", file.display())),
    }
}

/// Lines of `"name" = count`; others are comments.
fn parse(text: &str) -> Result<Counts> {
    let lines = text.lines().filter(|line| line.starts_with('"'));
    lines
        .map(|line| {
            let (name, count) = line.split_once(" = ").with_context(|| format!("no count: {line}"))?;
            Ok((name.trim_matches('"').to_owned(), count.trim().parse()?))
        })
        .collect()
}

fn shown(counts: &Counts) -> String {
    let lines = counts.iter().map(|(name, count)| format!("\"{name}\" = {count}\n"));
    let head = "# Instructions of hot ways, by valgrind's callgrind, programs not optimized: `cargo xtask counts --update` writes this.\n";
    std::iter::once(head.to_owned()).chain(lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_says_is_read() {
        let said = "==1== Events    : Ir\n==1== Collected : 381536\n==1== \n";
        assert_eq!(collected(said), Some(381_536));
        assert_eq!(collected("valgrind: no such file"), None);
    }

    #[test]
    fn counts_are_kept_as_they_are() -> Result<()> {
        let counts = Counts::from([("a way".to_owned(), 7), ("rctl run --rm".to_owned(), 1 << 40)]);
        assert_eq!(parse(&shown(&counts))?, counts);
        assert!(parse("\"a way\" = many\n").is_err());
        Ok(())
    }

    #[test]
    fn a_change_beyond_the_tolerance_is_loud() {
        let of =
            |pairs: &[(&str, u64)]| pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        let known: Counts = of(&[("a", 1000), ("b", 1000), ("gone", 1)]);
        let (text, changed) = compare(&of(&[("a", 1029), ("b", 1040), ("c", 5)]), &known);
        assert_eq!(changed, 2, "{text}");
        assert!(text.contains("1029  a: +2.9 %\n") && text.contains("1040  b: CHANGED +4.0 %\n"), "{text}");
        assert!(text.contains("5  c: new\n") && text.contains("gone: CHANGED, it is gone\n"), "{text}");
    }
}
