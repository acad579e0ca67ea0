//! An OCI layout's documents (OCI image-spec image-layout.md).

use errors::{Error, Kind, Result, WithKind};
use ids::Digest;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::json;
use crate::manifest::{Index, parse_index};

/// The one version there is.
const VERSION: &str = "1.0.0";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    #[serde(default, deserialize_with = "json::null_is_default")]
    image_layout_version: String,
}

/// Checks `oci-layout` and reads `index.json`.
pub(crate) fn index(layout: &[u8], index: &[u8]) -> Result<Index> {
    let layout: Layout = json::read(layout).kind(Kind::InvalidArgument, || "parse oci-layout")?;
    if layout.image_layout_version != VERSION {
        let shown: String = layout.image_layout_version.chars().take(40).collect();
        return Err(Error::invalid(format!("unsupported OCI version: {shown:?} in oci-layout")));
    }
    parse_index(index, &Digest::from_sha256(Sha256::digest(index).into()))
}
