//! `cargo xtask fuzz`: libFuzzer over every target in `fuzz/`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use harness::sh;

use crate::root::root;
use crate::{build, packages};

/// What drives libFuzzer.
const CARGO_FUZZ: (&str, &str) = ("cargo-fuzz", "0.13.2");
/// Inputs are no longer than this many bytes: what parsers decide on fits.
const LONGEST: u32 = 16 << 10;
/// Megabytes that a target may have.
const MEMORY: u32 = 2048;
/// Seconds that one input may take.
const PATIENCE: u32 = 30;

/// Runs each target for so many seconds, beginning with its seeds and what was found earlier. What is found is kept in
/// `fuzz/artifacts`; the error names the targets.
pub fn fuzz(seconds: u64, only: &[String]) -> Result<()> {
    packages::install(packages::BUILD)?;
    packages::install(packages::FUZZ)?;
    let root = root();
    let all = targets(&root)?;
    if let Some(unknown) = only.iter().find(|name| !all.contains(name)) {
        bail!("there is no target {unknown:?}; there are {}", all.join(", "));
    }
    let tool = cargo_fuzz(&root)?;
    let mut found = Vec::new();
    for target in all.iter().filter(|name| only.is_empty() || only.contains(name)) {
        println!("=== {target}");
        if let Err(error) = run(&root, &tool, target, seconds) {
            println!("{target}: {error:#}");
            found.push(target.as_str());
        }
    }
    if !found.is_empty() {
        bail!("fuzzing found something, see fuzz/artifacts: {}", found.join(", "));
    }
    Ok(())
}

/// The names of the programs, in order.
fn targets(root: &Path) -> Result<Vec<String>> {
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

fn run(root: &Path, tool: &Path, target: &str, seconds: u64) -> Result<()> {
    let folder = |kind: &str| format!("fuzz/{kind}/{target}");
    std::fs::create_dir_all(root.join(folder("corpus"))).context("create the corpus")?;
    let kinds = ["corpus", "seeds", "regressions"].map(folder);
    let inputs = kinds.iter().filter(|folder| root.join(folder).is_dir());
    let mut command = Command::new(tool);
    command
        .current_dir(root)
        // The coverage that libFuzzer needs is behind flags of the compiler which are not stable.
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["fuzz", "run", "--sanitizer", "none", "--target-dir", "target/fuzz", target])
        .args(inputs)
        .arg("--")
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-timeout={PATIENCE}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg("-print_final_stats=1");
    sh::run(&mut command)
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
