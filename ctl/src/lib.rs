//! rctl, the command line for people.

#[macro_use]
mod output;

mod cli;
mod commands;
mod context;
pub mod doors;
mod failure;
mod lean;
mod outlet;
mod parse;
mod session;
mod terminal;
mod trace;
mod words;

use std::process::ExitCode;

use clap::Parser;

use cli::Cli;
use failure::Failure;

/// The program.
pub fn main() -> ExitCode {
    let cli = match lean::parse(std::env::args_os().collect()).map_or_else(Cli::try_parse, Ok) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    marks::init("rctl");
    // One thread: there is one conversation, and a second thread would only cost time to start.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("rctl: start the async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            failure.code()
        }
    };
    // A read from a terminal cannot be cancelled; nobody waits for it any more.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// docker's code for a command line that cannot be understood; help and version are no mistake.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing better can be done when stderr is closed.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(Failure::USAGE) } else { ExitCode::SUCCESS }
}
