//! `cargo xtask fuzz`: libFuzzer over every family of targets in `fuzz/`.

mod ledger;
mod program;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use harness::sh;

use crate::root::root;
use crate::{build, linked, packages};

/// What builds the programs with what libFuzzer needs.
const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");

/// What to do.
pub struct Plan {
    /// How long each family runs, by the clock on the wall.
    pub seconds: u64,
    /// How many run side by side.
    pub jobs: usize,
    /// These alone; all when none is named.
    pub only: Vec<String>,
}

/// Runs each family, beginning with its members' seeds, what was found earlier, and the corpus of earlier runs. What is found is kept in
/// `fuzz/artifacts`, and how long each ran in `fuzz/ledger.toml`; the error names the families.
pub fn fuzz(plan: &Plan) -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::FUZZ)?;
    let root = root();
    let all = families(&root)?;
    if let Some(unknown) = plan.only.iter().find(|name| !all.contains(name)) {
        bail!("there is no family {unknown:?}; there are {}", all.join(", "));
    }
    let folder = build_programs(&root)?;
    let chosen = all.into_iter().filter(|name| plan.only.is_empty() || plan.only.contains(name));
    let waiting = Mutex::new(chosen.collect::<VecDeque<_>>());
    let found = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs {
            scope.spawn(|| {
                while let Some(family) = next() {
                    if let Err(error) = one(&root, &folder, &family, plan.seconds) {
                        println!("{family}: {error:#}");
                        found.lock().unwrap_or_else(PoisonError::into_inner).push(family);
                    }
                }
            });
        }
    });
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !found.is_empty() {
        bail!("fuzzing found something, see fuzz/artifacts: {}", found.join(", "));
    }
    Ok(())
}

/// Runs a family and takes down how long, whatever came of it.
fn one(root: &Path, folder: &Path, family: &str, seconds: u64) -> Result<()> {
    println!("{family}: begins");
    let run = program::run(root, &folder.join(family), family, seconds)?;
    println!("{family}: {}", run.shown());
    ledger::note(&root.join("fuzz/ledger.toml"), family, &run)?;
    match run.found {
        Some(what) => bail!("{what}"),
        None => Ok(()),
    }
}

/// The names of the programs, in order.
fn families(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Builds all programs; returns a folder of copies, which a later build leaves alone.
fn build_programs(root: &Path) -> Result<PathBuf> {
    let target = build::target_folder(root).join("fuzz");
    let mut command = Command::new(cargo_fuzz(root)?);
    command
        .current_dir(root)
        // The coverage that libFuzzer needs is behind flags of the compiler which are not stable.
        .env("RUSTC_BOOTSTRAP", "1")
        // These two are for the other workspace.
        .env_remove("CARGO_UNSTABLE_FEATURE_UNIFICATION")
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .args(["fuzz", "build", "--sanitizer", "none", "--target-dir"])
        .arg(&target);
    sh::run(&mut command)?;
    let built = target.join(linked::GLIBC).join("release");
    let copies = target.join("programs");
    std::fs::create_dir_all(&copies).with_context(|| format!("create {}", copies.display()))?;
    for family in families(root)? {
        build::gather(&built.join(family), &copies)?;
    }
    Ok(copies)
}

/// The one in PATH, or one that is built below the build folder.
fn cargo_fuzz(root: &Path) -> Result<PathBuf> {
    let (name, version) = CARGO_FUZZ;
    if sh::has(name) {
        return Ok(name.into());
    }
    let tools = root.join("target/tools");
    let program = tools.join("bin").join(name);
    if !program.is_file() {
        let mut install = build::cargo(root);
        install
            .args(["install", "--quiet", "--locked", "--version", version, "--root"])
            .arg(&tools)
            .arg(name);
        sh::run(&mut install)?;
    }
    Ok(program)
}
