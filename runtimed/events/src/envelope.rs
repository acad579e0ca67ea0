//! One event on its way.

use std::time::SystemTime;

use errors::{Context, Error, Result};
use ids::Namespace;
use prost_types::Any;

use crate::topic;

/// What happened, when, in which namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// When it happened.
    pub timestamp: SystemTime,
    /// The namespace it happened in.
    pub namespace: Namespace,
    /// The topic, such as `/tasks/exit`.
    pub topic: String,
    /// The message; its type URL has no prefix (`containerd.events.TaskExit`).
    pub event: Any,
}

impl Envelope {
    /// Checks what a shim or a client made; `InvalidArgument` says what is wrong.
    pub(crate) fn check(&self) -> Result<()> {
        topic::check(&self.topic).context(|| format!("envelope topic {:?}", self.topic))?;
        if self.timestamp == SystemTime::UNIX_EPOCH {
            return Err(Error::invalid("timestamp must be set on forwarded event: invalid argument"));
        }
        Ok(())
    }
}
