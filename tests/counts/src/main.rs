//! `counts WAY TIMES` goes one of the hot ways so many times, and does nothing else: `cargo xtask counts` runs it under valgrind, once
//! with no times at all, and takes the difference. `counts` alone lists the ways, each with how often it is worth going.

mod documents;
mod layers;
mod records;
mod texts;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

/// A way: its name, how often it is gone for a count, and what makes ready and goes it.
type Way = (&'static str, u32, fn(u32) -> Result<()>);

const WAYS: &[Way] = &[
    ("write a container's config.json", 20, documents::write),
    ("plan a container from config.json", 20, documents::plan),
    ("plan a container and compile docker's seccomp profile", 2, documents::plan_with_seccomp),
    ("parse a filter and match 100 records", 50, texts::filter),
    ("parse an image reference", 200, texts::reference),
    ("read a layer of 200 files", 5, layers::read),
    ("read a layer of 200 files, gzip", 5, layers::read_gzip),
    ("commit a record", 200, records::commit),
    ("write 1000 lines of output as log records", 5, texts::log),
    ("read 1000 log records", 5, texts::read_log),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counts: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let Some(name) = args.next() else {
        for (name, times, _) in WAYS {
            println!("{times}\t{name}");
        }
        return Ok(());
    };
    let times = args.next().context("how many times?")?.parse().context("how many times?")?;
    let Some((.., go)) = WAYS.iter().find(|(way, ..)| *way == name) else { bail!("no way is called {name}") };
    go(times)
}
