//! A namespace's labels.

use errors::{Context, Error, Result};
use ids::Labels;
use proto_containerd::events::NamespaceUpdate;

use crate::namespaces::{Info, Namespaces};
use crate::record::{Record, TABLE};

impl Namespaces {
    /// Sets labels: those named by `mask` (`labels`, `labels.KEY`), or all when it is empty; one set to nothing is
    /// deleted. A namespace without a record gets one.
    pub async fn update(&self, info: Info, mask: &[String]) -> Result<Info> {
        ids::validate_labels(&info.labels).context(|| "namespace.Labels")?;
        let (name, wanted, mask) = (info.name.clone(), info.labels, mask.to_vec());
        let labels = self
            .store
            .write(move |transaction| {
                let stored = transaction.get(&TABLE, &[name.as_str()])?.unwrap_or_default();
                let labels = apply(stored.labels, wanted, &mask)?;
                transaction.put(&TABLE, &[name.as_str()], &Record { labels: labels.clone() })?;
                Ok(labels)
            })
            .await?;
        let event = NamespaceUpdate { name: info.name.to_string(), labels: labels.clone() };
        self.events.publish(&info.name, "/namespaces/update", &event);
        Ok(Info { name: info.name, labels })
    }
}

fn apply(mut stored: Labels, wanted: Labels, mask: &[String]) -> Result<Labels> {
    if mask.is_empty() {
        stored = wanted.clone();
    }
    for path in mask {
        match path.strip_prefix("labels.") {
            Some(key) => {
                stored.insert(key.to_owned(), wanted.get(key).cloned().unwrap_or_default());
            }
            None if path == "labels" => stored = wanted.clone(),
            None => return Err(Error::invalid(format!("cannot update {path:?} field"))),
        }
    }
    stored.retain(|_, value| !value.is_empty());
    Ok(stored)
}
