//! The project's own tasks: `cargo xtask demo`, `test`, `vm-test`, `bench`, `tidy`, `dist`.

mod bench;
mod build;
mod check;
mod demo;
mod packages;
mod root;
mod test;
mod tidy;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Tasks of this project.
#[derive(Debug, Parser)]
#[command(name = "xtask")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Show the whole stack at work: build, registry, pull, run, kill the daemon, go on, clean up
    Demo,
    /// Install what the tests need, and run every test
    Test {
        /// Arguments for cargo test
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run the tests that need cgroup version 2 alone and systemd, in a virtual machine
    VmTest {
        /// Suites to run; all when none is named
        suites: Vec<String>,
    },
    /// Measure this project and its peers side by side, into target/bench/report.md
    Bench {
        /// How often each is timed
        #[arg(long, default_value_t = 20, value_parser = at_least_one)]
        rounds: usize,
        /// How often each daemon is killed and started again
        #[arg(long, default_value_t = 5, value_parser = at_least_one)]
        restarts: usize,
        /// How many containers run meanwhile
        #[arg(long, default_value_t = 50)]
        containers: usize,
        /// Measure the programs in this folder, instead of building release binaries
        #[arg(long, value_name = "FOLDER")]
        programs: Option<PathBuf>,
    },
    /// Time executors; `bench` starts it in a mount namespace of its own
    #[command(hide = true)]
    BenchExecutors {
        /// The folder of runc-rs
        programs: PathBuf,
        /// What they run
        bundle: PathBuf,
        /// How often each is timed
        rounds: usize,
    },
    /// Check the edges between crates, and the rules that no compiler checks
    Tidy,
    /// Build release binaries into target/dist
    Dist,
}

fn main() -> ExitCode {
    match run(Args::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Demo => demo::demo(),
        Task::Test { args } => test::test(&args),
        Task::VmTest { suites } => vm::vm_test(&suites),
        Task::Bench { rounds, restarts, containers, programs } => {
            bench::bench(&bench::Plan { rounds, restarts, containers, programs })
        }
        Task::BenchExecutors { programs, bundle, rounds } => bench::executors(&programs, &bundle, rounds),
        Task::Tidy => tidy::tidy(),
        Task::Dist => build::release().map(|dist| println!("{}", dist.display())),
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it has to be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(format!("{error}")),
    }
}
