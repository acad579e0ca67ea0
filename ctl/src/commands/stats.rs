//! `rctl stats`.

use proto_engine::v1;
use serde_json::{Value, json};

use super::ps::id;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::format::Format;
use crate::output::table::Table;
use crate::output::time::{binary_size, human_size};
use crate::terminal;

/// Flags of `stats`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Format output: json, table TEMPLATE or TEMPLATE
    #[arg(long, value_parser = |text: &str| Format::parse(text).map(|_| text.to_owned()))]
    format: Option<String>,
    /// Show one result and end
    #[arg(long)]
    no_stream: bool,
    /// Do not truncate output
    #[arg(long)]
    no_trunc: bool,
    /// The containers; none means all that run
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Shows what containers use, every second until interrupted.
pub async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client().await?;
    let request = v1::StatsRequest { ids: args.containers.clone(), stream: !args.no_stream, all: args.all };
    let mut rounds = client.engine_containers().stats(request).await?.into_inner();
    let format = args.format.as_deref().map(Format::parse).transpose().map_err(Failure::Usage)?;
    while let Some(round) = rounds.message().await? {
        if !args.no_stream && terminal::stdout_is_terminal() {
            // Back to the corner, and clear below: what stood there is the round before.
            raw!("\x1b[H\x1b[J");
        }
        let text = match &format {
            Some(format) => {
                let records: Vec<Value> = round.samples.iter().map(|sample| record(sample, &args)).collect();
                format.render(&records).map_err(Failure::Local)?
            }
            None => table(&round.samples, &args),
        };
        raw!("{text}");
    }
    Ok(0)
}

fn record(sample: &v1::Sample, args: &Args) -> Value {
    let share = if sample.memory_limit > 0 {
        sample.memory_usage as f64 / sample.memory_limit as f64 * 100.0
    } else {
        0.0
    };
    let sizes = |a: u64, b: u64| {
        let size = |bytes: u64| human_size(i64::try_from(bytes).unwrap_or(i64::MAX));
        format!("{} / {}", size(a), size(b))
    };
    json!({
        "Container": id(&sample.id, args.no_trunc),
        "ID": id(&sample.id, args.no_trunc),
        "Name": sample.name,
        "CPUPerc": format!("{:.2}%", sample.cpu_percent),
        "MemUsage": format!("{} / {}", binary_size(sample.memory_usage), binary_size(sample.memory_limit)),
        "MemPerc": format!("{share:.2}%"),
        "NetIO": sizes(sample.network_received, sample.network_sent),
        "BlockIO": sizes(sample.block_read, sample.block_write),
        "PIDs": sample.pids.to_string(),
    })
}

fn table(samples: &[v1::Sample], args: &Args) -> String {
    let mut table = Table::new(&[
        "CONTAINER ID",
        "NAME",
        "CPU %",
        "MEM USAGE / LIMIT",
        "MEM %",
        "NET I/O",
        "BLOCK I/O",
        "PIDS",
    ]);
    for sample in samples {
        let record = record(sample, args);
        let fields = ["ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"];
        table.row(fields.map(|field| record[field].as_str().unwrap_or_default().to_owned()).into());
    }
    table.render()
}
