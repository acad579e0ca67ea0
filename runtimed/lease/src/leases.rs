//! The room.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use errors::{Error, Result};
use filters::Filters;
use ids::{Labels, Namespace};
use metadata::{Reader, Store, Transaction};

use crate::lease::{EXPIRE, Lease, validate};
use crate::record::{LEASES, RESOURCES, Record};
use crate::resource::Resource;

/// The leases of all namespaces.
#[derive(Clone)]
pub struct Leases {
    store: Store,
}

impl Leases {
    /// The records in `store`.
    pub fn new(store: Store) -> Leases {
        Leases { store }
    }

    /// Creates a lease; an empty id is replaced by a random one. `AlreadyExists` when the id is taken.
    pub async fn create(&self, namespace: &Namespace, id: &str, mut labels: Labels) -> Result<Lease> {
        validate(&labels)?;
        labels.retain(|_, value| !value.is_empty());
        let id = if id.is_empty() { random_id() } else { id.to_owned() };
        let lease = Lease { id, created_at: SystemTime::now(), labels };
        let (namespace, made) = (namespace.clone(), lease.clone());
        let writing = self.store.write(move |transaction| {
            let key = [namespace.as_str(), made.id.as_str()];
            if transaction.get(&LEASES, &key)?.is_some() {
                return Err(Error::already_exists(format!("lease {:?}: already exists", made.id)));
            }
            let record = Record { created_at: made.created_at, labels: made.labels.clone() };
            transaction.put(&LEASES, &key, &record)
        });
        if lease.labels.contains_key(EXPIRE) {
            metadata::lazily(writing).await?
        } else {
            writing.await?
        }
        Ok(lease)
    }

    /// Deletes a lease and its list of resources (not the resources).
    ///
    /// One that expires is written and deleted without a flush of its own: it is there for something that a client is about to do, and a power
    /// cut ends that, too. What is done under it is flushed after it, and so with it; one that comes back expires.
    pub async fn delete(&self, namespace: &Namespace, id: &str) -> Result<()> {
        let record = self.store.read().get(&LEASES, &[namespace.as_str(), id])?;
        let expires = record.is_some_and(|record| record.labels.contains_key(EXPIRE));
        let (this, namespace, id) = (self.clone(), namespace.clone(), id.to_owned());
        let writing = self.store.write(move |transaction| this.forget(transaction, &namespace, &id));
        if expires { metadata::lazily(writing).await } else { writing.await }
    }

    /// Deletes a lease and its list of resources within `transaction`.
    pub fn forget(&self, transaction: &mut Transaction<'_>, namespace: &Namespace, id: &str) -> Result<()> {
        let key = [namespace.as_str(), id];
        if !transaction.delete(&LEASES, &key)? {
            return Err(not_found(id));
        }
        transaction.delete_all(&RESOURCES, &key).map(drop)
    }

    /// The leases that `filters` (fields id, labels) let through, in id order.
    pub fn list(&self, namespace: &Namespace, filters: &[String]) -> Result<Vec<Lease>> {
        let filters = Filters::parse(filters)?;
        let mut leases = all(&self.store.read(), namespace)?;
        leases.retain(|lease| filters.matches(lease));
        Ok(leases)
    }

    /// Adds a resource; it need not exist yet, so that what is about to be made is held from its first instant.
    pub async fn add(&self, namespace: &Namespace, lease: &str, resource: Resource) -> Result<()> {
        self.change(namespace, lease, resource, |transaction, key| transaction.put(&RESOURCES, key, &()))
            .await
    }

    /// Takes a resource out; one that was not in is no error.
    pub async fn remove(&self, namespace: &Namespace, lease: &str, resource: Resource) -> Result<()> {
        self.change(namespace, lease, resource, |transaction, key| {
            transaction.delete(&RESOURCES, key).map(drop)
        })
        .await
    }

    /// As [`add`](Self::add), for what is made next: the word is brought to disk with the record of that, which comes after it in the log.
    pub async fn hold(&self, namespace: &Namespace, lease: &str, resource: Resource) -> Result<()> {
        metadata::lazily(self.add(namespace, lease, resource)).await
    }

    /// As [`remove`](Self::remove), for what is gone: a lease that says after a power cut that it holds such a thing does no harm.
    pub async fn release(&self, namespace: &Namespace, lease: &str, resource: Resource) -> Result<()> {
        metadata::lazily(self.remove(namespace, lease, resource)).await
    }

    /// What the lease holds, in order of sort and id.
    pub fn resources(&self, namespace: &Namespace, lease: &str) -> Result<Vec<Resource>> {
        let reader = self.store.read();
        if reader.get(&LEASES, &[namespace.as_str(), lease])?.is_none() {
            return Err(not_found(lease));
        }
        held(&reader, namespace, lease)
    }

    /// All leases of the namespace with what they hold, as of one instant.
    pub fn held(&self, namespace: &Namespace) -> Result<Vec<(Lease, Vec<Resource>)>> {
        let reader = self.store.read();
        all(&reader, namespace)?
            .into_iter()
            .map(|lease| held(&reader, namespace, &lease.id).map(|resources| (lease, resources)))
            .collect()
    }

    async fn change(
        &self,
        namespace: &Namespace,
        lease: &str,
        resource: Resource,
        change: impl FnOnce(&mut Transaction<'_>, &[&str]) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let (namespace, lease) = (namespace.clone(), lease.to_owned());
        self.store
            .write(move |transaction| {
                if transaction.get(&LEASES, &[namespace.as_str(), &lease])?.is_none() {
                    return Err(not_found(&lease));
                }
                resource.validate()?;
                change(transaction, &[namespace.as_str(), &lease, &resource.kind, &resource.id])
            })
            .await
    }
}

fn all(reader: &Reader<'_>, namespace: &Namespace) -> Result<Vec<Lease>> {
    let records = reader.scan(&LEASES, &[namespace.as_str()])?;
    let lease = |(mut key, record): (Vec<String>, Record)| record.into_lease(key.pop().unwrap_or_default());
    Ok(records.into_iter().map(lease).collect())
}

fn held(reader: &Reader<'_>, namespace: &Namespace, lease: &str) -> Result<Vec<Resource>> {
    let keys = reader.keys(&RESOURCES, &[namespace.as_str(), lease])?;
    let resource = |mut key: Vec<String>| {
        let id = key.pop().unwrap_or_default();
        Resource { kind: key.pop().unwrap_or_default(), id }
    };
    Ok(keys.into_iter().map(resource).collect())
}

fn not_found(id: &str) -> Error {
    Error::not_found(format!("lease {id:?}: not found"))
}

/// An id as containerd's clients make them: the nanoseconds of the time and three random bytes.
fn random_id() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", now.subsec_nanos(), URL_SAFE.encode(rand::random::<[u8; 3]>()))
}
