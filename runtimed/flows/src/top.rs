//! The processes of a container, as ps(1) shows them.

use std::collections::HashSet;

use errors::{Context, Error, Kind, Result};
use ids::{ContainerId, Namespace};

use crate::Flows;

/// What ps(1) printed, kept to the container's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The headings.
    pub titles: Vec<String>,
    /// A row each process.
    pub rows: Vec<Vec<String>>,
}

impl Flows {
    /// Runs the host's ps(1) with `args` (empty: `-ef`) and keeps the container's lines, as docker does.
    pub async fn top(&self, namespace: &Namespace, id: &ContainerId, args: &[String]) -> Result<Table> {
        let pids: HashSet<u32> = match self.rooms().tasks.pids(namespace, id).await {
            Err(error) if error.is_not_found() => HashSet::new(),
            pids => pids?.into_iter().map(|(pid, _)| pid).collect(),
        };
        // Without a process it has ended, whether its task is gone yet or not.
        if pids.is_empty() {
            return Err(Error::precondition(format!("container {id} is not running")));
        }
        let default = ["-ef".to_owned()];
        let args = if args.is_empty() { &default[..] } else { args };
        let output = tokio::process::Command::new("ps")
            .args(args)
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .context(|| format!("run ps {}", args.join(" ")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::new(Kind::InvalidArgument, format!("ps {}: {}", args.join(" "), said.trim())));
        }
        parse(&String::from_utf8_lossy(&output.stdout), &pids)
    }
}

/// Splits ps's table; the last column takes the rest of its line.
fn parse(text: &str, pids: &HashSet<u32>) -> Result<Table> {
    let mut lines = text.lines();
    let titles: Vec<String> =
        lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let column = titles
        .iter()
        .position(|title| title == "PID")
        .ok_or_else(|| Error::invalid("Couldn't find PID field in ps output"))?;
    let mut rows = Vec::new();
    for line in lines {
        let row = split(line, titles.len());
        let pid = row.get(column).and_then(|field| field.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            rows.push(row);
        }
    }
    Ok(Table { titles, rows })
}

fn split(line: &str, columns: usize) -> Vec<String> {
    let mut rest = line.trim_start();
    let mut fields = Vec::new();
    while fields.len() + 1 < columns {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        fields.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    fields.push(rest.trim_end().to_owned());
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_containers_lines_and_whole_commands() {
        let text = "UID   PID  PPID CMD\nroot    1     0 init\nroot   42     1 sh -c  sleep 9\n";
        let table = parse(text, &HashSet::from([42])).unwrap();
        assert_eq!(table.titles, ["UID", "PID", "PPID", "CMD"]);
        assert_eq!(table.rows, [["root", "42", "1", "sh -c  sleep 9"]]);
        assert!(parse("A B\n", &HashSet::new()).is_err());
    }
}
