//! The report: tables in Markdown, goals with what was reached, and every sample as JSON.

use std::fmt::{Display, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::timing::{Samples, percentile};

/// What is gathered while rows are measured.
#[derive(Debug, Default)]
pub struct Report {
    body: String,
    goals: Vec<Goal>,
    missing: Vec<String>,
    samples: Vec<Value>,
    failed: usize,
}

/// A number that should not be above another.
#[derive(Debug, Clone, PartialEq)]
struct Goal {
    what: String,
    limit: f64,
    unit: &'static str,
    measured: f64,
}

impl Report {
    /// Begins a part.
    pub fn part(&mut self, title: &str) {
        let _ = write!(self.body, "\n## {title}\n");
    }

    /// A paragraph.
    pub fn say(&mut self, text: &str) {
        let _ = write!(self.body, "\n{text}\n");
    }

    /// Names what could not be measured here, and why.
    pub fn missing(&mut self, what: &str, why: impl Display) {
        let why = why.to_string();
        self.missing.push(format!("{what}: {}", why.split_whitespace().collect::<Vec<_>>().join(" ")));
        eprintln!("not measured: {what}: {why}");
    }

    /// Notes a part that failed, and goes on.
    pub fn attempt(&mut self, what: &str, measured: Result<()>) {
        if let Err(error) = measured {
            self.failed += 1;
            self.missing(&format!("{what} FAILED"), format!("{error:#}"));
        }
    }

    /// How many parts failed.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// A table of times, each with its ratios to those of `against`.
    pub fn times(&mut self, title: &str, samples: &[Samples], against: &str) {
        let reference = samples.iter().find(|one| one.name == against).or(samples.last());
        let Some(reference) = reference else { return };
        let _ = write!(
            self.body,
            "\n| {title} | min | median | p99 | CPU | min ÷ | median ÷ | p99 ÷ | CPU ÷ |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"
        );
        for one in samples {
            let _ = write!(self.body, "| {} ", one.name);
            for time in times(one) {
                let _ = write!(self.body, "| {} ", shown(time));
            }
            for (time, other) in times(one).into_iter().zip(times(reference)) {
                let _ = write!(self.body, "| {} ", ratio(time.as_secs_f64(), other.as_secs_f64()));
            }
            self.body.push_str("|\n");
        }
        let _ = write!(self.body, "\n÷: divided by {}.\n", reference.name);
        self.samples.push(json!({
            "table": title,
            "samples": samples.iter().map(|one| json!({"name": one.name, "wall_ns": nanos(&one.walls), "cpu_ns": nanos(&one.cpus)})).collect::<Vec<_>>(),
        }));
    }

    /// A table of anything.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        let _ = write!(self.body, "\n| {} |\n|---|{}\n", head.join(" | "), "--:|".repeat(head.len() - 1));
        for row in rows {
            let _ = writeln!(self.body, "| {} |", row.join(" | "));
        }
        self.samples.push(json!({"table": head.first(), "head": head, "rows": rows}));
    }

    /// A goal for the ratio of two medians, if both were measured.
    pub fn goal_ratio(&mut self, what: &str, limit: f64, samples: &[Samples], ours: &str, peer: &str) {
        let median = |name: &str| {
            let one = samples.iter().find(|one| one.name == name)?;
            Some(percentile(&one.walls, 50).as_secs_f64()).filter(|median| *median > 0.0)
        };
        if let (Some(ours), Some(peer)) = (median(ours), median(peer)) {
            self.goal(what, limit, "", ours / peer);
        }
    }

    /// A goal for a number in `unit`; a ratio has none.
    pub fn goal(&mut self, what: &str, limit: f64, unit: &'static str, measured: f64) {
        self.goals.push(Goal { what: what.to_owned(), limit, unit, measured });
    }

    /// All of it under `head`.
    pub fn text(&self, head: &str) -> String {
        let mut text = head.to_owned();
        if !self.goals.is_empty() {
            text.push_str("\n## Goals\n\n| goal | at most | measured | reached |\n|---|--:|--:|---|\n");
        }
        for Goal { what, limit, unit, measured } in &self.goals {
            let reached = if measured <= limit { "yes" } else { "**no**" };
            let _ = writeln!(text, "| {what} | {limit}{unit} | {}{unit} | {reached} |", number(*measured));
        }
        text.push_str(&self.body);
        if !self.missing.is_empty() {
            text.push_str("\n## Not measured here\n\n");
        }
        for one in &self.missing {
            let _ = writeln!(text, "- {one}");
        }
        text
    }

    /// Writes `report.md` and `samples.json` into a folder; returns the report's path.
    pub fn write(&self, folder: &Path, text: &str) -> Result<PathBuf> {
        std::fs::create_dir_all(folder)?;
        let file = folder.join("report.md");
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let samples = serde_json::to_string(&self.samples)?;
        std::fs::write(folder.join("samples.json"), samples).context("write samples.json")?;
        Ok(file)
    }
}

/// How many times the other is this.
pub fn ratio(ours: f64, peer: f64) -> String {
    if peer > 0.0 { format!("{:.2}", ours / peer) } else { "-".to_owned() }
}

/// A time in milliseconds, or in seconds where it is longer than ten.
pub fn shown(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds >= 10.0 { format!("{seconds:.1} s") } else { format!("{:.1} ms", seconds * 1000.0) }
}

fn times(one: &Samples) -> [Duration; 4] {
    [
        percentile(&one.walls, 0),
        percentile(&one.walls, 50),
        percentile(&one.walls, 99),
        percentile(&one.cpus, 50),
    ]
}

fn number(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}

fn nanos(times: &[Duration]) -> Vec<u128> {
    times.iter().map(Duration::as_nanos).collect()
}

#[cfg(test)]
mod tests {
    use super::super::timing::Cost;
    use super::*;

    fn samples(name: &str, walls: [u64; 3]) -> Samples {
        let cost = |wall| Cost { wall: Duration::from_millis(wall), cpu: Duration::from_millis(wall / 10) };
        Samples::new(name, &walls.map(cost))
    }

    #[test]
    fn a_line_has_times_and_their_ratios() {
        let mut report = Report::default();
        report.times("run", &[samples("a", [10, 20, 30]), samples("b", [20, 80, 90])], "b");
        let text = report.text("");
        assert!(
            text.contains("| a | 10.0 ms | 20.0 ms | 30.0 ms | 2.0 ms | 0.50 | 0.25 | 0.33 | 0.25 |\n| b |"),
            "{text}"
        );
        assert!(text.ends_with("÷: divided by b.\n"), "{text}");
    }

    #[test]
    fn a_goal_says_whether_it_was_reached() {
        let both = [samples("a", [10, 20, 30]), samples("b", [20, 80, 90])];
        let mut report = Report::default();
        report.goal_ratio("run", 0.3, &both, "a", "b");
        report.goal_ratio("run, stricter", 0.2, &both, "a", "b");
        report.goal_ratio("run, against nobody", 0.2, &both, "a", "c");
        report.goal("memory", 2.0, " MB", 2.5);
        let text = report.text("");
        assert!(text.contains("| run | 0.3 | 0.25 | yes |\n| run, stricter | 0.2 | 0.25 | **no** |\n| memory | 2 MB | 2.50 MB | **no** |\n"), "{text}");
    }

    #[test]
    fn what_is_missing_is_named_in_one_line() {
        let mut report = Report::default();
        report.missing("podman", "it said:\n  no");
        assert!(report.text("").ends_with("- podman: it said: no\n"));
        assert_eq!(ratio(1.0, 0.0), "-");
        assert_eq!(shown(Duration::from_millis(12_345)), "12.3 s");
    }
}
