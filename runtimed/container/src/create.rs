//! A new record.

use std::time::SystemTime;

use errors::{Context, Error, Result};
use ids::Namespace;
use proto_containerd::events::{ContainerCreate, container_create::Runtime};

use crate::container::Container;
use crate::containers::Containers;
use crate::record::{Record, TABLE};
use crate::validate::validate;

impl Containers {
    /// Creates a record; `AlreadyExists` when the id is taken. Labels without a value are left out.
    pub async fn create(&self, namespace: &Namespace, mut container: Container) -> Result<Container> {
        validate(&container).context(|| "create container failed validation")?;
        container.labels.retain(|_, value| !value.is_empty());
        container.created_at = SystemTime::now();
        container.updated_at = container.created_at;

        let (owner, record) = (namespace.clone(), container.clone());
        self.store
            .write(move |transaction| {
                let id = record.id.clone();
                let key = [owner.as_str(), id.as_str()];
                if transaction.get(&TABLE, &key)?.is_some() {
                    return Err(Error::already_exists(format!(
                        "container {:?}: already exists",
                        id.as_str()
                    )));
                }
                transaction.put(&TABLE, &key, &Record::from(record))
            })
            .await?;

        let event = ContainerCreate {
            id: container.id.to_string(),
            image: container.image.clone(),
            runtime: Some(Runtime {
                name: container.runtime.clone(),
                options: container.runtime_options.clone(),
            }),
        };
        self.events.publish(namespace, "/containers/create", &event);
        self.written(&container);
        Ok(container)
    }
}
