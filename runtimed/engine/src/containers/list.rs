//! List: the lines of `ps`.

use flows::{Flows, Line, Phase};
use ids::Namespace;
use proto_engine::v1;
use tonic::Status;

use crate::caller::status;
use crate::convert::{ago, timestamp};
use crate::names::Filters;

/// docker's filters that are served.
const FILTERS: &[&str] = &["id", "name", "label", "status", "exited", "ancestor", "before", "since"];

/// The containers that the request lets through, newest first.
pub async fn list(
    flows: &Flows,
    namespace: &Namespace,
    request: &v1::ListRequest,
) -> Result<v1::ListResponse, Status> {
    let filters = Filters::parse(&request.filters, FILTERS)?;
    let all = request.all || request.limit > 0 || filters.has("status") || filters.has("exited");
    let window = Window::of(flows, namespace, &request.filters)?;
    let lines = flows.list(namespace).await.map_err(status)?;
    let mut containers = Vec::new();
    for line in lines {
        if !(all || line.is_running()) || !filters.container(&line) || !window.holds(&line) {
            continue;
        }
        if request.limit > 0 && containers.len() >= request.limit as usize {
            break;
        }
        containers.push(container(flows, namespace, &line, request.size).await?);
    }
    Ok(v1::ListResponse { containers })
}

/// `before` and `since`: made before, or after, another container.
struct Window {
    before: Option<std::time::SystemTime>,
    since: Option<std::time::SystemTime>,
}

impl Window {
    fn of(flows: &Flows, namespace: &Namespace, filters: &[String]) -> Result<Window, Status> {
        let made = |key: &str| -> Result<Option<std::time::SystemTime>, Status> {
            let text = filters.iter().rev().find_map(|filter| filter.strip_prefix(key)?.strip_prefix('='));
            match text {
                None => Ok(None),
                Some(text) => flows.find(namespace, text).map(|found| Some(found.created_at)).map_err(status),
            }
        };
        Ok(Window { before: made("before")?, since: made("since")? })
    }

    fn holds(&self, line: &Line) -> bool {
        self.before.is_none_or(|before| line.container.created_at < before)
            && self.since.is_none_or(|since| line.container.created_at > since)
    }
}

async fn container(
    flows: &Flows,
    namespace: &Namespace,
    line: &Line,
    size: bool,
) -> Result<v1::Container, Status> {
    let config = line.config.clone().unwrap_or_default();
    let mut message = v1::Container {
        id: line.container.id.to_string(),
        names: vec![line.name().to_owned()],
        image: if config.image.is_empty() { line.container.image.clone() } else { config.image.clone() },
        image_id: config.image_id.clone(),
        command: if config.command.is_empty() { spec_command(line) } else { config.command.join(" ") },
        created: Some(timestamp(line.container.created_at)),
        state: line.phase.as_str().to_owned(),
        status: sentence(line),
        labels: line.container.labels.clone().into_iter().collect(),
        network: if config.network.is_empty() { "none".to_owned() } else { config.network.clone() },
        mounts: config
            .mounts
            .iter()
            .map(|mount| mount.source.clone())
            .filter(|source| !source.is_empty())
            .collect(),
        size_rw: 0,
        size_root: 0,
        pid: line.pid,
    };
    if size && !line.container.snapshot_key.is_empty() {
        let snapshotter = flows.rooms().snapshotters.get(&line.container.snapshotter).map_err(status)?;
        let usage = snapshotter.usage(namespace, &line.container.snapshot_key).await.map_err(status)?;
        message.size_rw = usage.size;
        message.size_root = usage.size;
        let mut key = snapshotter.stat(namespace, &line.container.snapshot_key).map_err(status)?.parent;
        while !key.is_empty() {
            message.size_root += snapshotter.usage(namespace, &key).await.map_err(status)?.size;
            key = snapshotter.stat(namespace, &key).map_err(status)?.parent;
        }
    }
    Ok(message)
}

fn spec_command(line: &Line) -> String {
    let spec: serde_json::Value = match &line.container.spec {
        Some(spec) => serde_json::from_slice(&spec.value).unwrap_or_default(),
        None => return String::new(),
    };
    let args = spec["process"]["args"].as_array().cloned().unwrap_or_default();
    args.iter().filter_map(|arg| arg.as_str()).collect::<Vec<_>>().join(" ")
}

/// docker's sentence on how it fares.
fn sentence(line: &Line) -> String {
    let since =
        |at: Option<std::time::SystemTime>| at.map(ago).unwrap_or_else(|| "Less than a second".to_owned());
    match line.phase {
        Phase::Created => "Created".to_owned(),
        Phase::Running if line.unanswered => format!("Up {} (Not answering)", since(line.state.started_at)),
        Phase::Running => format!("Up {}", since(line.state.started_at)),
        Phase::Paused => format!("Up {} (Paused)", since(line.state.started_at)),
        Phase::Exited => format!("Exited ({}) {} ago", line.state.exit_code, since(line.state.finished_at)),
        Phase::Dead => "Dead".to_owned(),
    }
}
