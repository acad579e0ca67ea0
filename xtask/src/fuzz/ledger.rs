//! `fuzz/ledger.toml`: how long each family has run, and what it saw. It is added to and kept with the source.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

use super::program::Run;

/// Adds a run.
pub fn note(path: &Path, family: &str, run: &Run) -> Result<()> {
    let text = entry(family, run);
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))?;
    // In one write: others add to it at the same time.
    file.write_all(text.as_bytes()).with_context(|| format!("write {}", path.display()))
}

fn entry(family: &str, run: &Run) -> String {
    let mut text = format!("\n[[run]]\nfamily = \"{family}\"\n");
    let numbers = [("wall_seconds", run.wall), ("cpu_seconds", run.cpu), ("grew_at_second", run.grew_at)];
    let counts = [
        ("inputs", run.inputs),
        ("edges_at_first", run.edges_at_first),
        ("edges", run.edges),
        ("corpus", run.corpus),
    ];
    // Writing into a string does not fail.
    for (name, value) in numbers {
        let _ = writeln!(text, "{name} = {value:.0}");
    }
    for (name, value) in counts {
        let _ = writeln!(text, "{name} = {value}");
    }
    let _ = writeln!(text, "found = {}", run.found.is_some());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_table() {
        let run = Run { wall: 3600.4, cpu: 812.0, inputs: 77, edges: 10, ..Run::default() };
        let text = entry("names", &run);
        assert!(
            text.starts_with("\n[[run]]\nfamily = \"names\"\nwall_seconds = 3600\ncpu_seconds = 812\n"),
            "{text}"
        );
        assert!(
            text.ends_with("inputs = 77\nedges_at_first = 0\nedges = 10\ncorpus = 0\nfound = false\n"),
            "{text}"
        );
    }
}
