//! The shim: the process between a daemon and the executor, one for each container or pod. It owns the container's
//! standard streams, is the parent of its processes, and outlives the daemon.
//!
//! It is called by the daemon in three ways (containerd's docs/runtime-v2.md):
//!
//! ```text
//! shim ... start     binds the socket, leaves a server behind, prints its address
//! shim ... delete    cleans up after a server that died, prints how the container ended
//! shim ...           is that server, with the socket as descriptor 3
//! ```
//!
//! This project's own daemon starts the server itself, with the socket as standard input (`serve`), or has one started already, which waits
//! to be called (`ready`).
//!
//! A request's way: `rpc` (ttrpc, v2 and v3) -> `service` (a file a verb) -> `container`, `process` -> the executor,
//! through `runc-client`. An exit's way back: `reaper` -> `service::exit` -> `publisher`.

use std::io::Write;
use std::process::ExitCode;

mod args;
mod bootstrap;
mod bundle;
mod cgroup;
mod clock;
mod container;
mod cri_log;
mod delete;
pub mod doors;
mod executor;
mod info;
mod io;
mod log;
mod mounts;
mod oom;
mod options;
mod process;
mod publisher;
mod ready;
mod reaper;
mod rest;
mod rpc;
mod serve;
mod service;
mod socket;
mod spec;
mod start;
mod state;
mod stats;
mod sync;

use args::{Action, Args};

/// The name in front of errors, and in `-v` and `-info`.
const NAME: &str = "containerd-shim-runtimed-v2";

/// The program.
pub fn main() -> ExitCode {
    marks::init("shim");
    let called = match ready::words() {
        Ok(Some(called)) => called,
        // Nobody needs it any more.
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.chain());
            return ExitCode::FAILURE;
        }
    };
    let args = match Args::parse(called.words) {
        Ok(args) => args,
        Err(message) => {
            complain(&message);
            return ExitCode::from(2);
        }
    };
    if matches!(args.action, Action::Start | Action::Delete) {
        marks::trace::adopt();
    }
    let result = match args.action {
        Action::Version => version(),
        Action::Info => info::run(),
        Action::Start => start::run(&args),
        Action::Delete => delete::run(&args),
        Action::Serve => serve::run(args, called.ready),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.chain());
            ExitCode::FAILURE
        }
    }
}

fn version() -> errors::Result<()> {
    let text = format!("{NAME}:\n  Version:  {}\n\n", env!("CARGO_PKG_VERSION"));
    print(text.as_bytes())
}

/// Writes a whole answer to standard output.
fn print(answer: &[u8]) -> errors::Result<()> {
    use errors::Context;
    let mut out = std::io::stdout().lock();
    out.write_all(answer).and_then(|()| out.flush()).context(|| "write the answer to standard output")
}

/// Standard error is read by the daemon when a call fails, and only then written to.
fn complain(message: &str) {
    // Nobody is left to be told if this fails.
    let _ = writeln!(std::io::stderr(), "{NAME}: {message}");
}
