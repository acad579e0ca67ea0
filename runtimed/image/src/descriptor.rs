//! What a name or a manifest points to, and the media types it may have.

use std::collections::BTreeMap;

use errors::{Error, Result};
use ids::Digest;

use crate::Platform;
use crate::json::{null_is_default, texts};

/// What a name or a manifest points to (OCI image-spec descriptor.md).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type.
    #[serde(default, deserialize_with = "null_is_default")]
    pub media_type: String,
    /// The digest.
    pub digest: Digest,
    /// The size in bytes.
    #[serde(default, deserialize_with = "null_is_default")]
    pub size: i64,
    /// Annotations.
    #[serde(default, deserialize_with = "texts", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// Media types of the OCI image-spec (media-types.md) and of docker's image manifest v2 schema 2.
pub mod media_type {
    /// OCI index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// OCI manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// OCI config.
    pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    /// Docker's manifest list.
    pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// Docker's manifest.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's config.
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    /// Docker's layer, plain tar.
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    /// Docker's layer, gzip.
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// Docker's layer, zstd.
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    /// Docker's first manifest, signed; refused.
    pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    /// Docker's first manifest; refused.
    pub const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";

    /// Does `value` list manifests?
    pub fn is_index(value: &str) -> bool {
        matches!(value, OCI_INDEX | DOCKER_LIST)
    }

    /// Does `value` name a config and layers?
    pub fn is_manifest(value: &str) -> bool {
        matches!(value, OCI_MANIFEST | DOCKER_MANIFEST)
    }

    /// Is `value` an image's config?
    pub fn is_config(value: &str) -> bool {
        matches!(value, OCI_CONFIG | DOCKER_CONFIG)
    }

    /// Is `value` docker's schema 1, which nobody can verify by digest?
    pub fn is_schema1(value: &str) -> bool {
        matches!(value, DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED)
    }
}

impl Descriptor {
    /// A descriptor without annotations and platform.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            digest,
            size: i64::try_from(size).unwrap_or(i64::MAX),
            annotations: BTreeMap::new(),
            platform: None,
        }
    }

    /// The size; `InvalidArgument` when it is negative.
    pub fn length(&self) -> Result<u64> {
        u64::try_from(self.size)
            .map_err(|_| Error::invalid(format!("descriptor {}: negative size {}", self.digest, self.size)))
    }

    /// Does it list manifests?
    pub fn is_index(&self) -> bool {
        media_type::is_index(&self.media_type)
    }

    /// Does it name a config and layers?
    pub fn is_manifest(&self) -> bool {
        media_type::is_manifest(&self.media_type)
    }

    /// The name of its ingest, as containerd's clients call it, so that a pull here and one there share a download.
    pub(crate) fn ingest(&self) -> String {
        let sort = match () {
            () if self.is_index() => "index",
            () if self.is_manifest() => "manifest",
            () if media_type::is_config(&self.media_type) => "config",
            () => "layer",
        };
        format!("{sort}-{}", self.digest)
    }
}
