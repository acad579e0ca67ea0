//! From content into an archive.
use std::sync::Arc;

use errors::Result;
use ids::Namespace;
use tokio::io::AsyncWrite;

use crate::images::Shared;
use crate::progress::ProgressSink;
use crate::{Descriptor, Platform};

/// One thing to export.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// The names it shall have in the archive; none is allowed.
    pub names: Vec<String>,
    /// The manifest or index.
    pub target: Descriptor,
}

/// What a caller wants of one export.
#[derive(Debug, Clone, Default)]
pub struct ExportOptions {
    /// The platform; `None` is this machine's.
    pub platform: Option<Platform>,
    /// All platforms' content.
    pub all_platforms: bool,
    /// Leave out docker's `manifest.json`.
    pub skip_docker_manifest: bool,
}

pub(crate) async fn export(
    shared: &Arc<Shared>,
    namespace: &Namespace,
    images: &[Export],
    options: &ExportOptions,
    writer: impl AsyncWrite + Send + Unpin,
    progress: ProgressSink,
) -> Result<()> {
    let _ = (shared, namespace, images, options, writer, progress);
    todo!()
}
