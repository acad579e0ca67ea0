//! Images in memory, right at first and then as wrong as a test makes them.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::tar::{Entry, tar};

/// OCI's types of documents and layers.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// A blob, and what is said of it.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Its type.
    pub media_type: String,
    /// Its digest, as it is said.
    pub digest: String,
    /// Its size, as it is said.
    pub size: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// An image of one platform.
#[derive(Debug, Clone)]
pub struct Image {
    /// The layers, the base first.
    pub layers: Vec<Blob>,
    /// The digests of the unpacked layers, as the config says them.
    pub diff_ids: Vec<String>,
    /// The config's section for containers.
    pub config: Value,
    /// Other bytes in place of the manifest's.
    pub manifest: Option<Vec<u8>>,
}

/// The digest of bytes, as it is written.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Packs bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory does not fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

impl Blob {
    /// A blob of which the truth is said.
    pub fn new(media_type: &str, bytes: Vec<u8>) -> Blob {
        let (digest, size) = (digest(&bytes), bytes.len() as u64);
        Blob { media_type: media_type.to_owned(), digest, size, bytes }
    }

    fn described(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.size })
    }
}

impl Image {
    /// An image with a layer for each list of entries.
    pub fn of(layers: &[Vec<Entry>]) -> Image {
        let tars: Vec<Vec<u8>> = layers.iter().map(|entries| tar(entries)).collect();
        Image::of_tars(&tars)
    }

    /// An image with a gzipped layer for each archive.
    pub fn of_tars(tars: &[Vec<u8>]) -> Image {
        Image {
            layers: tars.iter().map(|tar| Blob::new(LAYER, gzip(tar))).collect(),
            diff_ids: tars.iter().map(|tar| digest(tar)).collect(),
            config: json!({ "Cmd": ["/true"] }),
            manifest: None,
        }
    }

    /// The config's blob.
    pub fn config_blob(&self) -> Blob {
        let architecture = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            _ => "amd64",
        };
        let config = json!({
            "os": "linux", "architecture": architecture, "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": self.diff_ids },
        });
        Blob::new(CONFIG, config.to_string().into_bytes())
    }

    /// The manifest's blob.
    pub fn manifest_blob(&self) -> Blob {
        let layers: Vec<Value> = self.layers.iter().map(Blob::described).collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": self.config_blob().described(), "layers": layers,
        });
        let bytes = self.manifest.clone().unwrap_or_else(|| manifest.to_string().into_bytes());
        Blob::new(MANIFEST, bytes)
    }

    /// All blobs.
    pub fn blobs(&self) -> Vec<Blob> {
        let documents = [self.config_blob(), self.manifest_blob()];
        self.layers.iter().cloned().chain(documents).collect()
    }

    /// The image as an OCI archive, named `name` as tools of the OCI layout name it (`org.opencontainers.image.ref.name`).
    pub fn archive(&self, name: &str) -> Vec<u8> {
        let manifest = self.manifest_blob();
        let mut described = manifest.described();
        described["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        let index = json!({ "schemaVersion": 2, "manifests": [described] });
        let mut entries = vec![
            Entry::file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#),
            Entry::file("index.json", index.to_string().as_bytes()),
        ];
        for blob in self.blobs() {
            entries.push(Entry::file(&format!("blobs/{}", blob.digest.replace(':', "/")), &blob.bytes));
        }
        tar(&entries)
    }
}
