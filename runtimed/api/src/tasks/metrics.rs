//! Metrics of all tasks of a namespace that filters let through.

use std::time::SystemTime;

use errors::Result;
use filters::{Fields, Filters};
use futures::stream::{self, StreamExt};
use ids::{ContainerId, Namespace};
use proto_containerd::types::Metric;
use task::Tasks;

use crate::convert::timestamp;

/// Shims asked at once.
const AT_ONCE: usize = 16;

/// What a filter can ask of a task.
struct Filtered<'a> {
    namespace: &'a Namespace,
    id: &'a ContainerId,
}

impl Fields for Filtered<'_> {
    fn field(&self, path: &[&str]) -> Option<String> {
        match path {
            ["id"] => Some(self.id.to_string()),
            ["namespace"] => Some(self.namespace.to_string()),
            _ => None,
        }
    }
}

/// Asks every shim; a task that cannot tell is left out.
pub(super) async fn collect(tasks: &Tasks, namespace: &Namespace, filters: &[String]) -> Result<Vec<Metric>> {
    let filters = Filters::parse(filters)?;
    let all = tasks.list(namespace).await?;
    let ids = all.into_iter().map(|process| process.id);
    let wanted = ids.filter(|id| filters.matches(&Filtered { namespace, id })).collect::<Vec<_>>();
    let metrics = stream::iter(wanted).map(|id| one(tasks, namespace, id)).buffered(AT_ONCE);
    Ok(metrics.filter_map(std::future::ready).collect().await)
}

async fn one(tasks: &Tasks, namespace: &Namespace, id: ContainerId) -> Option<Metric> {
    let collected = SystemTime::now();
    match tasks.stats(namespace, &id).await {
        Ok(data) => Some(Metric { timestamp: timestamp(collected), id: id.to_string(), data: Some(data) }),
        // It was deleted in between.
        Err(error) if error.is_not_found() => None,
        Err(error) => {
            tracing::warn!(%namespace, %id, error = %error.chain(), "could not collect metrics");
            None
        }
    }
}
