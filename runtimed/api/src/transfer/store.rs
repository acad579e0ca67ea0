//! The image store as an end of a transfer.

use errors::{Error, Result};
use image::{NameRule, Platform};
use proto_containerd::types::transfer::ImageStore;

use super::endpoint::unserved;
use crate::convert::platform_from_wire;

/// Which of an index's manifests are wanted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Platforms {
    All,
    These(Vec<Platform>),
}

/// How names are made from what an archive says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Naming {
    pub(super) rule: NameRule,
    pub(super) digest_prefix: Option<String>,
    pub(super) digest_only_unnamed: bool,
}

/// No platform stands for all. A limit below their number is not served; one at or above it changes nothing.
pub(super) fn platforms(store: &ImageStore) -> Result<Platforms> {
    let limit = store.manifest_limit as usize;
    if store.platforms.is_empty() {
        unserved(limit > 0, "a limit of manifests without platforms")?;
        return Ok(Platforms::All);
    }
    unserved(
        limit > 0 && limit < store.platforms.len(),
        "a limit of manifests below the number of platforms",
    )?;
    Ok(Platforms::These(store.platforms.iter().cloned().map(platform_from_wire).collect()))
}

/// The snapshotter to unpack into for `platform`, if any is asked for.
pub(super) fn unpack_for(store: &ImageStore, platform: &Platform) -> Option<String> {
    let fits = |wanted: &Platform| {
        wanted.os == platform.os
            && wanted.architecture == platform.architecture
            && (wanted.variant == platform.variant
                || wanted.variant.is_empty()
                || platform.variant.is_empty())
    };
    let found = store
        .unpacks
        .iter()
        .find(|unpack| unpack.platform.clone().map(platform_from_wire).is_none_or(|p| fits(&p)));
    found.map(|unpack| match unpack.snapshotter.as_str() {
        "" => snapshot::DEFAULT.to_owned(),
        name => name.to_owned(),
    })
}

/// The full names that the store asks for: its own, and the extra ones that are no prefixes.
pub(super) fn names(store: &ImageStore, digest: &str) -> Vec<String> {
    let own = Some(store.name.clone()).filter(|name| !name.is_empty());
    let extra = store.extra_references.iter().filter(|reference| !reference.is_prefix).map(|reference| {
        if reference.add_digest { format!("{}@{digest}", reference.name) } else { reference.name.clone() }
    });
    own.into_iter().chain(extra).collect()
}

/// How an import makes names: by at most one prefix.
pub(super) fn naming(store: &ImageStore) -> Result<Naming> {
    let mut prefixes = store.extra_references.iter().filter(|reference| reference.is_prefix);
    let Some(prefix) = prefixes.next() else {
        // Then there is the name for the whole, and what full names the archive itself gives.
        unserved(store.name.is_empty(), "an import without a name or a prefix for names")?;
        return Ok(Naming { rule: NameRule::Keep, digest_prefix: None, digest_only_unnamed: false });
    };
    unserved(prefixes.next().is_some(), "an import with more than one prefix for names")?;
    let name = prefix.name.clone();
    Ok(Naming {
        rule: if prefix.allow_overwrite {
            NameRule::Prefix(name.clone())
        } else {
            NameRule::OnlyPrefix(name.clone())
        },
        digest_prefix: prefix.add_digest.then_some(name),
        digest_only_unnamed: prefix.skip_named_digest,
    })
}

/// The name of an image that is a source.
pub(super) fn source_name(store: &ImageStore) -> Result<&str> {
    if store.name.is_empty() {
        return Err(Error::invalid("the image store as a source needs an image's name"));
    }
    Ok(&store.name)
}
