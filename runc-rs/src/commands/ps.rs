//! `ps`: the processes of a container, as the host sees them.

use std::process::Command;

use crate::cli::{Arity, Flag, Global, Matches, Verb};
use crate::error::{Context, Error, Result};
use crate::out;
use crate::state::{Container, Status};
use crate::steps::hooks;

/// The verb.
pub const VERB: Verb = Verb {
    name: "ps",
    args: "<container-id> [ps options]",
    about: "ps displays the processes running inside a container",
    flags: &[Flag::value(
        "format",
        Some("f"),
        "value",
        "select one of: table(default) or json (default: \"table\")",
    )],
    arity: Arity::Min(1),
    flags_stop: true,
    run,
};

fn run(global: &Global, matches: &Matches) -> Result<i32> {
    let container = Container::load(&global.root, matches.id()?)?;
    let pids = pids(&container)?;
    match matches.value("format").unwrap_or("table") {
        "table" => table(&pids, &matches.args()[1..])?,
        // Go prints a list that was never made as null, and readers expect it.
        "json" if pids.is_empty() => out::line("null")?,
        "json" => out::line(&serde_json::to_string(&pids).map_err(|e| Error::new(e.to_string()))?)?,
        _ => return Err(Error::new("invalid format option")),
    }
    Ok(0)
}

fn pids(container: &Container) -> Result<Vec<i32>> {
    let cgroup = container.cgroup()?;
    if container.status()? == Status::Stopped && !cgroup.exists() {
        return Ok(Vec::new());
    }
    Ok(cgroup.pids()?)
}

/// Runs ps(1) and keeps the lines of the container's processes.
fn table(pids: &[i32], args: &[String]) -> Result<()> {
    let default = ["-ef".to_owned()];
    let args = if args.is_empty() { &default[..] } else { args };
    let output = Command::new("ps").args(args).output().context("exec: \"ps\"")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let status = hooks::describe(output.status);
        return Err(Error::new(format!("{status}: {}", said.trim_end())));
    }
    select(&String::from_utf8_lossy(&output.stdout), pids)?.iter().try_for_each(|line| out::line(line))
}

/// The title, and the lines whose column PID is one of `pids`.
fn select<'a>(output: &'a str, pids: &[i32]) -> Result<Vec<&'a str>> {
    let mut lines = output.lines();
    let title = lines.next().unwrap_or_default();
    let column = title
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Error::new("couldn't find PID field in ps output"))?;
    let mut kept = vec![title];
    for line in lines.filter(|line| !line.is_empty()) {
        let field = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 = field.parse().map_err(|_| Error::new(format!("unable to parse pid: {field:?}")))?;
        if pids.contains(&pid) {
            kept.push(line);
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_chosen_by_the_column() {
        let output =
            "UID          PID    PPID CMD\nroot           1       0 init\nroot          22       1 sh\n";
        assert_eq!(select(output, &[22]).unwrap()[1..], ["root          22       1 sh"]);
        assert!(select("A B\n1 2\n", &[1]).unwrap_err().to_string().contains("couldn't find PID field"));
        assert!(select("PID\nx\n", &[1]).unwrap_err().to_string().contains("unable to parse pid"));
    }
}
