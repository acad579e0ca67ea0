//! From an archive into content and names.
//!
//! One pass over the tar stream puts every blob into content and keeps the few documents that say what the blobs are
//! (`take`); then an OCI layout (`oci`) or docker's `manifest.json` (`docker`) becomes one list of named manifests; what
//! they refer to is checked, labelled against collection, and named (`link`).

mod docker;
mod link;
pub(crate) mod oci;
mod take;
pub(crate) mod tarindex;

use std::io::Read;
use std::sync::Arc;

use errors::{Context, Error, Kind, Result, WithKind};
use ids::{Labels, Namespace};

use crate::images::{Hold, Shared};
use crate::progress::{ProgressSink, tell_name};
use crate::{Descriptor, Image, Platform, unpack};
use take::Taken;

/// What becomes of names in an archive that are no full references (`latest` in `org.opencontainers.image.ref.name`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NameRule {
    /// They are taken as they are.
    #[default]
    Keep,
    /// They are read as a person's word for an image, as docker reads them when it says what it has loaded: `app:1` is
    /// `docker.io/library/app:1`, `v1` is `docker.io/library/v1:latest`. What is no reference makes no name.
    Familiar,
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
    /// The platform that is unpacked; `None` is this machine's.
    pub platform: Option<Platform>,
    /// Every manifest that an index of the archive lists must be in the archive, whatever its platform.
    pub all_platforms: bool,
    /// Compress plain layers of a docker archive (gzip).
    pub compress: bool,
    /// Labels for the names.
    pub labels: Labels,
    /// Unpack into this snapshotter; `None` leaves it packed.
    pub unpack: Option<String>,
    /// Holds what arrives until the names point to it: mostly adds it to a lease.
    pub hold: Option<Hold>,
}

/// One import's belongings.
pub(crate) struct Import {
    shared: Arc<Shared>,
    namespace: Namespace,
    options: ImportOptions,
    progress: ProgressSink,
}

pub(crate) async fn import(
    shared: &Arc<Shared>,
    namespace: &Namespace,
    reader: impl Read + Send + 'static,
    options: &ImportOptions,
    progress: ProgressSink,
) -> Result<Vec<Image>> {
    if let Some(snapshotter) = &options.unpack {
        shared.snapshotters.get(snapshotter)?;
    }
    let import = Arc::new(Import {
        shared: shared.clone(),
        namespace: namespace.clone(),
        options: options.clone(),
        progress,
    });
    let mut step = marks::step("image.load.take")?;
    let taken = import.clone().take_all(reader).await.context(|| "import archive")?;
    let index = match (&taken.layout, &taken.index, &taken.docker) {
        (Some(layout), Some(index), _) => oci::index(layout, index)?,
        (_, _, Some(manifest)) => import.docker(manifest, &taken).await?,
        _ => {
            return Err(Error::invalid(
                "unrecognized image format: neither an OCI layout nor a docker archive",
            ));
        }
    };
    step.next("image.load.link")?;
    let wanted = import.link(index).await?;
    step.next("image.load.unpack")?;
    // A name must not point to what turns out not to be what it says.
    import.unpack(&wanted).await?;
    step.next("image.load.name")?;
    import.name_all(wanted).await
}

impl Import {
    /// Reads the archive on a thread of its own.
    async fn take_all(self: Arc<Import>, reader: impl Read + Send + 'static) -> Result<Taken> {
        let shared = self.shared.clone();
        let _permit =
            shared.imports.acquire().await.kind(Kind::Internal, || "wait for a thread to import")?;
        let handle = tokio::runtime::Handle::current();
        let reading =
            tokio::task::spawn_blocking(marks::carry_call(move || take::take(&self, reader, &handle)));
        reading.await.kind(Kind::Internal, || "the thread that read the archive ended")?
    }

    async fn unpack(&self, wanted: &[(String, Descriptor)]) -> Result<()> {
        let Some(snapshotter) = &self.options.unpack else { return Ok(()) };
        let platform = self.options.platform.clone().unwrap_or_else(Platform::host);
        let mut done = std::collections::BTreeSet::new();
        for (name, target) in wanted.iter().filter(|(_, target)| done.insert(target.digest.clone())) {
            tell_name(&self.progress, name, "extracting");
            let config = self.shared.image_config(&self.namespace, target, &platform).await?;
            let (hold, progress) = (self.options.hold.as_ref(), self.progress.clone());
            unpack::unpack_stored(&self.shared, &self.namespace, &config, snapshotter, hold, progress)
                .await?;
        }
        Ok(())
    }
}
