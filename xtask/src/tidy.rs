//! `cargo xtask tidy`: the edges that ARCHITECTURE.md promises, read from cargo's metadata, and rules on sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use harness::{points, sh};

use crate::build;
use crate::root::root;
use crate::security;

const FRONTS: &[&str] = &["api", "engine"];
const ROOMS: &[&str] = &[
    "container",
    "content",
    "diff",
    "events",
    "gc",
    "image",
    "lease",
    "logs",
    "metadata",
    "namespace",
    "snapshot",
    "task",
];
/// What a room may name besides libraries: `metadata`, `events`, and what is listed here.
const ROOM_EDGES: &[(&str, &[&str])] =
    &[("image", &["content", "snapshot", "diff"]), ("diff", &["snapshot"])];
/// Who may name the store's library.
const STORE: &str = "metadata";
/// Where every queue is listed, with its bound and what happens when it is full.
const QUEUES: &str = "docs/queues.md";
/// Libraries that a program which forks must not have.
const ASYNC: &[&str] = &["tokio", "tonic", "ttrpc"];

/// Checks all; the error lists every broken rule.
pub fn tidy() -> Result<()> {
    let edges = edges()?;
    let mut broken = Vec::new();
    for (name, dependencies) in &edges {
        check_crate(name, dependencies, &mut broken);
    }
    let queues = std::fs::read_to_string(root().join(QUEUES)).with_context(|| format!("read {QUEUES}"))?;
    for file in sources()? {
        check_source(&file, &mut broken)?;
        check_queues(&file, &queues, &mut broken)?;
    }
    check_marks(&mut broken)?;
    security::check(&root(), &mut broken)?;
    if !broken.is_empty() {
        bail!("{} rules are broken:\n  {}", broken.len(), broken.join("\n  "));
    }
    Ok(())
}

/// Crate to what it depends on, tests' dependencies left out.
fn edges() -> Result<BTreeMap<String, BTreeSet<String>>> {
    let text = sh::read(build::cargo(&root()).args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("read cargo's metadata")?;
    let mut edges = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        let normal = package["dependencies"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|dependency| dependency["kind"].is_null());
        edges.insert(
            name,
            normal.filter_map(|dependency| dependency["name"].as_str().map(str::to_owned)).collect(),
        );
    }
    Ok(edges)
}

fn check_crate(name: &str, dependencies: &BTreeSet<String>, broken: &mut Vec<String>) {
    let mut refuse = |what: &str, why: &str| broken.push(format!("{name} depends on {what}: {why}"));
    let has = |what: &str| dependencies.contains(what);
    if ROOMS.contains(&name) {
        for other in FRONTS.iter().chain(&["flows", "runtimed"]) {
            if has(other) {
                refuse(other, "a room knows no front, no flow and no daemon");
            }
        }
        let allowed = ROOM_EDGES.iter().find(|(room, _)| *room == name).map_or(&[][..], |(_, edges)| edges);
        for other in ROOMS {
            let fine = ["metadata", "events", "gc"].contains(other) || allowed.contains(other);
            if has(other) && !fine {
                refuse(other, "a room knows no sibling");
            }
        }
    }
    if name == STORE && ROOMS.iter().any(|room| *room != name && has(room)) {
        refuse("a room", "metadata knows no room");
    }
    if FRONTS.contains(&name) {
        for other in FRONTS.iter().filter(|other| **other != name) {
            if has(other) {
                refuse(other, "fronts know each other not at all");
            }
        }
    }
    if name != STORE && has("sled") {
        refuse("sled", "only metadata names the store");
    }
    if name == "runc-rs" {
        for other in ASYNC {
            if has(other) {
                refuse(other, "the executor forks, and so stays single-threaded");
            }
        }
    }
    if name != "sys" && has("libc") {
        refuse("libc", "raw system calls live in libs/sys");
    }
    let programs = ["runtimed", "containerd-shim-runtimed-v2", "runc-rs", "rctl"];
    for other in programs {
        // The targets stand for whoever writes to a program; what is counted is a part of one.
        if name != other && !["fuzz-targets", "counts"].contains(&name) && has(other) {
            refuse(other, "programs are processes, and never linked");
        }
    }
}

/// Each mark has a name of its own, of the form that is agreed on.
fn check_marks(broken: &mut Vec<String>) -> Result<()> {
    let points = points::all(&root())?;
    for point in points.iter().filter(|point| !point.is_well_named()) {
        let form = format!("{}.<verb>.<step>", point.room);
        broken.push(format!("{}: the mark {} is not of the form {form}", point.file.display(), point.name));
    }
    for point in points::repeated(&points) {
        broken.push(format!("{}: the mark {} stands elsewhere, too", point.file.display(), point.name));
    }
    Ok(())
}

fn sources() -> Result<Vec<String>> {
    let list = sh::read(Command::new("git").current_dir(root()).args(["ls-files", "*.rs"]))?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// A channel has a bound, and the file that makes it is in the list of queues. Tests may do as they like.
fn check_queues(file: &str, queues: &str, broken: &mut Vec<String>) -> Result<()> {
    let path = root().join(file);
    let tests = ["tests", "tests.rs", "doors.rs", "xtask"];
    let of_tests = Path::new(file).iter().any(|part| tests.iter().any(|name| part == *name));
    if of_tests || !path.exists() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    for endless in ["unbounded_channel", "UnboundedSender", "mpsc::channel()", "unbounded("] {
        if code.contains(endless) {
            broken.push(format!("{file}: {endless}: every queue has a bound"));
        }
    }
    let makes = ["mpsc::channel(", "sync_channel(", "broadcast::channel(", "broadcast::Sender::new("];
    if makes.iter().any(|make| code.contains(make)) && !queues.contains(&format!("`{file}`")) {
        broken.push(format!(
            "{file} makes a queue: {QUEUES} has to say its bound, and what happens when it is full"
        ));
    }
    Ok(())
}

fn check_source(file: &str, broken: &mut Vec<String>) -> Result<()> {
    let path = root().join(file);
    if !path.exists() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {file}"))?;
    let first = text.lines().find(|line| !line.starts_with("#![") && !line.trim().is_empty());
    if !first.is_some_and(|line| line.starts_with("//!")) {
        broken.push(format!("{file}: a module says first, with //!, what it is for"));
    }
    let outside = !Path::new(file).starts_with("libs/sys") && !Path::new(file).starts_with("xtask");
    let keyword = ["uns", "afe"].concat();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let raw = code.contains(&format!("{keyword} {{"))
            || code.contains(&format!("{keyword} fn"))
            || code.contains(&format!("{keyword} impl"));
        if outside && raw {
            broken.push(format!("{file}:{}: {keyword} code lives in libs/sys", number + 1));
        }
    }
    Ok(())
}
