//! Topics: `/` and identifiers, as in `/tasks/exit`.

use errors::{Context, Error, Result};

/// Checks a topic as containerd does.
pub(crate) fn check(topic: &str) -> Result<()> {
    let invalid = |complaint| Err(Error::invalid(complaint));
    if topic.is_empty() {
        return invalid("must not be empty: invalid argument");
    }
    let Some(path) = topic.strip_prefix('/') else {
        return invalid("must start with '/': invalid argument");
    };
    if path.is_empty() {
        return invalid("must have at least one component: invalid argument");
    }
    for component in path.split('/') {
        // A component follows the rules of every other identifier.
        ids::ContainerId::parse(component)
            .context(|| format!("failed validation on component {component:?}"))?;
    }
    Ok(())
}
