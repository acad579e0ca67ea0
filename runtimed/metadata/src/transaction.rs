//! Transactions: changes over committed state, kept apart until the group is written.

use std::collections::BTreeMap;

use errors::Result;
use serde::{Serialize, de::DeserializeOwned};

use crate::disk::{Change, Changes, Disk};
use crate::reader::record;
use crate::table::Table;
use crate::view::{self, View};
use crate::{key, value};

/// A transaction: sees its own writes and those before it; all of it is committed, or none when the closure fails.
pub struct Transaction<'a> {
    disk: &'a Disk,
    /// The changes of this group of transactions, this one's included.
    changes: &'a mut Changes,
    /// What this transaction replaced in `changes`, oldest first.
    undo: Vec<(Vec<u8>, Option<Change>)>,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(disk: &'a Disk, changes: &'a mut Changes) -> Transaction<'a> {
        Transaction { disk, changes, undo: Vec::new() }
    }

    /// Takes back all that it wrote.
    pub(crate) fn roll_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(change) => self.changes.insert(key, change),
                None => self.changes.remove(&key),
            };
        }
    }

    /// The record under `key`, as this transaction sees it.
    pub fn get<V: DeserializeOwned>(&self, table: &Table<V>, key: &[&str]) -> Result<Option<V>> {
        let bytes = self.value(&key::compose(table.sort(), table.name(), key)?)?;
        bytes.map(|bytes| value::decode(table.name(), key, &bytes)).transpose()
    }

    /// All records under `prefix`, as this transaction sees them.
    pub fn scan<V: DeserializeOwned>(
        &self,
        table: &Table<V>,
        prefix: &[&str],
    ) -> Result<Vec<(Vec<String>, V)>> {
        let prefix = key::compose(table.sort(), table.name(), prefix)?;
        let mut found = BTreeMap::new();
        self.disk.map().scan(&prefix, |key, bytes| {
            found.insert(key.to_vec(), bytes);
            Ok(())
        })?;
        for (key, change) in self.changes.range(prefix.clone()..key::after(&prefix)) {
            match change {
                Some(bytes) => found.insert(key.clone(), bytes.clone()),
                None => found.remove(key),
            };
        }
        found.iter().map(|(key, bytes)| record(table, key, bytes)).collect()
    }

    /// The names of the namespaced tables that have records in `namespace`, sorted.
    pub fn holders(&self, namespace: &str) -> Result<Vec<String>> {
        view::holders(self, namespace)
    }

    /// The parts that follow `prefix` in the keys of the namespaced table `table`, each once, sorted.
    pub fn next_parts(&self, table: &str, prefix: &[&str]) -> Result<Vec<String>> {
        view::next_parts(self, table, prefix)
    }

    /// Writes a record. One that is there already, the same, costs no write.
    pub fn put<V: Serialize>(&mut self, table: &Table<V>, key: &[&str], value: &V) -> Result<()> {
        let key = key::compose(table.sort(), table.name(), key)?;
        let value = value::encode(table.name(), value)?;
        if self.value(&key)?.as_ref() != Some(&value) {
            self.change(key, Some(value));
        }
        Ok(())
    }

    /// Deletes a record; says whether it was there.
    pub fn delete<V>(&mut self, table: &Table<V>, key: &[&str]) -> Result<bool> {
        let key = key::compose(table.sort(), table.name(), key)?;
        let there = self.value(&key)?.is_some();
        if there {
            self.change(key, None);
        }
        Ok(there)
    }

    /// Deletes all records whose key begins with `prefix`; returns how many there were.
    pub fn delete_all<V>(&mut self, table: &Table<V>, prefix: &[&str]) -> Result<usize> {
        let prefix = key::compose(table.sort(), table.name(), prefix)?;
        let mut count = 0;
        while let Some(key) = self.seek(&prefix)?.filter(|key| key.starts_with(&prefix)) {
            self.change(key, None);
            count += 1;
        }
        Ok(count)
    }

    /// Writes bytes that are encoded already.
    pub(crate) fn put_raw(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.change(key, Some(value));
    }

    fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.disk.map().get(key),
        }
    }

    fn change(&mut self, key: Vec<u8>, change: Change) {
        let before = self.changes.insert(key.clone(), change);
        self.undo.push((key, before));
    }
}

impl View for Transaction<'_> {
    fn seek(&self, from: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut stored = self.disk.map().seek(from);
        while let Some(key) = &stored
            && let Some(None) = self.changes.get(key)
        {
            // Deleted here: go on just behind it.
            let mut next = key.clone();
            next.push(0);
            stored = self.disk.map().seek(&next);
        }
        let written = self.changes.range(from.to_vec()..).find(|(_, change)| change.is_some());
        let written = written.map(|(key, _)| key.clone());
        Ok(match (stored, written) {
            (Some(stored), Some(written)) => Some(stored.min(written)),
            (stored, written) => stored.or(written),
        })
    }
}
