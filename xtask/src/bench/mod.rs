//! `cargo xtask bench`: this project and its peers side by side on one machine, in one run, in turns.

mod executors;
mod machine;
mod memory;
mod report;
mod restart;
mod stacks;
mod timing;

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::root::root;
use crate::{build, packages};

pub use executors::time_and_print as executors;

/// Small containers, all in their namespaces alone: what is measured is the way, not the program.
const IMAGE: &str = "docker.io/library/busybox:latest";
/// What each container runs.
const COMMAND: &str = "/bin/true";

/// What a run of the benchmark is asked.
pub struct Plan {
    /// How often each is timed.
    pub rounds: usize,
    /// How often each daemon is restarted.
    pub restarts: usize,
    /// How many containers run meanwhile.
    pub containers: usize,
    /// Programs that are built already; else release binaries are built.
    pub programs: Option<PathBuf>,
}

/// Measures, prints the report and writes it to `target/bench/report.md`.
pub fn bench(plan: &Plan) -> Result<()> {
    packages::install(packages::TEST)?;
    let programs = match &plan.programs {
        Some(folder) => folder.canonicalize().with_context(|| format!("find {}", folder.display()))?,
        None => build::release()?,
    };
    let mut text = report::head(plan, &machine::facts(&programs)?);
    say("executors");
    text.push_str(&executors::section(&programs, plan.rounds)?);
    let mut stacks = stacks::Stacks::start(&programs)?;
    say("whole containers");
    text.push_str(&stacks.section(plan.rounds)?);
    say("memory");
    text.push_str(&memory::section(&stacks)?);
    say("restart");
    text.push_str(&restart::section(&mut stacks, plan)?);
    stacks.finish()?;
    text.push_str(&report::foot()?);
    println!("{text}");
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("report.md");
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    eprintln!("written to {}", file.display());
    Ok(())
}

fn say(what: &str) {
    eprintln!("measuring: {what}");
}
