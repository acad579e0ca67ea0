//! From a registry into content and snapshots.
use std::sync::Arc;

use errors::Result;
use ids::{Namespace, Reference};

use crate::images::{Hold, Shared};
use crate::progress::ProgressSink;
use crate::registry::Credentials;
use crate::{Image, Platform};

/// What a caller wants of one pull.
#[derive(Clone, Default)]
pub struct PullOptions {
    /// The platform; `None` is this machine's.
    pub platform: Option<Platform>,
    /// All platforms' content.
    pub all_platforms: bool,
    /// Plain http (also used for loopback without being asked).
    pub plain_http: bool,
    /// Do not verify TLS certificates.
    pub insecure: bool,
    /// Credentials.
    pub credentials: Option<Credentials>,
    /// Unpack into this snapshotter; `None` leaves it packed.
    pub unpack: Option<String>,
    /// Holds what arrives until the name points to it: mostly adds it to a lease.
    pub hold: Option<Hold>,
}

pub(crate) async fn pull(
    shared: &Arc<Shared>,
    namespace: &Namespace,
    reference: &Reference,
    name: &str,
    options: &PullOptions,
    progress: ProgressSink,
) -> Result<Image> {
    let _ = (shared, namespace, reference, name, options, progress);
    todo!()
}
