//! Everything there is, and what keeps what alive.

use std::time::{Duration, SystemTime};

use container::Container;
use errors::Result;
use gc::{Graph, Hold, Node};
use ids::Namespace;
use image::Image;
use lease::{Lease, Resource};

use super::RoomsHeap;
use super::labels::{add_references, is_expired, is_root};

/// How long an ingest without a lease lives after it was started.
const INGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads all rooms. Within a transaction that runs alone it is the state of one instant; otherwise what changes
/// meanwhile may be seen or not.
pub(super) fn build(heap: &RoomsHeap, now: SystemTime) -> Result<Graph> {
    let mut graph = Graph::default();
    let namespaces = heap.store.read().namespaces()?;
    for namespace in namespaces {
        let namespace = Namespace::parse(&namespace)?;
        for (lease, resources) in heap.leases.held(&namespace)? {
            add_lease(&mut graph, &namespace, &lease, &resources, now);
        }
        for image in heap.names.list(&namespace, &[])? {
            add_image(&mut graph, &namespace, &image, now);
        }
        for container in heap.containers.list(&namespace, &[])? {
            add_container(&mut graph, &namespace, &container);
        }
    }
    add_content(&mut graph, heap, now)?;
    for name in heap.snapshotters.names() {
        add_snapshots(&mut graph, heap, &name)?;
    }
    Ok(graph)
}

fn add_lease(graph: &mut Graph, namespace: &Namespace, lease: &Lease, held: &[Resource], now: SystemTime) {
    let node = Node::new(namespace.as_str(), "leases", &lease.id);
    graph.add(node.clone());
    if lease.is_expired(now) {
        return;
    }
    graph.root(node, Hold::Deep);
    let hold = if lease.is_flat() { Hold::Flat } else { Hold::Deep };
    for resource in held {
        graph.root(Node::new(namespace.as_str(), &resource.kind, &resource.id), hold);
    }
}

fn add_image(graph: &mut Graph, namespace: &Namespace, image: &Image, now: SystemTime) {
    let node = Node::new(namespace.as_str(), "images", &image.name);
    graph.add(node.clone());
    if !is_expired(&image.labels, now) {
        graph.root(node.clone(), Hold::Deep);
    }
    graph.part(&node, Node::new(namespace.as_str(), "content", &image.target.digest.to_string()));
    add_references(graph, &node, &image.labels);
}

fn add_container(graph: &mut Graph, namespace: &Namespace, container: &Container) {
    let node = Node::new(namespace.as_str(), "containers", container.id.as_str());
    graph.root(node.clone(), Hold::Deep);
    if !container.snapshotter.is_empty() {
        let kind = format!("snapshots/{}", container.snapshotter);
        graph.reference(&node, Node::new(namespace.as_str(), &kind, &container.snapshot_key));
    }
    add_references(graph, &node, &container.labels);
}

fn add_content(graph: &mut Graph, heap: &RoomsHeap, now: SystemTime) -> Result<()> {
    for (namespace, info) in heap.content.all()? {
        let node = Node::new(namespace.as_str(), "content", &info.digest.to_string());
        graph.add(node.clone());
        if is_root(&info.labels) {
            graph.root(node.clone(), Hold::Deep);
        }
        add_references(graph, &node, &info.labels);
    }
    for (namespace, status) in heap.content.ingests()? {
        let node = Node::new(namespace.as_str(), "ingests", &status.reference);
        graph.add(node.clone());
        // A start in the future, by a clock that was set back, counts as now.
        if now.duration_since(status.started_at).unwrap_or_default() < INGEST_LIFE {
            graph.root(node.clone(), Hold::Deep);
        }
        if let Some(expected) = &status.expected {
            graph.reference(&node, Node::new(namespace.as_str(), "content", &expected.to_string()));
        }
    }
    Ok(())
}

fn add_snapshots(graph: &mut Graph, heap: &RoomsHeap, snapshotter: &str) -> Result<()> {
    let kind = format!("snapshots/{snapshotter}");
    for (namespace, info) in heap.snapshotters.get(snapshotter)?.all()? {
        let node = Node::new(namespace.as_str(), &kind, &info.name);
        graph.add(node.clone());
        if is_root(&info.labels) {
            graph.root(node.clone(), Hold::Deep);
        }
        if !info.parent.is_empty() {
            graph.part(&node, Node::new(namespace.as_str(), &kind, &info.parent));
        }
        add_references(graph, &node, &info.labels);
    }
    Ok(())
}
