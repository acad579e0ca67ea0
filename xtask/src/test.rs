//! `cargo xtask test`: everything a change has to pass.

use anyhow::Result;

use harness::sh;

use crate::root::root;
use crate::{build, check, packages, tidy, vm};

/// Installs what is needed, checks the sources, builds the programs, runs every test.
pub fn test(args: &[String]) -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::TEST)?;
    check::format()?;
    tidy::tidy()?;
    check::dependencies()?;
    check::lints()?;
    let programs = build::debug()?;
    let root = root();
    let tests = || {
        let mut command = build::cargo(&root);
        // Tests that drive whole daemons compete for the processors: one test program after the other, as cargo runs them.
        command.args(["test", "--workspace", "--no-fail-fast"]).args(args).env("RUNTIMED_BIN_DIR", &programs);
        sh::run(&mut command)
    };
    twice("tests", tests)?;
    // Arguments choose some of cargo's tests.
    if args.is_empty() { twice("tests in the virtual machine", || vm::vm_test(&[])) } else { Ok(()) }
}

/// What fails twice is broken. What fails once is a race, most of them between a test and the kernel: it is said here, by name above,
/// and is to be mended all the same.
fn twice(what: &str, run: impl Fn() -> Result<()>) -> Result<()> {
    run().or_else(|error| {
        println!(
            "RETRY: {what} failed and are run once more; each of them is a race to be mended: {error:#}"
        );
        run()
    })
}
