//! What a caller is told while bytes move.

use std::sync::Arc;

use crate::Descriptor;

/// How far one part of a pull, load or save is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What: a descriptor's digest, or a reference.
    pub id: String,
    /// `resolving`, `resolved`, `waiting`, `downloading`, `extracting`, `done`, `exists`, `saved`,
    /// `saving`, `uploading`.
    pub status: String,
    /// Bytes so far.
    pub offset: u64,
    /// Bytes in all; 0 when unknown.
    pub total: u64,
    /// The descriptor's media type, when it is one.
    pub media_type: String,
}

/// Is told how far things are; must not block.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// A sink for callers that do not care.
pub fn silent() -> ProgressSink {
    Arc::new(|_| {})
}

/// Tells `sink` where a descriptor stands.
pub(crate) fn tell(sink: &ProgressSink, descriptor: &Descriptor, status: &str, offset: u64) {
    sink(Progress {
        id: descriptor.digest.to_string(),
        status: status.to_owned(),
        offset,
        total: descriptor.size.max(0) as u64,
        media_type: descriptor.media_type.clone(),
    });
}

/// Tells `sink` where a reference stands.
pub(crate) fn tell_name(sink: &ProgressSink, name: &str, status: &str) {
    sink(Progress {
        id: name.to_owned(),
        status: status.to_owned(),
        offset: 0,
        total: 0,
        media_type: String::new(),
    });
}
