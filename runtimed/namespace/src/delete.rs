//! The end of a namespace.

use errors::{Error, Result};
use ids::Namespace;
use metadata::{Table, Transaction};
use proto_containerd::events::NamespaceDelete;

use crate::namespaces::{Namespaces, not_found};
use crate::record::TABLE;

/// What goes with the namespace: leases hold nothing in an empty one.
const DROPPED: [Table<()>; 2] = [Table::namespaced("leases"), Table::namespaced("lease.resources")];

/// What a user is told lives in the table, in the order of telling.
const WORDS: [(&str, &str); 3] =
    [("images", "images"), ("content.blobs", "blobs"), ("containers", "containers")];

/// The table whose records are told apart by what follows the namespace.
const SNAPSHOTS: &str = "snapshot.records";

impl Namespaces {
    /// Deletes the record; `FailedPrecondition` "namespace NAME must be empty, but it still has ..." when
    /// anything lives in it, `NotFound` when it does not exist.
    pub async fn delete(&self, name: &Namespace) -> Result<()> {
        let namespace = name.clone();
        self.store.write(move |transaction| delete(transaction, &namespace)).await?;
        self.events.publish(name, "/namespaces/delete", &NamespaceDelete { name: name.to_string() });
        Ok(())
    }
}

fn delete(transaction: &mut Transaction<'_>, namespace: &Namespace) -> Result<()> {
    let name = namespace.as_str();
    let still = inhabitants(transaction, name)?;
    if !still.is_empty() {
        let still = still.join(", ");
        return Err(Error::precondition(format!(
            "namespace {name:?} must be empty, but it still has {still}: failed precondition"
        )));
    }
    let mut existed = transaction.delete(&TABLE, &[name])?;
    for table in &DROPPED {
        existed |= transaction.delete_all(table, &[name])? > 0;
    }
    if existed { Ok(()) } else { Err(not_found(namespace)) }
}

/// What lives in the namespace, in words.
fn inhabitants(transaction: &Transaction<'_>, namespace: &str) -> Result<Vec<String>> {
    let mut tables = transaction.holders(namespace)?;
    tables.retain(|table| DROPPED.iter().all(|dropped| dropped.name() != table));
    let mut still = Vec::new();
    for (table, words) in WORDS {
        if let Some(at) = tables.iter().position(|name| name == table) {
            tables.remove(at);
            still.push(words.to_owned());
        }
    }
    for table in tables {
        if table == SNAPSHOTS {
            let snapshotters = transaction.next_parts(SNAPSHOTS, &[namespace])?;
            still.extend(snapshotters.iter().map(|name| format!("snapshots on {name:?} snapshotter")));
        } else {
            still.push(table);
        }
    }
    Ok(still)
}
