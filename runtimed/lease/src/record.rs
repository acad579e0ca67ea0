//! What is stored of a lease.

use std::time::SystemTime;

use ids::Labels;
use metadata::Table;
use serde::{Deserialize, Serialize};

use crate::lease::Lease;

/// By namespace and id.
pub(crate) const LEASES: Table<Record> = Table::namespaced("leases");
/// By namespace, lease, sort and id of the resource.
pub(crate) const RESOURCES: Table<()> = Table::namespaced("lease.resources");

#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) created_at: SystemTime,
    #[serde(default)]
    pub(crate) labels: Labels,
}

impl Record {
    pub(crate) fn into_lease(self, id: String) -> Lease {
        Lease { id, created_at: self.created_at, labels: self.labels }
    }
}
