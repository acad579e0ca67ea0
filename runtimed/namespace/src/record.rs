//! What is stored of a namespace.

use ids::Labels;
use metadata::Table;
use serde::{Deserialize, Serialize};

/// By name.
pub(crate) const TABLE: Table<Record> = Table::new("namespaces");

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(default)]
    pub(crate) labels: Labels,
}
