//! `rctl leases`: what keeps content and snapshots from being collected.

use std::time::{Duration, SystemTime};

use clap::Subcommand;
use proto_containerd::services::leases as api;

use super::{labels, pairs, present, rfc3339};
use crate::commands::each;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::table::Table;
use crate::output::time::go_duration;

/// When the collector may take a lease (containerd's garbage collection, "docs/garbage-collection.md").
const EXPIRE: &str = "containerd.io/gc.expire";

/// Verbs of `leases`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List leases
    #[command(visible_alias = "list")]
    Ls {
        /// Print ids only
        #[arg(short, long)]
        quiet: bool,
        /// Only leases that one of these filters takes
        filters: Vec<String>,
    },
    /// Create a lease
    Create {
        /// Its id; none means that one is made up
        #[arg(long, default_value = "")]
        id: String,
        /// How long it lasts; 0 means until it is removed
        #[arg(short = 'x', long, default_value = "24h", value_parser = expires)]
        expires: Duration,
        /// Its labels
        #[arg(value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Remove leases
    #[command(visible_aliases = ["remove", "delete", "del"])]
    Rm {
        /// Collect what nothing else keeps before this returns
        #[arg(long)]
        sync: bool,
        /// The leases
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

/// Carries a verb out.
pub async fn run(context: &Context, verb: Verb) -> Result<u8> {
    let client = context.client().await?;
    match verb {
        Verb::Ls { quiet, filters } => {
            let answer = client.leases().list(api::ListRequest { filters }).await?.into_inner();
            list(answer.leases, quiet);
            Ok(0)
        }
        Verb::Create { id, expires, labels } => {
            let mut labels = pairs(&labels)?;
            if !expires.is_zero() {
                labels.insert(EXPIRE.to_owned(), rfc3339(Some((SystemTime::now() + expires).into())));
            }
            let id = if id.is_empty() { made_up()? } else { id };
            let answer = client.leases().create(api::CreateRequest { id, labels }).await?.into_inner();
            outln!("{}", present(answer.lease, "lease")?.id);
            Ok(0)
        }
        Verb::Rm { sync, ids } => {
            // Only the last removal has to wait for the collection: it takes what all of them let go.
            let last = ids.last().cloned().unwrap_or_default();
            each(&ids, |id| {
                let mut leases = client.leases();
                let sync = sync && id == last;
                async move {
                    leases.delete(api::DeleteRequest { id: id.clone(), sync }).await?;
                    outln!("{id}");
                    Ok(())
                }
            })
            .await
        }
    }
}

fn list(leases: Vec<api::Lease>, quiet: bool) {
    if quiet {
        return leases.iter().for_each(|lease| outln!("{}", lease.id));
    }
    let mut table = Table::new(&["ID", "CREATED AT", "LABELS"]);
    for lease in leases {
        table.row(vec![lease.id, rfc3339(lease.created_at), labels(&lease.labels)]);
    }
    out!("{}", table.render());
}

fn expires(text: &str) -> std::result::Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    go_duration(text).ok_or_else(|| format!("invalid duration {text:?}: 24h, 90m or 30s is expected"))
}

/// Two made up at the same instant by different programs differ too.
fn made_up() -> Result<String> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let since = since.map_err(|error| Failure::local("read the clock", error))?;
    Ok(format!("{}-{:x}", since.as_nanos(), std::process::id()))
}
