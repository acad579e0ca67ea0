//! `rctl ps`: list containers.

use proto_engine::v1;
use serde_json::{Value, json};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::format::Format;
use crate::output::table::Table;
use crate::output::time::{ago, human_size, stamp};

/// Flags of `ps`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Format output: json, table TEMPLATE or TEMPLATE
    #[arg(long, value_parser = |text: &str| Format::parse(text).map(|_| text.to_owned()))]
    format: Option<String>,
    /// Show the last created containers, in whatever state
    #[arg(short = 'n', long, value_name = "N", default_value_t = 0)]
    last: u32,
    /// Show the latest created container, in whatever state
    #[arg(short, long)]
    latest: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Display ids only
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

/// Lists containers with docker's columns.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let request = v1::ListRequest {
        all: args.all,
        filters: args.filter.clone(),
        limit: if args.latest { 1 } else { args.last },
        size: args.size,
    };
    let containers = client.engine_containers().list(request).await?.into_inner().containers;
    if args.quiet {
        for container in &containers {
            outln!("{}", id(&container.id, args.no_trunc));
        }
        return Ok(0);
    }
    if let Some(format) = &args.format {
        let format = Format::parse(format).map_err(Failure::Usage)?;
        let records: Vec<Value> = containers.iter().map(|container| record(container, &args)).collect();
        raw!("{}", format.render(&records).map_err(Failure::Local)?);
        return Ok(0);
    }
    let mut titles = vec!["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"];
    if args.size {
        titles.push("SIZE");
    }
    let mut table = Table::new(&titles);
    for container in &containers {
        table.row(row(container, &args));
    }
    out!("{}", table.render());
    Ok(0)
}

/// docker's fields.
fn record(container: &v1::Container, args: &Args) -> Value {
    let mut labels: Vec<String> =
        container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    json!({
        "ID": id(&container.id, args.no_trunc),
        "Image": container.image,
        "Command": command(&container.command, args.no_trunc),
        "CreatedAt": stamp(container.created),
        "RunningFor": ago(container.created),
        "State": container.state,
        "Status": container.status,
        "Ports": "",
        "Names": container.names.join(","),
        "Labels": labels.join(","),
        "Mounts": container.mounts.join(","),
        "Networks": container.network,
        "Size": format!("{} (virtual {})", human_size(container.size_rw), human_size(container.size_root)),
    })
}

fn row(container: &v1::Container, args: &Args) -> Vec<String> {
    let mut row = vec![
        id(&container.id, args.no_trunc),
        container.image.clone(),
        command(&container.command, args.no_trunc),
        ago(container.created),
        container.status.clone(),
        String::new(),
        container.names.join(","),
    ];
    if args.size {
        row.push(format!("{} (virtual {})", human_size(container.size_rw), human_size(container.size_root)));
    }
    row
}

/// docker's twelve digits of an id that is made up; the ids of other clients are names and stay whole.
pub fn id(id: &str, whole: bool) -> String {
    if !whole && id.len() == 64 { id[..12].to_owned() } else { id.to_owned() }
}

fn command(command: &str, whole: bool) -> String {
    if whole || command.chars().count() <= 20 {
        return format!("\"{command}\"");
    }
    format!("\"{}\u{2026}\"", command.chars().take(19).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_commands_and_ids_are_cut_as_docker_cuts_them() {
        assert_eq!(command("sleep 1", false), "\"sleep 1\"");
        assert_eq!(command("sh -c while true; do date; done", false), "\"sh -c while true; d\u{2026}\"");
        assert_eq!(id(&"a".repeat(64), false).len(), 12);
        assert_eq!(id("redis-server-of-somebody", false), "redis-server-of-somebody");
    }
}
