//! `rctl snapshots`: the layers of file systems.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use client::Client;
use proto_containerd::services::snapshots as api;
use proto_containerd::types::Mount;
use serde_json::json;

use super::{label_mask, labels, pairs, present, pretty, rfc3339};
use crate::commands::each;
use crate::context::Context;
use crate::failure::{Result, plain};
use crate::output::table::Table;
use crate::output::time::binary_size;

/// Flags of `snapshots`.
#[derive(Debug, Args)]
pub struct Snapshots {
    /// The snapshotter
    #[arg(long, global = true, env = "CONTAINERD_SNAPSHOTTER", default_value = "overlayfs")]
    snapshotter: String,
    #[command(subcommand)]
    verb: Verb,
}

/// Verbs of `snapshots`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a committed snapshot of an active one
    Commit {
        /// The name of the committed one
        name: String,
        /// The active one
        key: String,
    },
    /// Tell about a snapshot, as JSON
    Info {
        /// The snapshot
        key: String,
    },
    /// Set labels, or clear those without a value
    Label {
        /// The snapshot
        key: String,
        /// The labels
        #[arg(required = true, value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// List snapshots
    #[command(visible_alias = "list")]
    Ls {
        /// Only snapshots that one of these filters takes
        filters: Vec<String>,
    },
    /// Print the commands that mount an active snapshot
    #[command(visible_aliases = ["m", "mount"])]
    Mounts {
        /// Where to
        target: String,
        /// The snapshot
        key: String,
    },
    /// Make an active snapshot of a committed one
    Prepare(Make),
    /// Make a read-only snapshot of a committed one
    View(Make),
    /// Remove snapshots
    #[command(visible_aliases = ["remove", "delete", "del"])]
    Rm {
        /// The snapshots
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Show what stands on what
    Tree,
    /// Tell what snapshots take, without what they stand on
    Usage {
        /// Print bytes
        #[arg(short)]
        bytes: bool,
        /// The snapshots; none means all
        keys: Vec<String>,
    },
}

/// Flags of `prepare` and `view`.
#[derive(Debug, Args)]
pub struct Make {
    /// Print the commands that mount it here
    #[arg(short, long, value_name = "FOLDER")]
    target: Option<String>,
    /// The new snapshot
    key: String,
    /// What it stands on; none means nothing
    #[arg(default_value = "")]
    parent: String,
}

/// Carries a verb out.
pub async fn run(context: &Context, args: Snapshots) -> Result<u8> {
    let client = context.client().await?;
    let snapshotter = args.snapshotter;
    let mut snapshots = client.snapshots();
    match args.verb {
        Verb::Commit { name, key } => {
            let request = api::CommitSnapshotRequest { snapshotter, name, key, ..Default::default() };
            snapshots.commit(request).await?;
        }
        Verb::Info { key } => {
            let answer = snapshots.stat(api::StatSnapshotRequest { snapshotter, key }).await?.into_inner();
            info(&present(answer.info, "snapshot")?)?;
        }
        Verb::Label { key, labels: arguments } => {
            let set = pairs(&arguments)?;
            let update_mask = label_mask(&set);
            let info = Some(api::Info { name: key, labels: set, ..Default::default() });
            let request = api::UpdateSnapshotRequest { snapshotter, info, update_mask };
            let answer = snapshots.update(request).await?.into_inner();
            outln!("{}", labels(&present(answer.info, "snapshot")?.labels));
        }
        Verb::Ls { filters } => list(all(&client, snapshotter, filters).await?),
        Verb::Mounts { target, key } => {
            let answer = snapshots.mounts(api::MountsRequest { snapshotter, key }).await?.into_inner();
            mounts(&target, &answer.mounts);
        }
        Verb::Prepare(make) => {
            let labels = BTreeMap::new();
            let request =
                api::PrepareSnapshotRequest { snapshotter, key: make.key, parent: make.parent, labels };
            let answer = snapshots.prepare(request).await?.into_inner();
            make.target.iter().for_each(|target| mounts(target, &answer.mounts));
        }
        Verb::View(make) => {
            let labels = BTreeMap::new();
            let request =
                api::ViewSnapshotRequest { snapshotter, key: make.key, parent: make.parent, labels };
            let answer = snapshots.view(request).await?.into_inner();
            make.target.iter().for_each(|target| mounts(target, &answer.mounts));
        }
        Verb::Rm { keys } => return remove(&client, &snapshotter, &keys).await,
        Verb::Tree => out!("{}", tree(&all(&client, snapshotter, Vec::new()).await?)),
        Verb::Usage { bytes, keys } => return usage(&client, snapshotter, bytes, keys).await,
    }
    Ok(0)
}

async fn all(client: &Client, snapshotter: String, filters: Vec<String>) -> Result<Vec<api::Info>> {
    let request = api::ListSnapshotsRequest { snapshotter, filters };
    let mut pages = client.snapshots().list(request).await?.into_inner();
    let mut all = Vec::new();
    while let Some(page) = pages.message().await? {
        all.extend(page.info);
    }
    Ok(all)
}

async fn remove(client: &Client, snapshotter: &str, keys: &[String]) -> Result<u8> {
    each(keys, |key| {
        let mut snapshots = client.snapshots();
        let request = api::RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key };
        async move {
            snapshots.remove(request).await?;
            Ok(())
        }
    })
    .await
}

async fn usage(client: &Client, snapshotter: String, bytes: bool, keys: Vec<String>) -> Result<u8> {
    let keys = if keys.is_empty() {
        all(client, snapshotter.clone(), Vec::new()).await?.into_iter().map(|info| info.name).collect()
    } else {
        keys
    };
    let mut table = Table::new(&["KEY", "SIZE", "INODES"]);
    for key in keys {
        let request = api::UsageRequest { snapshotter: snapshotter.clone(), key: key.clone() };
        let used = client.snapshots().usage(request).await?.into_inner();
        let size = if bytes { used.size.to_string() } else { binary_size(used.size.max(0).unsigned_abs()) };
        table.row(vec![key, size, used.inodes.to_string()]);
    }
    out!("{}", table.render());
    Ok(0)
}

fn info(info: &api::Info) -> Result<()> {
    let object = json!({
        "Kind": kind(info),
        "Name": info.name,
        "Parent": info.parent,
        "Labels": info.labels,
        "Created": rfc3339(info.created_at),
        "Updated": rfc3339(info.updated_at),
    });
    outln!("{}", pretty(&object)?);
    Ok(())
}

fn list(infos: Vec<api::Info>) {
    let mut table = Table::new(&["KEY", "PARENT", "KIND"]);
    for info in infos {
        let kind = kind(&info).to_owned();
        table.row(vec![info.name, info.parent, kind]);
    }
    out!("{}", table.render());
}

/// The commands that a shell would mount the snapshot with.
fn mounts(target: &str, mounts: &[Mount]) {
    for mount in mounts {
        let at = if mount.target.is_empty() {
            target.to_owned()
        } else {
            format!("{}/{}", target.trim_end_matches('/'), mount.target.trim_start_matches('/'))
        };
        let (kind, source, options) = (&mount.r#type, &mount.source, mount.options.join(","));
        outln!("{}", plain(&format!("mount -t {kind} {source} {at} -o {options}")));
    }
}

/// What stands on nothing is at the margin; each level further in is a snapshot on the one above.
fn tree(infos: &[api::Info]) -> String {
    let mut text = String::new();
    let mut rest: Vec<(&api::Info, usize)> = children(infos, "").map(|info| (info, 0)).collect();
    rest.reverse();
    while let Some((info, level)) = rest.pop() {
        let branch = if level > 0 { "\\_" } else { "" };
        text.push_str(&format!("{}{branch} {}\n", "  ".repeat(level), plain(&info.name)));
        let first = rest.len();
        rest.extend(children(infos, &info.name).map(|child| (child, level + 1)));
        rest[first..].reverse();
    }
    text
}

fn children<'a>(infos: &'a [api::Info], parent: &'a str) -> impl Iterator<Item = &'a api::Info> {
    infos.iter().filter(move |info| info.parent == parent && !info.name.is_empty())
}

fn kind(info: &api::Info) -> &'static str {
    match info.kind() {
        api::Kind::View => "View",
        api::Kind::Active => "Active",
        api::Kind::Committed => "Committed",
        api::Kind::Unknown => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_on_what() {
        let info = |name: &str, parent: &str| api::Info {
            name: name.to_owned(),
            parent: parent.to_owned(),
            ..Default::default()
        };
        let infos = [info("c", "b"), info("a", ""), info("b", "a"), info("d", "a"), info("e", "")];
        assert_eq!(tree(&infos), " a\n  \\_ b\n    \\_ c\n  \\_ d\n e\n");
    }
}
