//! The room: look up, list, delete.

use std::sync::Arc;

use errors::{Error, Result};
use events::Bus;
use filters::Filters;
use ids::{ContainerId, Namespace};
use metadata::{Store, Transaction};
use proto_containerd::events::ContainerDelete;
use tokio::sync::Notify;

use crate::container::Container;
use crate::record::TABLE;

/// The label by which a client asks for its container to be kept running, or stopped: containerd's restart monitor.
pub const RESTART_STATUS: &str = "containerd.io/restart.status";

/// The container records. Publishes /containers/{create,update,delete}.
#[derive(Clone)]
pub struct Containers {
    pub(crate) store: Store,
    pub(crate) events: Bus,
    /// A record with [`RESTART_STATUS`] was written.
    kept: Arc<Notify>,
}

impl Containers {
    /// The records in `store`.
    pub fn new(store: Store, events: Bus) -> Containers {
        Containers { store, events, kept: Arc::default() }
    }

    /// Waits until a record with [`RESTART_STATUS`] is written; at once if one was since the last time. For one who waits.
    pub async fn to_be_kept(&self) {
        self.kept.notified().await;
    }

    pub(crate) fn written(&self, container: &Container) {
        if container.labels.contains_key(RESTART_STATUS) {
            self.kept.notify_one();
        }
    }

    /// The record; `NotFound` "container \"ID\" in namespace \"NS\": not found".
    pub fn get(&self, namespace: &Namespace, id: &ContainerId) -> Result<Container> {
        let record = self.store.read().get(&TABLE, &[namespace.as_str(), id.as_str()])?;
        record.map(Container::from).ok_or_else(|| not_found(namespace, id))
    }

    /// The records that `filters` (containerd's language) let through, in id order.
    pub fn list(&self, namespace: &Namespace, filters: &[String]) -> Result<Vec<Container>> {
        let filters = Filters::parse(filters)?;
        let records = self.store.read().scan(&TABLE, &[namespace.as_str()])?;
        let containers = records.into_iter().map(|(_, record)| Container::from(record));
        Ok(containers.filter(|container| filters.matches(container)).collect())
    }

    /// Deletes the record.
    pub async fn delete(&self, namespace: &Namespace, id: &ContainerId) -> Result<()> {
        let (this, owner, key) = (self.clone(), namespace.clone(), id.clone());
        self.store.write(move |transaction| this.forget(transaction, &owner, &key)).await?;
        self.tell_deleted(namespace, id);
        Ok(())
    }

    /// Deletes the record within `transaction`; [`tell_deleted`](Containers::tell_deleted) follows once that is written. `NotFound`.
    pub fn forget(
        &self,
        transaction: &mut Transaction<'_>,
        namespace: &Namespace,
        id: &ContainerId,
    ) -> Result<()> {
        match transaction.delete(&TABLE, &[namespace.as_str(), id.as_str()])? {
            true => Ok(()),
            false => Err(not_found(namespace, id)),
        }
    }

    /// Publishes that a record was deleted.
    pub fn tell_deleted(&self, namespace: &Namespace, id: &ContainerId) {
        self.events.publish(namespace, "/containers/delete", &ContainerDelete { id: id.to_string() });
    }
}

pub(crate) fn not_found(namespace: &Namespace, id: &ContainerId) -> Error {
    Error::not_found(format!("container {:?} in namespace {:?}: not found", id.as_str(), namespace.as_str()))
}
