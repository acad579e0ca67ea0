//! What a record must be, whether new or changed. Its id is checked where it is parsed.

use errors::{Context, Error, Result};

use crate::container::Container;

pub(crate) fn validate(container: &Container) -> Result<()> {
    let invalid = |complaint: &str| Err(Error::invalid(format!("{complaint}: invalid argument")));
    if container.extensions.contains_key("") {
        return invalid("container.Extension keys must not be zero-length");
    }
    ids::validate_labels(&container.labels).context(|| "containers.Labels")?;
    if container.runtime.is_empty() {
        return invalid("container.Runtime.Name must be set");
    }
    if container.spec.is_none() {
        return invalid("container.Spec must be set");
    }
    if !container.snapshot_key.is_empty() && container.snapshotter.is_empty() {
        return invalid("container.Snapshotter must be set if container.SnapshotKey is set");
    }
    Ok(())
}
