//! `cargo xtask bench`: this project and its peers side by side on one machine, in one run, in turns.

mod batch;
mod client;
mod docker;
mod executors;
mod job;
mod machine;
mod many;
mod memory;
mod pull;
mod report;
mod resident;
mod restart;
mod rows;
mod stacks;
mod timing;
mod tree;
mod volatile;
mod whole;
mod worker;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::root::root;
use crate::{build, packages};

use self::report::Report;
use self::stacks::Stacks;

pub use rows::Row;
pub use worker::serve as work;

/// Small containers, all in their namespaces alone: what is measured is the way, not the program.
const IMAGE: &str = "docker.io/library/busybox:latest";
/// What each container runs.
const COMMAND: &str = "/bin/true";
/// What a container runs that goes on.
const SLEEP: &[&str] = &["sleep", "100000"];

/// What a run of the benchmark is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How often each is timed.
    pub rounds: usize,
    /// How often an executor is timed at least.
    pub executor_rounds: usize,
    /// How often what takes long is timed: batches, bursts, pulls.
    pub batches: usize,
    /// How many containers a batch has.
    pub batch: usize,
    /// How many containers an executor creates at once.
    pub creates: usize,
    /// How often each daemon is restarted.
    pub restarts: usize,
    /// With how many containers it is restarted.
    pub running: Vec<usize>,
    /// How many containers run at the same time in the largest row.
    pub containers: usize,
    /// Nothing but these rows; all if empty.
    pub only: Vec<Row>,
    /// Programs that are built already; else release binaries are built.
    pub programs: Option<PathBuf>,
}

impl Plan {
    fn wants(&self, row: Row) -> bool {
        self.only.is_empty() || self.only.contains(&row)
    }

    fn wants_any(&self, executors: bool) -> bool {
        Row::value_variants().iter().any(|row| row.is_executor() == executors && self.wants(*row))
    }
}

/// Measures, prints the report and writes it to `target/bench/report.md`.
pub fn bench(plan: &Plan) -> Result<()> {
    packages::install(packages::TEST)?;
    packages::install(packages::BENCH)?;
    let programs = match &plan.programs {
        Some(folder) => folder.canonicalize().with_context(|| format!("find {}", folder.display()))?,
        None => build::release()?,
    };
    let mut head = head(plan, &machine::facts(&programs)?);
    let mut report = Report::default();
    if plan.wants_any(true) {
        eprintln!("measuring: executors");
        let measured = executors::section(plan, &programs, &mut report);
        report.attempt("executors", measured);
    }
    if plan.wants_any(false) {
        let measured = whole_stacks(plan, &programs, &mut report);
        report.attempt("whole stacks", measured);
    }
    let _ = writeln!(head, "| load after | {} |", machine::load()?);
    let text = report.text(&head);
    println!("{text}");
    let file = report.write(&root().join("target/bench"), &text)?;
    eprintln!("written to {}", file.display());
    ensure!(report.failed() == 0, "{} parts failed: the report names them", report.failed());
    Ok(())
}

fn whole_stacks(plan: &Plan, programs: &Path, report: &mut Report) -> Result<()> {
    let mut stacks = Stacks::start(programs, report)?;
    all(plan, &mut stacks, report);
    stacks.finish()
}

/// Rows of whole stacks. Those that fill the machine come last. A row that fails does not keep others from being measured.
fn all(plan: &Plan, stacks: &mut Stacks, report: &mut Report) {
    type Section = fn(&Plan, &mut Stacks, &mut Report) -> Result<()>;
    let sections: [(Row, Section); 11] = [
        (Row::Run, |plan, stacks, report| whole::run(plan, stacks, report)),
        (Row::Exec, |plan, stacks, report| whole::exec(plan, stacks, report)),
        (Row::Stop, |plan, stacks, report| whole::stop(plan, stacks, report)),
        (Row::Rm, |plan, stacks, report| whole::rm(plan, stacks, report)),
        (Row::Client, |plan, stacks, report| whole::client(plan, stacks, report)),
        (Row::InOrder, |plan, stacks, report| batch::in_order(plan, stacks, report)),
        (Row::AtOnce, |plan, stacks, report| batch::at_once(plan, stacks, report)),
        (Row::Memory, |plan, stacks, report| memory::section(plan, stacks, report)),
        (Row::Pull, |plan, stacks, report| pull::section(plan, stacks, report)),
        (Row::Restart, restart::section),
        (Row::Many, many::section),
    ];
    for (row, section) in sections.into_iter().filter(|(row, _)| plan.wants(*row)) {
        eprintln!("measuring: {}", name(row));
        let measured = section(plan, stacks, report);
        report.attempt(&name(row), measured);
    }
}

fn name(row: Row) -> String {
    row.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The title, how the numbers came to be, and the machine.
fn head(plan: &Plan, facts: &[(String, String)]) -> String {
    let mut text = String::from("# Side by side\n\n");
    let _ = writeln!(
        text,
        "Each does it once unwatched, then {} times in turns (executors at least {}; batches, bursts and pulls {}; restarts {}), each round \
         begun by another. Ratios below 1 mean: needs less. CPU is the median of the CPU time of the whole stack: client, daemon, shim, \
         executor and container, until all of it is at rest again.\n",
        plan.rounds, plan.executor_rounds, plan.batches, plan.restarts
    );
    text.push_str("| machine | |\n|---|---|\n");
    for (name, value) in facts {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(only: &[Row]) -> Plan {
        Plan {
            rounds: 1,
            executor_rounds: 1,
            batches: 1,
            batch: 1,
            creates: 1,
            restarts: 1,
            running: vec![1],
            containers: 1,
            only: only.to_vec(),
            programs: None,
        }
    }

    #[test]
    fn only_what_is_wanted_is_started() {
        assert!(plan(&[]).wants(Row::Pull) && plan(&[]).wants_any(true) && plan(&[]).wants_any(false));
        let executors = plan(&[Row::RuncExec]);
        assert!(
            executors.wants(Row::RuncExec) && !executors.wants(Row::RuncRun) && !executors.wants(Row::Run)
        );
        assert!(executors.wants_any(true) && !executors.wants_any(false));
    }
}
