//! The project's own tasks: `cargo xtask demo`, `test`, `vm-test`, `bench`, `counts`, `soak`, `tidy`, `dist`.

mod bench;
mod build;
mod check;
mod counts;
mod demo;
mod disk;
mod floor;
mod fuzz;
mod linked;
mod packages;
mod root;
mod security;
mod soak;
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
    Bench(BenchArgs),
    /// Count the instructions of hot ways, and show where they have changed since docs/counts.toml was written
    Counts {
        /// Write docs/counts.toml
        #[arg(long)]
        update: bool,
        /// Count the programs in this folder, instead of building those of the tests
        #[arg(long, value_name = "FOLDER")]
        programs: Option<PathBuf>,
    },
    /// Run commands in a cgroup and time them; `bench` starts it
    #[command(hide = true)]
    BenchWorker {
        /// The file that lets a process in
        #[arg(long)]
        cgroup: PathBuf,
        /// Have a mount namespace without version 2 of cgroups
        #[arg(long)]
        one_version: bool,
    },
    /// Fuzz the parsers of what strangers write, a family of them after the other; fuzz/ledger.toml has how long each has run
    Fuzz {
        /// How long each family
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// How many families side by side
        #[arg(long, default_value_t = 1, value_parser = at_least_one)]
        jobs: usize,
        /// These alone
        families: Vec<String>,
    },
    /// Do random things with many containers for a while, with kills of the daemon and of shims, and check that what must be true is
    Soak {
        /// How long
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// The seed of an earlier soak, to have the same again
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Check the edges between crates, and the rules that no compiler checks
    Tidy,
    /// Build release binaries into target/dist
    Dist,
}

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
struct BenchArgs {
    /// How often each is timed
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    rounds: usize,
    /// How often executors are timed at least
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    executor_rounds: usize,
    /// How often what takes long is timed: batches, bursts, pulls
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    batches: usize,
    /// How many containers run one after another, and at once
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    batch: usize,
    /// How many containers an executor creates at once
    #[arg(long, default_value_t = 500, value_parser = at_least_one)]
    creates: usize,
    /// How often each daemon is killed and started again
    #[arg(long, default_value_t = 5, value_parser = at_least_one)]
    restarts: usize,
    /// With how many containers running it is killed
    #[arg(long, default_value = "50,500", value_delimiter = ',', value_parser = at_least_one)]
    running: Vec<usize>,
    /// How many containers run at the same time in the largest row
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    containers: usize,
    /// At most 5 rounds and few containers, to see whether it works
    #[arg(long)]
    quick: bool,
    /// Measure these rows and nothing else
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<bench::Row>,
    /// Measure the programs in this folder, instead of building release binaries
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
}

impl BenchArgs {
    fn plan(self) -> bench::Plan {
        let of = |number: usize, quick: usize| if self.quick { number.min(quick) } else { number };
        bench::Plan {
            rounds: of(self.rounds, 5),
            executor_rounds: of(self.executor_rounds, 5),
            batches: of(self.batches, 1),
            batch: of(self.batch, 10),
            creates: of(self.creates, 20),
            restarts: of(self.restarts, 2),
            running: self
                .running
                .iter()
                .map(|number| of(*number, 10))
                .take(if self.quick { 1 } else { usize::MAX })
                .collect(),
            containers: of(self.containers, 20),
            only: self.only,
            programs: self.programs,
        }
    }
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|verb| verb == floor::VERB) {
        return floor::floor();
    }
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
        Task::Bench(args) => bench::bench(&args.plan()),
        Task::Counts { update, programs } => counts::counts(update, programs.as_deref()),
        Task::BenchWorker { cgroup, one_version } => bench::work(&cgroup, one_version),
        Task::Fuzz { seconds, jobs, families } => fuzz::fuzz(&fuzz::Plan { seconds, jobs, only: families }),
        Task::Soak { minutes, seed } => soak::soak(minutes, seed),
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
