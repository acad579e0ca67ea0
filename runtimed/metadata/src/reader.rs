//! Reads of committed state.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLockReadGuard};

use errors::Result;
use serde::de::DeserializeOwned;

use crate::disk::Disk;
use crate::store::Shared;
use crate::table::Table;
use crate::view::{self, View};
use crate::{key, value};

thread_local! {
    /// The store that a reader of this thread holds still: another reader of it must not wait for the writer, who
    /// waits for the first.
    static HELD: Cell<*const Shared> = const { Cell::new(std::ptr::null()) };
}

/// Committed state as of one instant: while it lives no batch is taken in, so it should live shortly, and cannot
/// be kept across an await.
pub struct Reader<'a> {
    disk: &'a Disk,
    still: Option<RwLockReadGuard<'a, ()>>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(shared: &'a Shared) -> Reader<'a> {
        let nested = HELD.get() == std::ptr::from_ref(shared);
        let still = (!nested).then(|| {
            // A panic elsewhere leaves nothing half done: the lock guards no data of its own.
            let guard = shared.still.read().unwrap_or_else(PoisonError::into_inner);
            HELD.set(shared);
            guard
        });
        Reader { disk: &shared.disk, still }
    }

    /// The record under `key`.
    pub fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &[&str]) -> Result<Option<V>> {
        let bytes = self.disk.map().get(&key::compose(table.sort(), table.name(), key)?)?;
        bytes.map(|bytes| value::decode(table.name(), key, &bytes)).transpose()
    }

    /// All records whose key begins with `prefix`, in key order, with their full keys.
    pub fn scan<V: DeserializeOwned>(
        &self,
        table: &Table<V>,
        prefix: &[&str],
    ) -> Result<Vec<(Vec<String>, V)>> {
        let mut records = Vec::new();
        self.disk.map().scan(&key::compose(table.sort(), table.name(), prefix)?, |key, bytes| {
            records.push(record(table, key, &bytes)?);
            Ok(())
        })?;
        Ok(records)
    }

    /// The keys of all records whose key begins with `prefix`, in order.
    pub fn keys<V>(&self, table: &Table<V>, prefix: &[&str]) -> Result<Vec<Vec<String>>> {
        let keys = self.disk.map().keys(&key::compose(table.sort(), table.name(), prefix)?);
        Ok(keys.iter().filter_map(|key| key::decompose(key)).map(|(_, parts)| parts).collect())
    }

    /// The names of the namespaced tables that have records in `namespace`, sorted.
    pub fn holders(&self, namespace: &str) -> Result<Vec<String>> {
        view::holders(self, namespace)
    }

    /// All namespaces that have a record in any namespaced table.
    pub fn namespaces(&self) -> Result<BTreeSet<String>> {
        view::namespaces(self)
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        if self.still.is_some() {
            HELD.set(std::ptr::null());
        }
    }
}

impl View for Reader<'_> {
    fn seek(&self, from: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.disk.map().seek(from))
    }
}

/// Decodes a record found under `key`.
pub(crate) fn record<V: DeserializeOwned>(
    table: &Table<V>,
    key: &[u8],
    bytes: &[u8],
) -> Result<(Vec<String>, V)> {
    let parts = key::decompose(key).map(|(_, parts)| parts).unwrap_or_default();
    let shown: Vec<&str> = parts.iter().map(String::as_str).collect();
    let value = value::decode(table.name(), &shown, bytes)?;
    Ok((parts, value))
}
