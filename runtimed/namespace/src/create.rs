//! A new namespace.

use errors::{Context, Error, Result};
use proto_containerd::events::NamespaceCreate;

use crate::namespaces::{Info, Namespaces};
use crate::record::{Record, TABLE};

impl Namespaces {
    /// Creates a record; `AlreadyExists` when the namespace has one, or anything lives in it.
    pub async fn create(&self, mut info: Info) -> Result<Info> {
        ids::validate_labels(&info.labels).context(|| "namespace.Labels")?;
        info.labels.retain(|_, value| !value.is_empty());
        let (name, labels) = (info.name.clone(), info.labels.clone());
        self.store
            .write(move |transaction| {
                let name = name.as_str();
                if transaction.get(&TABLE, &[name])?.is_some() || !transaction.holders(name)?.is_empty() {
                    return Err(Error::already_exists(format!("namespace {name:?}: already exists")));
                }
                transaction.put(&TABLE, &[name], &Record { labels })
            })
            .await?;
        let event = NamespaceCreate { name: info.name.to_string(), labels: info.labels.clone() };
        self.events.publish(&info.name, "/namespaces/create", &event);
        Ok(info)
    }
}
