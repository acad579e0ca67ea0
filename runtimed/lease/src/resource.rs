//! What a lease may hold.

use errors::{Error, Result, WithKind};
use ids::Digest;

/// Something a lease holds: `content` and a digest, `ingests` and a ref, `images` and a name, or `snapshots/NAME` and a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Resource {
    /// Which sort of thing, as containerd spells it.
    pub kind: String,
    /// Its id within the sort.
    pub id: String,
}

impl Resource {
    /// Checks the sort and the id; a sort that is not known is `Unimplemented`.
    pub(crate) fn validate(&self) -> Result<()> {
        let Resource { kind, id } = self;
        let invalid = |complaint: &str| Err(Error::invalid(format!("{complaint}: invalid argument")));
        let mut parts = kind.split('/');
        match (parts.next().unwrap_or_default(), parts.next(), parts.next()) {
            ("content", None, _) => {
                Digest::parse(id)
                    .map(drop)
                    .kind(errors::Kind::InvalidArgument, || format!("invalid content resource id {id}"))?;
            }
            ("ingests" | "images", None, _) => {}
            ("content" | "ingests" | "images", ..) => {
                return invalid(&format!("invalid resource type {kind}"));
            }
            ("snapshots", Some(snapshotter), None) if !snapshotter.is_empty() => {}
            ("snapshots", ..) => return invalid(&format!("invalid snapshot resource type {kind}")),
            _ => {
                return Err(Error::unimplemented(format!(
                    "resource type {kind} not supported yet: not implemented"
                )));
            }
        }
        if id.is_empty() {
            return invalid(&format!("resource of type {kind} must have an id"));
        }
        Ok(())
    }
}
