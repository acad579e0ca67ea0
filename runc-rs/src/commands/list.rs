//! `list`: every container below the root, as a table or as JSON.

use std::os::unix::fs::MetadataExt;

use super::state::Report;
use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::error::{Context, Error, Result};
use crate::state::{Container, validate_id};

/// The verb.
pub const VERB: Verb = Verb {
    name: "list",
    args: "",
    about: "lists containers started by runc with the given root",
    flags: &[
        Flag::value("format", Some("f"), "value", "select one of: table or json (default: \"table\")"),
        Flag::switch("quiet", Some("q"), "display only container IDs"),
    ],
    arity: Arity::Exact(0),
    flags_stop: false,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let containers = all(global)?;
    if matches.flag("quiet") {
        containers.iter().try_for_each(|(c, _)| crate::out::line(&c.state.id))?;
        return Ok(0);
    }
    let reports: Vec<Report<'_>> =
        containers.iter().map(|(c, owner)| Report::new(c, owner.clone())).collect::<Result<_>>()?;
    match matches.value("format").unwrap_or("table") {
        "table" => crate::out::line(table(&reports).trim_end())?,
        "json" => {
            let none = reports.is_empty();
            let text = serde_json::to_string(&reports).map_err(|e| Error::new(e.to_string()))?;
            // As Go prints a list that nothing was ever put into.
            crate::out::line(if none { "null" } else { &text })?;
        }
        _ => return Err(Error::new("invalid format option")),
    }
    Ok(0)
}

/// Containers with the names of their owners; what vanishes or cannot be read meanwhile is left out.
fn all(global: &Global) -> Result<Vec<(Container, String)>> {
    let entries = match std::fs::read_dir(&global.root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("read {}", global.root.display()))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.context("read the root directory")?;
        let (Ok(name), Ok(meta)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
        if !meta.is_dir() || validate_id(&name).is_err() {
            continue;
        }
        match Container::load(&global.root, &name) {
            Ok(container) => found.push((container, user(meta.uid()))),
            Err(e) => crate::log::warn(format!("load container {name}: {e}")),
        }
    }
    found.sort_by(|a, b| a.0.state.id.cmp(&b.0.state.id));
    Ok(found)
}

/// The name of a user of the host; `#uid` for one without.
fn user(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid)).then(|| fields[0].to_owned())
    });
    name.unwrap_or_else(|| format!("#{uid}"))
}

/// Columns as Go's tabwriter sets them (cells at least 12 wide, 3 between).
fn table(reports: &[Report<'_>]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned)];
    rows.extend(reports.iter().map(|r| {
        let status = r.status.as_str().to_owned();
        [
            r.id.to_owned(),
            r.pid.to_string(),
            status,
            r.bundle.to_owned(),
            r.created.to_owned(),
            r.owner.clone(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|r| r[column].len() + 3).max().unwrap_or(0).max(12);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let line = |row: &[String; 6]| {
        let cells: String = row.iter().zip(&widths).map(|(cell, w)| format!("{cell:<w$}")).collect();
        cells + &row[5] + "\n"
    };
    rows.iter().map(line).collect()
}
