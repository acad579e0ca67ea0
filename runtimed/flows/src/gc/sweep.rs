//! Removes what nothing reaches: all records in one transaction, then what lies on disk.

use errors::{Error, Result};
use gc::{Heap, Node};
use ids::{Digest, Namespace};
use metadata::Transaction;

use super::RoomsHeap;

/// Something whose record is gone, and what is left to do about it.
enum Gone {
    Blob(Namespace, Digest),
    Snapshot { namespace: Namespace, snapshotter: String, key: String, folder: u64 },
    Image(Namespace, String),
    Lease,
    Ingest(Namespace, String),
}

/// Sweeps; goes on past a failure, and reports all of them.
pub(super) async fn sweep(heap: &RoomsHeap) -> Result<usize> {
    heap.content.remove_unremoved().await;
    let step = marks::step("flows.collect.records")?;
    let this = heap.clone();
    // Alone: nothing can come into use between the look and the removal.
    let (gone, mut failures) = heap
        .store
        .write_alone(move |transaction| {
            let (mut gone, mut failures) = (Vec::new(), Vec::new());
            for node in this.graph()?.unreachable() {
                match forget(&this, transaction, &node) {
                    Ok(done) => gone.push(done),
                    Err(error) => failures.push((node, error)),
                }
            }
            Ok((gone, failures))
        })
        .await?;
    drop(step);
    let count = gone.len();
    // The records are gone for good: from here on a failure must not keep the rest from being done.
    let _step = (count > 0).then(|| marks::begun("flows.collect.files"));
    for done in gone {
        marks::passed("flows.collect.next");
        if let Err((node, error)) = reap(heap, done).await {
            failures.push((node, error));
        }
    }
    if failures.is_empty() { Ok(count) } else { Err(report(failures)) }
}

/// Removes the node's record.
fn forget(heap: &RoomsHeap, transaction: &mut Transaction<'_>, node: &Node) -> Result<Gone> {
    let namespace = Namespace::parse(&node.namespace)?;
    match node.kind.as_str() {
        "content" => {
            let digest = Digest::parse(&node.id)?;
            heap.content.forget(transaction, &namespace, &digest)?;
            Ok(Gone::Blob(namespace, digest))
        }
        "images" => {
            heap.names.forget(transaction, &namespace, &node.id)?;
            Ok(Gone::Image(namespace, node.id.clone()))
        }
        "leases" => {
            heap.leases.forget(transaction, &namespace, &node.id)?;
            Ok(Gone::Lease)
        }
        // Without a record: its folder is all there is.
        "ingests" => Ok(Gone::Ingest(namespace, node.id.clone())),
        kind => {
            let name = kind.strip_prefix("snapshots/");
            let name = name.ok_or_else(|| Error::internal(format!("garbage of an unknown sort {kind:?}")))?;
            let folder = heap.snapshotters.get(name)?.forget(transaction, &namespace, &node.id)?;
            let (snapshotter, key) = (name.to_owned(), node.id.clone());
            Ok(Gone::Snapshot { namespace, snapshotter, key, folder })
        }
    }
}

/// Does the rest, now that the record is gone for good.
async fn reap(heap: &RoomsHeap, gone: Gone) -> Result<(), (Node, Error)> {
    match gone {
        Gone::Blob(namespace, digest) => {
            heap.content.reap(&namespace, &digest).await;
            Ok(())
        }
        Gone::Snapshot { namespace, snapshotter, key, folder } => heap
            .snapshotters
            .get(&snapshotter)
            .map(|snapshotter| snapshotter.reap(&namespace, &key, folder))
            .map_err(|error| {
                (Node::new(namespace.as_str(), &format!("snapshots/{snapshotter}"), &key), error)
            }),
        Gone::Image(namespace, name) => {
            heap.names.reap(&namespace, &name);
            Ok(())
        }
        Gone::Lease => Ok(()),
        Gone::Ingest(namespace, reference) => match heap.content.abort(&namespace, &reference).await {
            // Finished meanwhile, or taken up again.
            Err(error) if !error.is_not_found() && error.kind() != errors::Kind::Unavailable => {
                Err((Node::new(namespace.as_str(), "ingests", &reference), error))
            }
            _ => Ok(()),
        },
    }
}

/// One error of all failures.
fn report(failures: Vec<(Node, Error)>) -> Error {
    let kind = failures.first().map_or(errors::Kind::Internal, |(_, error)| error.kind());
    let told: Vec<String> = failures
        .iter()
        .map(|(node, error)| {
            format!("{} {:?} in {:?}: {}", node.kind, node.id, node.namespace, error.chain())
        })
        .collect();
    Error::new(kind, format!("remove garbage: {}", told.join("; ")))
}
