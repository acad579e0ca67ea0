//! Manifests, indexes and configs as this room reads and writes them (OCI image-spec manifest.md, image-index.md, config.md).

use std::collections::BTreeMap;

use errors::{Error, Kind, Result, WithKind};
use ids::Digest;
use serde::{Deserialize, Serialize};

use crate::descriptor::media_type;
use crate::json::{self, null_is_default};
use crate::{Descriptor, Platform};

/// The most layers of an image: overlayfs takes no more lower folders (`OVL_MAX_STACK`).
const MAX_LAYERS: usize = 500;
/// The most documents that one index lists. Each becomes a label of its blob.
const MAX_MANIFESTS: usize = 4096;

/// A manifest: one config, and layers from the base up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(crate) schema_version: u8,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) layers: Vec<Descriptor>,
}

/// An index: manifests by platform.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub(crate) schema_version: u8,
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) manifests: Vec<Descriptor>,
    #[serde(default, deserialize_with = "json::texts", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What unpacking needs of a config.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Config {
    #[serde(flatten)]
    pub(crate) platform: ConfigPlatform,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) rootfs: RootFs,
}

/// The platform fields of a config; old ones lack them.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct ConfigPlatform {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) os: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) architecture: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) variant: String,
}

/// The uncompressed layers.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct RootFs {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) diff_ids: Vec<Digest>,
}

/// The fields by which a document tells what it is. One that is `null` tells nothing: there is nothing in it to be misread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default, deserialize_with = "null_is_default")]
    schema_version: u8,
    #[serde(default, deserialize_with = "null_is_default")]
    media_type: String,
    config: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Parses the manifest `digest`.
pub(crate) fn parse_manifest(bytes: &[u8], digest: &Digest) -> Result<Manifest> {
    expect_shape(bytes, digest, false)?;
    let manifest: Manifest =
        json::read(bytes).kind(Kind::InvalidArgument, || format!("parse manifest {digest}"))?;
    at_most(manifest.layers.len(), MAX_LAYERS, || format!("manifest {digest}"), "layers")?;
    manifest.config.length()?;
    manifest.layers.iter().try_for_each(|layer| layer.length().map(drop))?;
    Ok(manifest)
}

/// Parses the index `digest`.
pub(crate) fn parse_index(bytes: &[u8], digest: &Digest) -> Result<Index> {
    expect_shape(bytes, digest, true)?;
    let index: Index = json::read(bytes).kind(Kind::InvalidArgument, || format!("parse index {digest}"))?;
    at_most(index.manifests.len(), MAX_MANIFESTS, || format!("index {digest}"), "manifests")?;
    index.manifests.iter().try_for_each(|manifest| manifest.length().map(drop))?;
    Ok(index)
}

fn at_most(count: usize, limit: usize, document: impl Fn() -> String, what: &str) -> Result<()> {
    if count <= limit {
        return Ok(());
    }
    let text = format!("{} has {count} {what}, more than the limit of {limit}", document());
    Err(Error::new(Kind::ResourceExhausted, text))
}

/// Parses the config `digest`.
pub(crate) fn parse_config(bytes: &[u8], digest: &Digest) -> Result<Config> {
    json::read(bytes).kind(Kind::InvalidArgument, || format!("parse image config {digest}"))
}

/// A document that could pass for both a manifest and an index is refused: two readers could see two images
/// (CVE-2021-41190).
fn expect_shape(bytes: &[u8], digest: &Digest, index: bool) -> Result<()> {
    let shape: Shape =
        json::read(bytes).kind(Kind::InvalidArgument, || format!("parse manifest {digest}"))?;
    let wanted = if index { "index" } else { "manifest" };
    let refuse = |why: &str| Err(Error::invalid(format!("{digest} is no {wanted}: {why}")));
    if shape.fs_layers.is_some() || shape.schema_version == 1 {
        return refuse("docker's schema 1 is not supported");
    }
    if shape.schema_version != 2 {
        return refuse(&format!("schemaVersion {} is not supported", shape.schema_version));
    }
    let stated = shape.media_type.as_str();
    match (index, shape.manifests.is_some(), shape.layers.is_some()) {
        (true, _, true) => refuse("it has layers"),
        // A manifest need not list layers, nor an index manifests.
        (true, ..) if shape.config.is_some() => refuse("it has a config"),
        (false, true, _) => refuse("it has manifests"),
        (true, ..) if !stated.is_empty() && !media_type::is_index(stated) => refuse(stated),
        (false, ..) if media_type::is_index(stated) => refuse(stated),
        _ => Ok(()),
    }
}

impl Index {
    /// The manifests that run on `platform`, the best first; those that state no platform after them.
    pub(crate) fn ranked(&self, platform: &Platform) -> Vec<&Descriptor> {
        let mut fits: Vec<(usize, &Descriptor)> = self
            .manifests
            .iter()
            .filter_map(|manifest| match &manifest.platform {
                Some(offered) => Some((platform.rank(offered)?, manifest)),
                None => Some((usize::MAX, manifest)),
            })
            .collect();
        fits.sort_by_key(|(rank, _)| *rank);
        fits.into_iter().map(|(_, manifest)| manifest).collect()
    }
}

impl ConfigPlatform {
    /// The platform, if the config states one.
    pub(crate) fn stated(&self) -> Option<Platform> {
        let known = !self.os.is_empty() && !self.architecture.is_empty();
        known.then(|| Platform::new(&self.os, &self.architecture, &self.variant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest() -> Digest {
        Digest::from_sha256([7; 32])
    }

    #[test]
    fn a_document_of_two_shapes_is_refused() {
        let both = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{0}","size":1}},"layers":[],"manifests":[]}}"#,
            digest()
        );
        let as_manifest = parse_manifest(both.as_bytes(), &digest()).unwrap_err();
        let as_index = parse_index(both.as_bytes(), &digest()).unwrap_err();
        assert!(as_manifest.to_string().contains("it has manifests"), "{as_manifest}");
        assert!(as_index.to_string().contains("it has layers"), "{as_index}");
        let neither =
            format!(r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{}","size":1}}}}"#, digest());
        parse_manifest(neither.as_bytes(), &digest()).unwrap();
        let as_index = parse_index(neither.as_bytes(), &digest()).unwrap_err();
        assert!(as_index.to_string().contains("it has a config"), "{as_index}");
    }

    #[test]
    fn null_is_what_is_not_there() {
        let child = |fields: &str| format!(r#"{{"digest":"{}",{fields}}}"#, digest());
        let plain = child(r#""mediaType":"x","size":1"#);
        let nulls = child(r#""mediaType":"x","size":1,"annotations":null,"urls":null,"platform":null"#);
        let manifest = |text: String| parse_manifest(text.as_bytes(), &digest());
        let bare = manifest(format!(r#"{{"schemaVersion":2,"config":{plain}}}"#)).unwrap();
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":null,"config":{nulls},"layers":null,"annotations":null}}"#
        );
        assert_eq!(manifest(text).unwrap(), bare);
        assert!(bare.layers.is_empty());
        manifest(r#"{"schemaVersion":2,"config":null,"layers":null}"#.to_owned()).unwrap_err();
        manifest(format!(r#"{{"schemaVersion":2,"config":{plain},"layers":[null]}}"#)).unwrap_err();
        manifest(r#"{"schemaVersion":null}"#.to_owned()).unwrap_err();

        let index = |text: String| parse_index(text.as_bytes(), &digest());
        let nothing = index(r#"{"schemaVersion":2}"#.to_owned()).unwrap();
        let text = r#"{"schemaVersion":2,"mediaType":null,"manifests":null,"annotations":null}"#;
        assert_eq!(index(text.to_owned()).unwrap(), nothing);
        let annotated = index(r#"{"schemaVersion":2,"annotations":{"a":null,"b":"c"}}"#.to_owned()).unwrap();
        assert_eq!(annotated.annotations, [("a", ""), ("b", "c")].map(|(k, v)| (k.into(), v.into())).into());
    }

    #[test]
    fn a_platform_may_say_nothing() {
        let platform = |text: &str| {
            let child = format!(r#"{{"mediaType":"x","digest":"{}","size":1,"platform":{text}}}"#, digest());
            let index = format!(r#"{{"schemaVersion":2,"manifests":[{child}]}}"#);
            let index = parse_index(index.as_bytes(), &digest()).unwrap();
            let ranks = !index.ranked(&Platform::parse("linux/amd64").unwrap()).is_empty();
            (index.manifests.into_iter().next().unwrap().platform, ranks)
        };
        let nulls = r#"{"os":null,"architecture":null,"variant":null,"os.version":null,"os.features":null}"#;
        // As containerd has it: no system is this one, no processor is none.
        for (text, ranks) in [("{}", false), (nulls, false), (r#"{"architecture":"amd64"}"#, true)] {
            let (found, ranked) = platform(text);
            assert_eq!(found.unwrap().os, "", "{text}");
            assert_eq!(ranked, ranks, "{text}");
        }
        assert_eq!(platform("null"), (None, true));
        assert_eq!(platform(r#"{"os":"linux"}"#).0.unwrap().architecture, "");
    }

    #[test]
    fn a_config_may_say_nothing() {
        let config = |text: &[u8]| parse_config(text, &digest()).unwrap();
        for text in [
            "{}",
            r#"{"rootfs":null}"#,
            r#"{"rootfs":{}}"#,
            r#"{"rootfs":{"type":"layers","diff_ids":null},"os":null,"architecture":null,"variant":null}"#,
        ] {
            let config = config(text.as_bytes());
            assert!(config.rootfs.diff_ids.is_empty() && config.platform.stated().is_none(), "{text}");
        }
        let text = r#"{"author":"\ud83d","os":"linux","architecture":"amd64","rootfs":{"diff_ids":[]}}"#;
        assert_eq!(config(text.as_bytes()).platform.stated().unwrap().to_string(), "linux/amd64");
        assert_eq!(config(b"{\"os\":\"\xff\"}").platform.os, "\u{fffd}");
    }

    #[test]
    fn an_empty_list_makes_a_second_shape_and_null_does_not() {
        let config = format!(r#""config":{{"mediaType":"x","digest":"{}","size":1}}"#, digest());
        for (list, refused) in [("[]", true), ("null", false)] {
            let manifest = format!(r#"{{"schemaVersion":2,{config},"layers":[],"manifests":{list}}}"#);
            assert_eq!(parse_manifest(manifest.as_bytes(), &digest()).is_err(), refused, "{manifest}");
            parse_index(manifest.as_bytes(), &digest()).unwrap_err();
            let index = format!(r#"{{"schemaVersion":2,"manifests":[],"layers":{list}}}"#);
            assert_eq!(parse_index(index.as_bytes(), &digest()).is_err(), refused, "{index}");
            parse_manifest(index.as_bytes(), &digest()).unwrap_err();
        }
    }

    #[test]
    fn schema_1_is_refused_by_name() {
        let old = br#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#;
        assert!(parse_manifest(old, &digest()).unwrap_err().to_string().contains("schema 1"));
    }

    #[test]
    fn sizes_below_zero_and_deep_nesting_are_refused() {
        let negative = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{}","size":-1}},"layers":[]}}"#,
            digest()
        );
        assert!(parse_manifest(negative.as_bytes(), &digest()).unwrap_err().to_string().contains("negative"));
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let deep = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
            for inside in [deep.clone(), format!(r#"{{"schemaVersion":2,"annotations":{deep}}}"#)] {
                let read = [
                    parse_index(inside.as_bytes(), &digest()).map(drop),
                    parse_manifest(inside.as_bytes(), &digest()).map(drop),
                    parse_config(inside.as_bytes(), &digest()).map(drop),
                ];
                for error in read.map(Result::unwrap_err) {
                    assert_eq!(error.kind(), Kind::InvalidArgument);
                    assert!(error.chain().contains(&digest().to_string()), "{}", error.chain());
                }
            }
        }
    }

    #[test]
    fn layers_and_manifests_are_counted() {
        let child = format!(r#"{{"mediaType":"x","digest":"{}","size":1}}"#, digest());
        let many = |count: usize| vec![child.as_str(); count].join(",");
        let manifest = |layers: usize| {
            let text = format!(r#"{{"schemaVersion":2,"config":{child},"layers":[{}]}}"#, many(layers));
            parse_manifest(text.as_bytes(), &digest())
        };
        assert_eq!(manifest(500).unwrap().layers.len(), 500);
        assert!(manifest(501).unwrap_err().to_string().contains("501 layers, more than the limit of 500"));
        let index = |manifests: usize| {
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, many(manifests));
            parse_index(text.as_bytes(), &digest())
        };
        assert_eq!(index(4096).unwrap().manifests.len(), 4096);
        assert_eq!(index(4097).unwrap_err().kind(), Kind::ResourceExhausted);
    }

    #[test]
    fn ranked_puts_the_best_first_and_leaves_out_strangers() {
        let entry = |n: u8, platform: &str| {
            let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, Digest::from_sha256([n; 32]), 1);
            descriptor.platform = Some(Platform::parse(platform).unwrap());
            descriptor
        };
        let index = Index {
            schema_version: 2,
            media_type: String::new(),
            manifests: vec![entry(1, "linux/386"), entry(2, "linux/amd64"), entry(3, "unknown/unknown")],
            annotations: BTreeMap::new(),
        };
        let ranked = index.ranked(&Platform::parse("linux/amd64").unwrap());
        assert_eq!(
            ranked.iter().map(|d| d.digest.clone()).collect::<Vec<_>>(),
            [Digest::from_sha256([2; 32]), Digest::from_sha256([1; 32])]
        );
    }
}
