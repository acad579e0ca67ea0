//! The labels that garbage collection reads.

use std::time::SystemTime;

use gc::{Graph, Node};
use ids::Labels;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const ROOT: &str = "containerd.io/gc.root";
const EXPIRE: &str = "containerd.io/gc.expire";
const FORWARD: &str = "containerd.io/gc.ref.";
const BACK: &str = "containerd.io/gc.bref.";

/// Does the label of a root stand on it?
pub(crate) fn is_root(labels: &Labels) -> bool {
    labels.range(ROOT.to_owned()..).next().is_some_and(|(key, _)| key.starts_with(ROOT))
}

/// Has its time run out? A time that cannot be read never comes.
pub(crate) fn is_expired(labels: &Labels, now: SystemTime) -> bool {
    let end = labels.get(EXPIRE).and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    end.is_some_and(|end| end < OffsetDateTime::from(now))
}

/// Adds the references that the labels of `node` make, to others and from others.
pub(crate) fn add_references(graph: &mut Graph, node: &Node, labels: &Labels) {
    for (key, value) in labels {
        if let Some(sort) = key.strip_prefix(FORWARD)
            && let Some(kind) = kind(sort)
        {
            graph.reference(node, Node::new(&node.namespace, &kind, value));
        } else if let Some(sort) = key.strip_prefix(BACK)
            && let Some(kind) =
                kind(sort).or_else(|| names(sort, "container").then(|| "containers".to_owned()))
        {
            graph.reference(&Node::new(&node.namespace, &kind, value), node.clone());
        }
    }
}

/// Which sort of thing a label refers to: `content`, `image`, both with any name behind `.` or `/`, or
/// `snapshot.SNAPSHOTTER`, with any name behind `/`.
fn kind(sort: &str) -> Option<String> {
    if names(sort, "content") {
        return Some("content".to_owned());
    }
    if names(sort, "image") {
        return Some("images".to_owned());
    }
    let snapshotter = sort.strip_prefix("snapshot.")?;
    let snapshotter = snapshotter.split('/').next().unwrap_or_default();
    Some(format!("snapshots/{snapshotter}"))
}

fn names(sort: &str, word: &str) -> bool {
    sort.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
}
