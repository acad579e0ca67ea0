//! `cargo xtask test`: everything a change has to pass.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::root::root;
use crate::{build, check, counts, disk, linked, packages, tidy, vm};

/// Installs what is needed, checks the sources, builds the programs, runs every test.
pub fn test(args: &[String]) -> Result<()> {
    disk::say(&build::target_folder(&root()));
    packages::install(packages::BUILD)?;
    packages::install(packages::TEST)?;
    check::format()?;
    tidy::tidy()?;
    check::dependencies()?;
    check::lints()?;
    let programs = build::debug()?;
    tests(&programs, args)?;
    // Arguments choose some of cargo's tests.
    if !args.is_empty() {
        return Ok(());
    }
    // Counts inform: compilers differ, and a change is shown, not forbidden.
    if let Err(error) = counts::counts(false, None) {
        println!("COUNTS: not taken: {error:#}");
    }
    twice("tests in the virtual machine", || vm::vm_test(&[]))
}

/// What fails twice is broken. What fails once is a race, most of them between a test and the kernel: it is said here, by name, and
/// is to be mended all the same.
fn twice(what: &str, run: impl Fn() -> Result<()>) -> Result<()> {
    run().or_else(|error| {
        println!(
            "RETRY: {what} failed and are run once more; each of them is a race to be mended: {error:#}"
        );
        run()
    })
}

/// Tests that drive programs of their own package, which are to be linked as they are for people.
const OF_STATIC: &[&str] = &["runc-rs", "containerd-shim-runtimed-v2"];

/// What those are built on, which has parts for them alone.
const BENEATH: [&str; 2] = ["-p", "sys"];

/// Runs every test program, and those that failed once more.
fn tests(programs: &Path, args: &[String]) -> Result<()> {
    if !args.is_empty() {
        return those(&Run { programs, args, fixed: false }, vec!["--workspace".to_owned()]);
    }
    let each = |flag: &str| OF_STATIC.iter().flat_map(|name| [flag.to_owned(), (*name).to_owned()]).collect();
    let others: Vec<String> = each("--exclude");
    let others =
        those(&Run { programs, args, fixed: false }, [vec!["--workspace".to_owned()], others].concat());
    let of_static =
        those(&Run { programs, args, fixed: true }, [each("-p"), BENEATH.map(str::to_owned).into()].concat());
    others.and(of_static)
}

/// How tests are run.
struct Run<'a> {
    programs: &'a Path,
    args: &'a [String],
    /// Linked as the programs that are one file each.
    fixed: bool,
}

/// Runs the test programs of a choice, and those that failed once more.
fn those(run: &Run<'_>, choice: Vec<String>) -> Result<()> {
    let failed = match cargo_test(run, &choice)? {
        None => return Ok(()),
        Some(failed) if failed.is_empty() => bail!("cargo test failed"),
        Some(failed) => failed,
    };
    for program in failed {
        println!("RETRY: {} failed and is run once more; it has a race to be mended", program.join(" "));
        if cargo_test(run, &program)?.is_some() {
            bail!("failed twice: cargo test {}", program.join(" "));
        }
    }
    Ok(())
}

/// Runs some tests; `None` when all passed, else the choices of those test programs that did not, as cargo lists them at the end.
fn cargo_test(run: &Run<'_>, choice: &[String]) -> Result<Option<Vec<Vec<String>>>> {
    let root = root();
    let mut command = build::cargo(&root);
    // Tests that drive whole daemons compete for the processors: one test program after the other, as cargo runs them.
    command.arg("test").args(choice).arg("--no-fail-fast").env("RUNTIMED_BIN_DIR", run.programs);
    if run.fixed {
        linked::prepare(&mut command, &build::target_folder(&root), false)?;
    }
    command.args(run.args);
    println!("$ cargo test {} --no-fail-fast {}", choice.join(" "), run.args.join(" "));
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("start cargo")?;
    let mut failed = Vec::new();
    for line in child.stderr.take().map(BufReader::new).into_iter().flat_map(BufRead::lines) {
        let line = line.context("read what cargo says")?;
        eprintln!("{line}");
        failed.extend(choice_in(&line));
    }
    let status = child.wait().context("wait for cargo")?;
    Ok(if status.success() { None } else { Some(failed) })
}

/// A line such as "    `-p e2e --test run`".
fn choice_in(line: &str) -> Option<Vec<String>> {
    let choice = line.trim().strip_prefix('`')?.strip_suffix('`')?;
    choice.starts_with("-p ").then(|| choice.split(' ').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn failed_programs_are_told_by_cargo() {
        assert_eq!(super::choice_in("    `-p e2e --test run`").unwrap(), ["-p", "e2e", "--test", "run"]);
        assert_eq!(super::choice_in("error: 2 targets failed:"), None);
        assert_eq!(super::choice_in("note: `x` is not used"), None);
    }
}
