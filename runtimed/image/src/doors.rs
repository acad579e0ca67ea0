//! Doors for tests: each function takes bytes as a registry, or the maker of an archive, may have written them, and gives
//! them to the parser that would get them. What it finds is of no interest; that it comes back, and within bounds, is.

use std::io::Read as _;
use std::path::Path;

use ids::Digest;
use reqwest::Url;

use crate::import::oci;
use crate::import::tarindex::TarStream;
use crate::registry::{Access, auth, challenge, hosts};

/// Content of an archive's entry that is read into memory.
const DOCUMENT: u64 = 64 << 10;

/// A manifest, an index and an image's config.
pub fn document(bytes: &[u8]) {
    let digest = Digest::from_sha256([7; 32]);
    let manifest = crate::manifest::parse_manifest(bytes, &digest);
    let index = crate::manifest::parse_index(bytes, &digest);
    assert!(manifest.is_err() || index.is_err(), "two readers could see two images (CVE-2021-41190)");
    if let Ok(index) = index {
        index.ranked(&crate::Platform::host());
    }
    if let Ok(config) = crate::manifest::parse_config(bytes, &digest) {
        let _ = crate::chain_ids(&config.rootfs.diff_ids);
    }
    let _ = oci::index(bytes, bytes);
    let _ = oci::index(br#"{"imageLayoutVersion":"1.0.0"}"#, bytes);
}

/// `WWW-Authenticate`.
pub fn challenges(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for found in challenge::parse(text) {
        assert!(!found.scheme.is_empty() && found.scheme.len() + found.parameters.len() <= text.len());
    }
}

/// A token server's answer.
pub fn token_answer(bytes: &[u8]) {
    let Ok(url) = Url::parse("https://auth.example/token") else { return };
    let _ = auth::token_header(bytes, &url);
}

/// hosts.toml.
pub fn hosts_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = hosts::parse(text, Path::new("/nonexistent"), "registry.example", Access::default());
}

/// The entries of an archive of images: none has more content than the archive.
pub fn archive(bytes: &[u8]) {
    let mut stream = TarStream::new(bytes);
    let mut content = 0;
    while let Ok(Some(entry)) = stream.next() {
        let read = match entry.size > DOCUMENT {
            true => {
                std::io::copy(&mut (&mut stream).take(entry.size), &mut std::io::sink()).unwrap_or_default()
            }
            false => stream.read_small(&entry.path, DOCUMENT).map_or(0, |text| text.len() as u64),
        };
        content += read;
        assert!(content <= bytes.len() as u64);
    }
}
