//! From an archive into content and names.
use std::io::Read;
use std::sync::Arc;

use errors::Result;
use ids::Namespace;

use crate::images::{Hold, Shared};
use crate::progress::ProgressSink;
use crate::{Image, Platform};

/// What becomes of names in an archive that are no full references (`latest` in `org.opencontainers.image.ref.name`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NameRule {
    /// They are taken as they are.
    #[default]
    Keep,
    /// `PREFIX:NAME`.
    Prefix(String),
    /// `PREFIX:NAME`; and full references that do not begin with the prefix make no name.
    OnlyPrefix(String),
}

/// What a caller wants of one import.
#[derive(Clone, Default)]
pub struct ImportOptions {
    /// How names are made.
    pub names: NameRule,
    /// Also the name `PREFIX@DIGEST` for each manifest, with this prefix.
    pub digest_prefix: Option<String>,
    /// With `digest_prefix`: only for manifests that got no other name.
    pub digest_only_unnamed: bool,
    /// Also this name for the whole index.
    pub index_name: Option<String>,
    /// The platform whose content must be there; `None` is this machine's.
    pub platform: Option<Platform>,
    /// All platforms' content that the archive has.
    pub all_platforms: bool,
    /// Compress plain layers of a docker archive.
    pub compress: bool,
    /// Labels for the names.
    pub labels: ids::Labels,
    /// Unpack into this snapshotter; `None` leaves it packed.
    pub unpack: Option<String>,
    /// Holds what arrives until the names point to it: mostly adds it to a lease.
    pub hold: Option<Hold>,
}

pub(crate) async fn import(
    shared: &Arc<Shared>,
    namespace: &Namespace,
    reader: impl Read + Send + 'static,
    options: &ImportOptions,
    progress: ProgressSink,
) -> Result<Vec<Image>> {
    let _ = (shared, namespace, reader, options, progress);
    todo!()
}
