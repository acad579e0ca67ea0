//! `rctl containers`: containerd's records of containers, whoever made them.

use clap::Subcommand;
use client::Client;
use proto_containerd::services::{containers as api, snapshots, tasks};
use serde_json::{Value, json};
use tonic::Code;

use super::{label_mask, labels, pairs, present, pretty, rfc3339};
use crate::commands::each;
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::table::Table;

/// Verbs of `containers`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List containers
    #[command(visible_alias = "list")]
    Ls {
        /// Print ids only
        #[arg(short, long)]
        quiet: bool,
        /// Only containers that one of these filters takes
        filters: Vec<String>,
    },
    /// Tell about a container, as JSON
    Info {
        /// Only its spec
        #[arg(long)]
        spec: bool,
        /// The container's id
        container: String,
    },
    /// Set labels, or clear those without a value
    Label {
        /// The container's id
        container: String,
        /// The labels
        #[arg(required = true, value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Remove containers that have no task
    #[command(visible_aliases = ["remove", "delete", "del"])]
    Rm {
        /// Keep the snapshot of the root
        #[arg(long)]
        keep_snapshot: bool,
        /// The containers' ids
        #[arg(required = true, value_name = "CONTAINER")]
        containers: Vec<String>,
    },
}

/// Carries a verb out.
pub async fn run(context: &Context, verb: Verb) -> Result<u8> {
    let client = context.client().await?;
    match verb {
        Verb::Ls { quiet, filters } => {
            let answer = client.containers().list(api::ListContainersRequest { filters }).await?.into_inner();
            list(answer.containers, quiet);
            Ok(0)
        }
        Verb::Info { spec, container } => {
            let object = object(get(&client, container).await?)?;
            outln!("{}", pretty(if spec { &object["Spec"] } else { &object })?);
            Ok(0)
        }
        Verb::Label { container, labels } => label(&client, container, &labels).await,
        Verb::Rm { keep_snapshot, containers } => {
            let client = &client;
            each(&containers, |id| remove(client, id, keep_snapshot)).await
        }
    }
}

fn list(containers: Vec<api::Container>, quiet: bool) {
    if quiet {
        return containers.iter().for_each(|container| outln!("{}", container.id));
    }
    let mut table = Table::new(&["CONTAINER", "IMAGE", "RUNTIME"]);
    for container in containers {
        let image = if container.image.is_empty() { "-".to_owned() } else { container.image };
        table.row(vec![container.id, image, container.runtime.unwrap_or_default().name]);
    }
    out!("{}", table.render());
}

async fn get(client: &Client, id: String) -> Result<api::Container> {
    let answer = client.containers().get(api::GetContainerRequest { id }).await?.into_inner();
    present(answer.container, "container")
}

/// The record with the names that `ctr` gives its parts; a spec is shown as the JSON that it holds.
fn object(container: api::Container) -> Result<Value> {
    use base64::Engine;
    let opaque = |any: &prost_types::Any| {
        let value = base64::engine::general_purpose::STANDARD.encode(&any.value);
        json!({ "type_url": any.type_url, "value": value })
    };
    let spec = match &container.spec {
        Some(spec) => serde_json::from_slice(&spec.value)
            .map_err(|error| Failure::local(format!("read the spec of {}", container.id), error))?,
        None => Value::Null,
    };
    let runtime = container.runtime.unwrap_or_default();
    Ok(json!({
        "ID": container.id,
        "Labels": container.labels,
        "Image": container.image,
        "Runtime": { "Name": runtime.name, "Options": runtime.options.as_ref().map(opaque) },
        "SnapshotKey": container.snapshot_key,
        "Snapshotter": container.snapshotter,
        "CreatedAt": rfc3339(container.created_at),
        "UpdatedAt": rfc3339(container.updated_at),
        "Extensions": container.extensions.iter().map(|(name, any)| (name.clone(), opaque(any))).collect::<serde_json::Map<_, _>>(),
        "SandboxID": container.sandbox,
        "Spec": spec,
    }))
}

async fn label(client: &Client, id: String, arguments: &[String]) -> Result<u8> {
    let set = pairs(arguments)?;
    let update_mask = label_mask(&set);
    let container = Some(api::Container { id, labels: set, ..Default::default() });
    let answer = client.containers().update(api::UpdateContainerRequest { container, update_mask }).await?;
    outln!("{}", labels(&present(answer.into_inner().container, "container")?.labels));
    Ok(0)
}

/// The record goes first: a snapshot that its container still names must not vanish under it.
async fn remove(client: &Client, id: String, keep_snapshot: bool) -> Result<()> {
    let container = get(client, id.clone()).await?;
    no_task(client, &id).await?;
    client.containers().delete(api::DeleteContainerRequest { id }).await?;
    if keep_snapshot || container.snapshot_key.is_empty() {
        return Ok(());
    }
    let request =
        snapshots::RemoveSnapshotRequest { snapshotter: container.snapshotter, key: container.snapshot_key };
    match client.snapshots().remove(request).await {
        Err(status) if status.code() != Code::NotFound => Err(status.into()),
        _ => Ok(()),
    }
}

/// A task that has ended goes with its container; one that runs stays, and so does the container.
async fn no_task(client: &Client, id: &str) -> Result<()> {
    let request = tasks::GetRequest { container_id: id.to_owned(), exec_id: String::new() };
    let process = match client.tasks().get(request).await {
        Err(status) if status.code() == Code::NotFound => return Ok(()),
        other => present(other?.into_inner().process, "process")?,
    };
    use proto_containerd::types::task::Status;
    if !matches!(process.status(), Status::Stopped | Status::Created) {
        return Err(Failure::Local(format!(
            "cannot delete a non stopped container: {id} (`rctl tasks kill {id}` and `rctl tasks rm {id}` end its task)"
        )));
    }
    client.tasks().delete(tasks::DeleteTaskRequest { container_id: id.to_owned() }).await?;
    Ok(())
}
