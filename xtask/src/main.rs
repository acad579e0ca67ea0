//! The project's own tasks: `cargo xtask demo`, `test`, `bench`, `tidy`, `dist`.

mod build;
mod check;
mod demo;
mod packages;
mod root;
mod test;
mod tidy;

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
        Task::Tidy => tidy::tidy(),
        Task::Dist => build::release().map(|dist| println!("{}", dist.display())),
    }
}
