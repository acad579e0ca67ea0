//! Layers, applied for real. Whatever a layer says, its folder's neighbour stays as it is.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use diff::{Compression, Limits};
use snapshot::Mount;
use tempfile::TempDir;

use crate::input::folder;

/// A tar block (POSIX.1-2017 pax, "ustar Interchange Format").
const BLOCK: usize = 512;

/// Room for what a small input can say, and no more.
fn limits() -> Limits {
    Limits { bytes: 1 << 20, entries: 512, ..Limits::default() }
}

/// A layer as it comes; the first byte chooses where to.
pub fn layer(bytes: &[u8]) {
    let [kind, layer @ ..] = bytes else { return };
    apply(kind % 2 == 0, layer);
}

/// The same with checksums that are right, so that what is in the headers matters.
pub fn layer_headers(bytes: &[u8]) {
    let [kind, layer @ ..] = bytes else { return };
    apply(kind % 2 == 0, &with_checksums(layer));
}

fn apply(plain: bool, layer: &[u8]) {
    let tree = folder();
    for name in ["root", "work", "lower", "outside"] {
        std::fs::create_dir(tree.path().join(name)).expect("create a folder");
    }
    std::fs::write(tree.path().join("outside/kept"), "kept").expect("write a file");
    std::fs::write(tree.path().join("lower/below"), "below").expect("write a file");
    std::os::unix::fs::symlink("../outside", tree.path().join("root/escape")).expect("make a link");
    let before = neighbours(&tree);
    let scratch = tree.path().join("scratch");
    let applied = diff::apply(&[mount(plain, tree.path())], layer, Compression::None, &limits(), &scratch);
    assert_eq!(neighbours(&tree), before, "a layer left its folder");
    if let Ok(applied) = applied {
        assert!(applied.size <= limits().bytes, "{} bytes are more than allowed", applied.size);
    }
}

fn mount(plain: bool, tree: &Path) -> Mount {
    let at = |name: &str| tree.join(name).display().to_string();
    let (kind, source, options) = match plain {
        true => ("bind", at("root"), vec!["rw".to_owned(), "rbind".to_owned()]),
        false => {
            let pairs = [("workdir", "work"), ("upperdir", "root"), ("lowerdir", "lower")];
            let options = pairs.map(|(key, name)| format!("{key}={}", at(name))).to_vec();
            ("overlay", "overlay".to_owned(), options)
        }
    };
    Mount { kind: kind.to_owned(), source, options, ..Mount::default() }
}

/// What is beside the layer's folder: name, kind and mode, owner, size, links, time.
fn neighbours(tree: &TempDir) -> BTreeMap<String, (u32, u32, u64, u64, i64)> {
    let mut found = BTreeMap::new();
    for folder in ["", "outside", "lower", "work"] {
        for entry in std::fs::read_dir(tree.path().join(folder)).expect("read a folder") {
            let entry = entry.expect("read a folder");
            let meta = entry.metadata().expect("stat");
            let size = if meta.is_file() { meta.len() } else { 0 };
            let links = if meta.is_file() { meta.nlink() } else { 0 };
            let time = if meta.is_file() { meta.mtime() } else { 0 };
            let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
            found.insert(name, (meta.mode(), meta.uid(), size, links, time));
        }
    }
    // These two are the layer's business, and the unpacking's.
    found.remove("/root");
    found.remove("/scratch");
    found
}

/// Mends the checksum of every header, following sizes as far as they make sense.
fn with_checksums(layer: &[u8]) -> Vec<u8> {
    let mut layer = layer.to_vec();
    let mut at = 0;
    while at + BLOCK <= layer.len() {
        let header = &mut layer[at..at + BLOCK];
        if header.iter().any(|byte| *byte != 0) {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        at += BLOCK + content(&layer[at..at + BLOCK]);
    }
    layer
}

/// Bytes of content behind a header, in whole blocks.
fn content(header: &[u8]) -> usize {
    let octal = std::str::from_utf8(&header[124..135]).ok().map(|text| text.trim_matches([' ', '\0']));
    let size = octal.and_then(|text| usize::from_str_radix(text, 8).ok()).unwrap_or(0);
    if size > 1 << 20 { 0 } else { size.next_multiple_of(BLOCK) }
}
