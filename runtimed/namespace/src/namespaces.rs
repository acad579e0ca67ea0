//! The room: look up and list.

use std::collections::BTreeMap;

use errors::{Error, Result};
use events::Bus;
use ids::{Labels, Namespace};
use metadata::Store;

use crate::record::TABLE;

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Its name.
    pub name: Namespace,
    /// Its labels.
    pub labels: Labels,
}

/// The namespaces. Publishes /namespaces/{create,update,delete}.
#[derive(Clone)]
pub struct Namespaces {
    pub(crate) store: Store,
    pub(crate) events: Bus,
}

impl Namespaces {
    /// The records in `store`.
    pub fn new(store: Store, events: Bus) -> Namespaces {
        Namespaces { store, events }
    }

    /// The record; an unknown namespace has empty labels.
    pub fn get(&self, name: &Namespace) -> Result<Info> {
        let record = self.store.read().get(&TABLE, &[name.as_str()])?;
        Ok(Info { name: name.clone(), labels: record.unwrap_or_default().labels })
    }

    /// All namespaces in name order, with a record or without.
    pub fn list(&self) -> Result<Vec<Info>> {
        let reader = self.store.read();
        let mut found: BTreeMap<String, Labels> =
            reader.namespaces()?.into_iter().map(|name| (name, Labels::new())).collect();
        for (key, record) in reader.scan(&TABLE, &[])? {
            found.insert(key.concat(), record.labels);
        }
        let info = |(name, labels): (String, _)| Ok(Info { name: Namespace::parse(&name)?, labels });
        found.into_iter().map(info).collect()
    }
}

pub(crate) fn not_found(name: &Namespace) -> Error {
    Error::not_found(format!("namespace {:?}: not found", name.as_str()))
}
